// A delegate that takes ADD and MUL of float32, or a custom operator "Doubler", and can be told to fail in every way.
#include <map>
#include <string>
#include <vector>

#include "tflite.h"

namespace {
using Options = std::map<std::string, std::string>;
// What has been called, in the order of `counts` in the tests.
int counts[10];
enum { kCreated, kDestroyed, kPrepared, kInits, kFrees, kKernelPrepares, kInvokes, kCopies, kOrphans, kReleased };

struct Adder {
    TfLiteDelegate delegate;
    Options options;
    std::vector<std::vector<float>> buffers;
    bool is(const char* key) { return options.count(key) && options[key] != "0"; }
};
std::map<Adder*, int> kernels;  // how many there are of each
struct Step {
    int a, b, out, code, activation;
};
struct Kernel {
    Adder* adder;
    std::vector<Step> steps;
    std::vector<int> outputs;
    std::map<int, std::vector<float>> inner;
    int scratch = -1;
};

Adder* Of(TfLiteDelegate* delegate) { return static_cast<Adder*>(delegate->data_); }

void* Init(TfLiteContext* context, const char* buffer, size_t) {
    auto* params = reinterpret_cast<const TfLiteDelegateParams*>(buffer);
    Adder* adder = Of(params->delegate);
    counts[kInits]++;
    if (adder->is("fail_init")) {
        context->ReportError(context, "no room for %d nodes", params->nodes_to_replace->size);
        return reinterpret_cast<void*>(-1);
    }
    if (adder->is("fail_late")) {
        context->ReportError(context, "no memory for the weights");
        return nullptr;
    }
    kernels[adder]++;
    auto* kernel = new Kernel{adder, {}, {}, {}};
    for (int i = 0; i < params->nodes_to_replace->size; i++) {
        TfLiteNode* node;
        TfLiteRegistration* registration;
        context->GetNodeAndRegistration(context, params->nodes_to_replace->data[i], &node, &registration);
        const int b = node->inputs->data[node->inputs->size - 1];
        const int activation = node->builtin_data ? *static_cast<int*>(node->builtin_data) : 0;
        kernel->steps.push_back(
            {node->inputs->data[0], b, node->outputs->data[0], registration->builtin_code, activation});
    }
    kernel->outputs.assign(
        params->output_tensors->data, params->output_tensors->data + params->output_tensors->size);
    return kernel;
}

void Free(TfLiteContext*, void* data) {
    counts[kFrees]++;
    kernels[static_cast<Kernel*>(data)->adder]--;
    delete static_cast<Kernel*>(data);
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteNode* node) {
    auto* kernel = static_cast<Kernel*>(node->user_data);
    counts[kKernelPrepares]++;
    if (!kernel) return kTfLiteError;  // what init reported is the reason
    Adder* adder = kernel->adder;
    if (adder->is("fail_kernel_prepare")) {
        context->ReportError(
            context, "cannot prepare: %s %d %5.2f %c %lld %x %zu %-4s| %d %s %g %g %g %g %g %g %g %g %g", "text", -7, 3.14159,
            'Z', 1234567890123LL, 255, size_t{9}, "ab", 42, "tail", 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5);
        return kTfLiteError;
    }
    if (adder->is("scratch")) {
        if (kernel->scratch < 0) context->AddTensors(context, atoi(adder->options["scratch"].c_str()), &kernel->scratch);
        free(node->temporaries);
        node->temporaries = NewIntArray(1, &kernel->scratch);
        TfLiteTensor* scratch = &context->tensors[kernel->scratch];
        scratch->type = kFloat32;
        scratch->allocation_type = kArenaRw;
        const int size = 16;
        if (context->ResizeTensor(context, scratch, NewIntArray(1, &size))) return kTfLiteError;
    }
    if (adder->is("resize") || adder->is("misresize")) {
        for (const Step& step : kernel->steps) {
            const TfLiteTensor &a = context->tensors[step.a], &b = context->tensors[step.b];
            const TfLiteTensor& larger = Count(a) >= Count(b) ? a : b;
            TfLiteIntArray* dims = NewIntArray(larger.dims->size, larger.dims->data);
            if (adder->is("misresize")) dims->data[0] += 1;
            if (context->ResizeTensor(context, &context->tensors[step.out], dims)) return kTfLiteError;
        }
    }
    return kTfLiteOk;
}

const float* Value(TfLiteContext* context, Kernel* kernel, int index) {
    if (kernel->inner.count(index)) return kernel->inner[index].data();
    const TfLiteTensor& tensor = context->tensors[index];
    if (tensor.data_is_stale && tensor.delegate == &kernel->adder->delegate)
        return kernel->adder->buffers[tensor.buffer_handle].data();
    return static_cast<float*>(tensor.data);
}

TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) {
    auto* kernel = static_cast<Kernel*>(node->user_data);
    Adder* adder = kernel->adder;
    counts[kInvokes]++;
    if (adder->is("fail_invoke")) {
        context->ReportError(context, "the device is gone");
        return kTfLiteError;
    }
    if (kernel->scratch >= 0) static_cast<float*>(context->tensors[kernel->scratch].data)[15] = 1;
    for (const Step& step : kernel->steps) {
        const size_t na = Count(context->tensors[step.a]), nb = Count(context->tensors[step.b]);
        const float *a = Value(context, kernel, step.a), *b = Value(context, kernel, step.b);
        TfLiteTensor& out = context->tensors[step.out];
        std::vector<float> result(na > nb ? na : nb);
        for (size_t i = 0; i < result.size(); i++) {
            result[i] = step.code == kMul ? a[i % na] * b[i % nb] : a[i % na] + b[i % nb];
            if (step.activation == 1 && result[i] < 0) result[i] = 0;
        }
        bool leaves = false;
        for (int index : kernel->outputs) leaves |= index == step.out;
        if (!leaves) {
            kernel->inner[step.out] = result;
        } else if (adder->is("handles")) {
            if (out.buffer_handle < 0) {
                out.buffer_handle = static_cast<int>(adder->buffers.size());
                adder->buffers.emplace_back();
            }
            adder->buffers[out.buffer_handle] = result;
            out.data_is_stale = true;
        } else {
            memcpy(out.data, result.data(), sizeof(float) * result.size());
        }
    }
    return kTfLiteOk;
}

TfLiteStatus CopyFrom(TfLiteContext* context, TfLiteDelegate* delegate, int handle, TfLiteTensor* tensor) {
    counts[kCopies]++;
    if (Of(delegate)->is("fail_copy")) {
        context->ReportError(context, "buffer %d cannot be read", handle);
        return kTfLiteError;
    }
    const auto& buffer = Of(delegate)->buffers[handle];
    memcpy(tensor->data, buffer.data(), sizeof(float) * buffer.size());
    return kTfLiteOk;
}

void Release(TfLiteContext*, TfLiteDelegate*, int*) { counts[kReleased]++; }

TfLiteStatus DelegatePrepare(TfLiteContext* context, TfLiteDelegate* delegate) {
    Adder* adder = Of(delegate);
    counts[kPrepared]++;
    if (adder->is("fail_prepare")) {
        context->ReportError(context, "the driver says %s", "no");
        return kTfLiteError;
    }
    TfLiteIntArray* plan;
    if (context->GetExecutionPlan(context, &plan)) return kTfLiteError;
    std::vector<int> taken;
    const std::vector<int> order(plan->data, plan->data + plan->size);
    for (int index : order) {
        TfLiteNode* node;
        TfLiteRegistration* registration;
        if (context->GetNodeAndRegistration(context, index, &node, &registration)) return kTfLiteError;
        bool ours = (adder->is("add") && registration->builtin_code == kAdd) ||
                    (adder->is("mul") && registration->builtin_code == kMul) ||
                    (registration->builtin_code == kCustom && !strcmp(registration->custom_name, "Doubler"));
        ours = ours && (!node->builtin_data || *static_cast<int*>(node->builtin_data) <= 1);  // no activation, or RELU
        for (int i = 0; i < node->inputs->size; i++)
            ours = ours && context->tensors[node->inputs->data[i]].type == kFloat32;
        if (ours) taken.push_back(index);
    }
    TfLiteIntArray* chosen = NewIntArray(static_cast<int>(taken.size()), taken.data());
    if (adder->is("preview")) {
        TfLiteDelegateParams* parts;
        int count = 0;
        if (context->PreviewDelegatePartitioning(context, chosen, &parts, &count)) return kTfLiteError;
        context->ReportError(context, "%d parts of", count);
        for (int i = 0; i < count; i++) context->ReportError(context, "%d", parts[i].nodes_to_replace->size);
        return kTfLiteError;
    }
    TfLiteRegistration registration{};
    registration.init = Init;
    registration.free = Free;
    registration.prepare = Prepare;
    registration.invoke = Invoke;
    registration.custom_name = "NativeAdder";
    registration.version = 1;
    TfLiteStatus status = kTfLiteOk;
    if (adder->is("one_by_one")) {
        for (int index : taken) {
            TfLiteIntArray* one = NewIntArray(1, &index);
            if (!status) status = context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, one, delegate);
            free(one);
        }
    } else {
        status = context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, chosen, delegate);
    }
    free(chosen);
    return status;
}
}  // namespace

EXPORT TfLiteDelegate* tflite_plugin_create_delegate(
    const char* const* keys, const char* const* values, size_t count, void (*report)(const char*)) {
    static const char* known[] = {"add",         "mul",       "flags",   "scratch", "resize",     "handles",
                                  "preview",     "misresize", "opaque",  "one_by_one", "fail_copy", "fail_init",
                                  "fail_invoke", "fail_prepare", "fail_kernel_prepare", "fail_late"};
    auto* adder = new Adder{};
    adder->options["add"] = "1";
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (const char* name : known) found |= !strcmp(name, keys[i]);
        if (!found) {
            report((std::string("unknown option ") + keys[i]).c_str());
            delete adder;
            return nullptr;
        }
        adder->options[keys[i]] = values[i];
    }
    counts[kCreated]++;
    adder->delegate.data_ = adder;
    if (!adder->is("opaque")) adder->delegate.Prepare = DelegatePrepare;
    adder->delegate.flags = atoi(adder->options["flags"].c_str());
    if (adder->is("handles")) {
        adder->delegate.CopyFromBufferHandle = CopyFrom;
        adder->delegate.FreeBufferHandle = Release;
    }
    return &adder->delegate;
}

EXPORT void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) {
    if (!delegate) return;  // TensorFlow Lite destroys what could not be created
    counts[kDestroyed]++;
    counts[kOrphans] += kernels[Of(delegate)];  // kernels are to go before their delegate
    delete Of(delegate);
}

EXPORT const int* adder_counts() { return counts; }
