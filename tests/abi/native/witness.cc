// A delegate that takes nothing: it writes down all that a runtime shows it, so that two runtimes can be compared.
#include <cstdio>
#include <map>
#include <string>

#include "tflite.h"

namespace {
struct Witness {
    TfLiteDelegate delegate;
    std::string path;
    std::map<int, int> sizes;  // bytes of builtin_data by builtin code
};

void Bytes(FILE* file, const void* data, size_t size) {
    for (size_t i = 0; i < size; i++) fprintf(file, "%02x", static_cast<const unsigned char*>(data)[i]);
}

void Ints(FILE* file, const char* name, const TfLiteIntArray* array) {
    fprintf(file, " %s", name);
    for (int i = 0; array && i < array->size; i++) fprintf(file, ",%d", array->data[i]);
}

void WriteTensor(FILE* file, int index, const TfLiteTensor& tensor) {
    const bool constant = tensor.allocation_type == kMmapRo;
    fprintf(file, "tensor %d type %d %s variable %d", index, tensor.type, constant ? "constant" : "", tensor.is_variable);
    fprintf(file, " name %s", tensor.name);
    Ints(file, "dims", tensor.dims);
    Ints(file, "signature", tensor.dims_signature);
    fprintf(file, " scale %a zero %d", tensor.params.scale, tensor.params.zero_point);
    if (tensor.quantization.type == 1) {
        auto* affine = static_cast<TfLiteAffineQuantization*>(tensor.quantization.params);
        Ints(file, "zero_points", affine->zero_point);
        for (int i = 0; i < affine->scale->size; i++) fprintf(file, " %a", affine->scale->data[i]);
        fprintf(file, " axis %d", affine->quantized_dimension);
    }
    if (constant) {
        fprintf(file, " bytes %zu ", tensor.bytes);
        Bytes(file, tensor.data, tensor.bytes < 64 ? tensor.bytes : 64);
    }
    fprintf(file, "\n");
}

TfLiteStatus Prepare(TfLiteContext* context, TfLiteDelegate* delegate) {
    auto* witness = static_cast<Witness*>(delegate->data_);
    FILE* file = fopen(witness->path.c_str(), "a");
    if (!file) return kTfLiteError;
    TfLiteIntArray* plan;
    if (context->GetExecutionPlan(context, &plan)) return kTfLiteError;
    const TfLiteIntArray* order = NewIntArray(plan->size, plan->data);
    Ints(file, "plan", order);
    fprintf(file, "\n");
    for (int i = 0; i < order->size; i++) {
        TfLiteNode* node;
        TfLiteRegistration* registration;
        if (context->GetNodeAndRegistration(context, order->data[i], &node, &registration)) return kTfLiteError;
        const int code = registration->builtin_code;
        fprintf(file, "node %d code %d version %d", order->data[i], code, registration->version);
        if (code == kCustom) fprintf(file, " custom %s ", registration->custom_name);
        Ints(file, "in", node->inputs);
        Ints(file, "out", node->outputs);
        fprintf(file, " options ");
        if (code == kCustom) Bytes(file, node->custom_initial_data, node->custom_initial_data_size);
        if (node->builtin_data && witness->sizes.count(code)) Bytes(file, node->builtin_data, witness->sizes[code]);
        fprintf(file, node->builtin_data ? "\n" : " none\n");
        for (int j = 0; j < node->inputs->size; j++)
            if (node->inputs->data[j] >= 0)
                WriteTensor(file, node->inputs->data[j], context->tensors[node->inputs->data[j]]);
        for (int j = 0; j < node->outputs->size; j++)
            WriteTensor(file, node->outputs->data[j], context->tensors[node->outputs->data[j]]);
    }
    const char* metadata;
    size_t size;
    if (!context->GetModelMetadata(context, "witnessed", &metadata, &size))
        fprintf(file, "metadata %.*s\n", static_cast<int>(size), metadata);
    fclose(file);
    return kTfLiteOk;
}
}  // namespace

// Options: `path` to write to; `sizes`, a list of `code:bytes;`.
EXPORT TfLiteDelegate* tflite_plugin_create_delegate(
    const char* const* keys, const char* const* values, size_t count, void (*)(const char*)) {
    auto* witness = new Witness{};
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(keys[i], "path")) witness->path = values[i];
        for (const char* at = values[i]; !strcmp(keys[i], "sizes") && at && *at;) {
            int code = 0, size = 0;
            sscanf(at, "%d:%d", &code, &size);
            witness->sizes[code] = size;
            at = strchr(at, ';');
            if (at) at++;
        }
    }
    witness->delegate.data_ = witness;
    witness->delegate.Prepare = Prepare;
    witness->delegate.flags = 1;
    return &witness->delegate;
}

EXPORT void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) {
    if (delegate) delete static_cast<Witness*>(delegate->data_);
}
