// A delegate that takes ABS of float32, each node by itself, and ignores options that it does not know. By the option
// `fault`: crash, hang, greedy (takes every node), half (computes the first half), evil (writes behind its output and
// into its input); else it is right. It has no kernel for anything but ABS.
#include <unistd.h>

#include <cmath>
#include <string>
#include <vector>

#include "tflite.h"

namespace {
constexpr int kAbs = 101;

struct Faulty {
    TfLiteDelegate delegate{};
    std::string fault;
};
struct Kernel {
    std::string fault;
    int x, out, code;
};

void* Init(TfLiteContext* context, const char* buffer, size_t) {
    auto* params = reinterpret_cast<const TfLiteDelegateParams*>(buffer);
    TfLiteNode* node;
    TfLiteRegistration* registration;
    if (context->GetNodeAndRegistration(context, params->nodes_to_replace->data[0], &node, &registration)) return nullptr;
    const int x = node->inputs->size ? node->inputs->data[0] : -1;
    const std::string& fault = static_cast<Faulty*>(params->delegate->data_)->fault;
    return new Kernel{fault, x, node->outputs->data[0], registration->builtin_code};
}

void Free(TfLiteContext*, void* data) { delete static_cast<Kernel*>(data); }

TfLiteStatus Prepare(TfLiteContext*, TfLiteNode*) { return kTfLiteOk; }

TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) {
    auto* kernel = static_cast<Kernel*>(node->user_data);
    if (kernel->fault == "crash") abort();
    if (kernel->fault == "hang") sleep(3600);
    if (kernel->code != kAbs) {
        context->ReportError(context, "no kernel for operator %d", kernel->code);
        return kTfLiteError;
    }
    TfLiteTensor &x = context->tensors[kernel->x], &out = context->tensors[kernel->out];
    const size_t count = Count(out), end = kernel->fault == "half" ? count / 2 : count;
    auto *from = static_cast<float*>(x.data), *to = static_cast<float*>(out.data);
    for (size_t i = 0; i < end; i++) to[i] = std::fabs(from[i]);
    if (kernel->fault == "evil") {
        to[count] = 0;
        if (count) from[0] = to[0];
    }
    return kTfLiteOk;
}

TfLiteStatus DelegatePrepare(TfLiteContext* context, TfLiteDelegate* delegate) {
    TfLiteIntArray* plan;
    if (context->GetExecutionPlan(context, &plan)) return kTfLiteError;
    const std::vector<int> order(plan->data, plan->data + plan->size);
    TfLiteRegistration registration{};
    registration.init = Init;
    registration.free = Free;
    registration.prepare = Prepare;
    registration.invoke = Invoke;
    registration.custom_name = "Faulty";
    registration.version = 1;
    for (int index : order) {
        TfLiteNode* node;
        TfLiteRegistration* known;
        if (context->GetNodeAndRegistration(context, index, &node, &known)) return kTfLiteError;
        const bool ours = known->builtin_code == kAbs && context->tensors[node->inputs->data[0]].type == kFloat32;
        if (!ours && static_cast<Faulty*>(delegate->data_)->fault != "greedy") continue;
        TfLiteIntArray* one = NewIntArray(1, &index);
        const TfLiteStatus status =
            context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, one, delegate);
        free(one);
        if (status) return status;
    }
    return kTfLiteOk;
}
}  // namespace

EXPORT TfLiteDelegate* tflite_plugin_create_delegate(
    const char* const* keys, const char* const* values, size_t count, void (*)(const char*)) {
    auto* made = new Faulty;
    for (size_t i = 0; i < count; i++)
        if (!strcmp(keys[i], "fault")) made->fault = values[i];
    made->delegate.data_ = made;
    made->delegate.Prepare = DelegatePrepare;
    return &made->delegate;
}

EXPORT void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) {
    if (delegate) delete static_cast<Faulty*>(delegate->data_);
}
