// A delegate that takes what C packs: "Shout" over strings, "Increment" over 4-bit integers.
#include <cctype>
#include <string>
#include <vector>

#include "tflite.h"

namespace {
struct Kernel {
    int in, out;
    bool text;
};

void* Init(TfLiteContext* context, const char* buffer, size_t) {
    auto* params = reinterpret_cast<const TfLiteDelegateParams*>(buffer);
    const int in = params->input_tensors->data[0];
    return new Kernel{in, params->output_tensors->data[0], context->tensors[in].type == kString};
}

void Free(TfLiteContext*, void* data) { delete static_cast<Kernel*>(data); }

TfLiteStatus Prepare(TfLiteContext*, TfLiteNode*) { return kTfLiteOk; }

TfLiteStatus Invoke(TfLiteContext* context, TfLiteNode* node) {
    auto* kernel = static_cast<Kernel*>(node->user_data);
    const TfLiteTensor& in = context->tensors[kernel->in];
    TfLiteTensor& out = context->tensors[kernel->out];
    if (!kernel->text) {
        for (size_t i = 0; i < in.bytes; i++) {
            const int byte = static_cast<const unsigned char*>(in.data)[i];
            static_cast<unsigned char*>(out.data)[i] = ((byte + 1) & 15) | ((byte + 16) & 240);
        }
        return kTfLiteOk;
    }
    // A count, the offsets of the strings and of the end, the characters; the memory is replaced, as upstream's kernels do.
    const int* head = static_cast<const int*>(in.data);
    std::vector<int> offsets(1, head[0]);
    std::string all;
    for (int i = 0; i < head[0]; i++) {
        offsets.push_back(4 * (head[0] + 2) + static_cast<int>(all.size()));
        for (int at = head[1 + i]; at < head[2 + i]; at++) all += toupper(static_cast<const char*>(in.data)[at]);
        all += '!';
    }
    offsets.push_back(4 * (head[0] + 2) + static_cast<int>(all.size()));
    free(out.data);
    out.bytes = 4 * offsets.size() + all.size();
    out.data = malloc(out.bytes);
    memcpy(out.data, offsets.data(), 4 * offsets.size());
    memcpy(static_cast<char*>(out.data) + 4 * offsets.size(), all.data(), all.size());
    return kTfLiteOk;
}

TfLiteStatus DelegatePrepare(TfLiteContext* context, TfLiteDelegate* delegate) {
    TfLiteIntArray* plan;
    if (context->GetExecutionPlan(context, &plan)) return kTfLiteError;
    std::vector<int> taken;
    const std::vector<int> order(plan->data, plan->data + plan->size);
    for (int index : order) {
        TfLiteNode* node;
        TfLiteRegistration* registration;
        if (context->GetNodeAndRegistration(context, index, &node, &registration)) return kTfLiteError;
        const std::string name = registration->builtin_code == kCustom ? registration->custom_name : "";
        if (name == "Shout" || name == "Increment") taken.push_back(index);
    }
    TfLiteRegistration registration{};
    registration.init = Init;
    registration.free = Free;
    registration.prepare = Prepare;
    registration.invoke = Invoke;
    registration.custom_name = "Packer";
    registration.version = 1;
    TfLiteStatus status = kTfLiteOk;
    for (int index : taken) {
        TfLiteIntArray* one = NewIntArray(1, &index);
        if (!status) status = context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, one, delegate);
        free(one);
    }
    return status;
}
}  // namespace

EXPORT TfLiteDelegate* tflite_plugin_create_delegate(
    const char* const*, const char* const*, size_t, void (*)(const char*)) {
    auto* delegate = new TfLiteDelegate{};
    delegate->Prepare = DelegatePrepare;
    delegate->flags = 1;
    return delegate;
}

EXPORT void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) { delete delegate; }
