// What a delegate needs of TensorFlow Lite's C interface, declared anew for these tests.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
enum { kFloat32 = 1, kString = 5, kAdd = 0, kMul = 18, kDelegate = 51, kCustom = 32 };
enum { kMmapRo = 1, kArenaRw = 2, kDynamic = 4 };

struct TfLiteIntArray {
    int size;
    int data[];
};
struct TfLiteFloatArray {
    int size;
    float data[];
};
struct TfLiteAffineQuantization {
    TfLiteFloatArray* scale;
    TfLiteIntArray* zero_point;
    int32_t quantized_dimension;
};
struct TfLiteDelegate;
struct TfLiteTensor {
    int type;
    void* data;
    TfLiteIntArray* dims;
    struct {
        float scale;
        int32_t zero_point;
    } params;
    int allocation_type;
    size_t bytes;
    const void* allocation;
    const char* name;
    TfLiteDelegate* delegate;
    int buffer_handle;
    bool data_is_stale;
    bool is_variable;
    struct {
        int type;
        void* params;
    } quantization;
    void* sparsity;
    const TfLiteIntArray* dims_signature;
};
struct TfLiteNode {
    TfLiteIntArray *inputs, *outputs, *intermediates, *temporaries;
    void* user_data;
    void* builtin_data;
    const void* custom_initial_data;
    int custom_initial_data_size;
    TfLiteDelegate* delegate;
    bool might_have_side_effect;
};
struct TfLiteContext;
struct TfLiteRegistration {
    void* (*init)(TfLiteContext*, const char*, size_t);
    void (*free)(TfLiteContext*, void*);
    TfLiteStatus (*prepare)(TfLiteContext*, TfLiteNode*);
    TfLiteStatus (*invoke)(TfLiteContext*, TfLiteNode*);
    const char* (*profiling_string)(const TfLiteContext*, const TfLiteNode*);
    int32_t builtin_code;
    const char* custom_name;
    int version;
    void* registration_external;
    void* async_kernel;
    uint64_t inplace_operator;
};
struct TfLiteDelegate {
    void* data_;
    TfLiteStatus (*Prepare)(TfLiteContext*, TfLiteDelegate*);
    TfLiteStatus (*CopyFromBufferHandle)(TfLiteContext*, TfLiteDelegate*, int, TfLiteTensor*);
    TfLiteStatus (*CopyToBufferHandle)(TfLiteContext*, TfLiteDelegate*, int, TfLiteTensor*);
    void (*FreeBufferHandle)(TfLiteContext*, TfLiteDelegate*, int*);
    int64_t flags;
    void* opaque_delegate_builder;
};
struct TfLiteDelegateParams {
    TfLiteDelegate* delegate;
    TfLiteIntArray *nodes_to_replace, *input_tensors, *output_tensors;
};
struct TfLiteContext {
    size_t tensors_size;
    TfLiteStatus (*GetExecutionPlan)(TfLiteContext*, TfLiteIntArray**);
    TfLiteTensor* tensors;
    void* impl_;
    TfLiteStatus (*ResizeTensor)(TfLiteContext*, TfLiteTensor*, TfLiteIntArray*);
    void (*ReportError)(TfLiteContext*, const char*, ...);
    TfLiteStatus (*AddTensors)(TfLiteContext*, int, int*);
    TfLiteStatus (*GetNodeAndRegistration)(TfLiteContext*, int, TfLiteNode**, TfLiteRegistration**);
    TfLiteStatus (*ReplaceNodeSubsetsWithDelegateKernels)(
        TfLiteContext*, TfLiteRegistration, const TfLiteIntArray*, TfLiteDelegate*);
    int recommended_num_threads;
    void* (*GetExternalContext)(TfLiteContext*, int);
    void (*SetExternalContext)(TfLiteContext*, int, void*);
    bool allow_fp32_relax_to_fp16;
    void* profiler;
    void* unused[5];
    TfLiteStatus (*PreviewDelegatePartitioning)(TfLiteContext*, const TfLiteIntArray*, TfLiteDelegateParams**, int*);
    void *GetTensor, *GetEvalTensor;
    TfLiteStatus (*GetModelMetadata)(const TfLiteContext*, const char*, const char**, size_t*);
    TfLiteStatus (*AcquireSubgraphContext)(TfLiteContext*, int, TfLiteContext**);
    TfLiteStatus (*ReleaseSubgraphContext)(TfLiteContext*, int);
};

static inline TfLiteIntArray* NewIntArray(int size, const int* values = nullptr) {
    auto* array = static_cast<TfLiteIntArray*>(malloc(sizeof(int) * (size + 1)));
    array->size = size;
    if (values) memcpy(array->data, values, sizeof(int) * size);
    return array;
}
static inline size_t Count(const TfLiteTensor& tensor) {
    size_t count = 1;
    for (int i = 0; i < tensor.dims->size; i++) count *= tensor.dims->data[i];
    return count;
}
#define EXPORT extern "C" __attribute__((visibility("default")))
