// Macros for the programs of barrier_kernel.py: blocks of WIDTH threads, and untyped buffers. One block, or with
// GRID_WIDE several, all resident on the GPU at once (a cooperative launch).
struct Untyped {
    u8* bytes;
    template <class T> __device__ __forceinline__ operator T*() const { return (T*)bytes; }
};
#define BLOCK extern "C" __global__ void __launch_bounds__(WIDTH)
#define BUFFER u8*
#define UNTYPED(buffer) (Untyped{buffer})
#define SHARED_FLOATS(name) __shared__ f32 name[WIDTH]
#define ME ((i32)threadIdx.x)
#ifdef GRID_WIDE
// A warp's items are neighbours; neighbouring warps belong to different blocks, so few items keep many blocks busy.
#define FIRST_ITEM ((i32)((threadIdx.x / 32 * gridDim.x + blockIdx.x) * 32 + threadIdx.x % 32))
#define ITEMS ((i32)gridDim.x * WIDTH)
#define FIRST_ROW ((i32)blockIdx.x)
#define ROWS ((i32)gridDim.x)
#define GRID_BARRIER grid_barrier((u32*)arrived)

// After it every thread of every block reads what any thread wrote before it: the fences order the accesses, and the
// second one invalidates the multiprocessor's caches. Nothing that is written meanwhile may be read as constant
// (ld.global.nc), so no pointer here is __restrict__. The highest bit of `arrived` flips when all blocks have arrived:
// together they add 2^31.
FN void grid_barrier(u32* arrived) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        u32 before = atomicAdd(arrived, blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1u);
        while (((before ^ *(volatile u32*)arrived) & 0x80000000u) == 0) __nanosleep(20);
        __threadfence();
    }
    __syncthreads();
}
#else
#define FIRST_ITEM ME
#define ITEMS WIDTH
#define FIRST_ROW 0
#define ROWS 1
#define GRID_BARRIER __syncthreads()
#endif

// In the functions that kernels become: the number of their work-item or row. The memory of rows is a parameter.
#undef GLOBAL_ID
#define GLOBAL_ID item_
#undef GROUP_ID
#define GROUP_ID item_
#undef RESTRICT
#define RESTRICT
#undef PARTIAL
#define PARTIAL
