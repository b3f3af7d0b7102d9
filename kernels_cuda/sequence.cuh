// The words in which sequence.py writes its programs: one block of WIDTH threads, and buffers of no type.
struct Untyped {
    u8* bytes;
    template <class T> __device__ __forceinline__ operator T*() const { return (T*)bytes; }
};
#define BLOCK extern "C" __global__ void __launch_bounds__(WIDTH)
#define BUFFER u8*
#define UNTYPED(buffer) (Untyped{buffer})
#define SHARED_FLOATS(name) __shared__ f32 name[WIDTH]
#define ME ((i32)threadIdx.x)
#define TOGETHER __syncthreads()
