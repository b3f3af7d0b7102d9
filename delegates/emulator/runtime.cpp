// Runs grids of emulated kernels: blocks one after another, each thread until it ends or waits for others. A thread gets
// a stack of its own (a fiber) only while it waits, so that kernels without barriers are plain loops.
// With EMU_CHECK also the compiler's access hooks: out of bounds, misaligned, races, uninitialised shared memory.
#define EMU_RUNTIME
#include "cuda_emulator.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <vector>

static const int MAX_THREADS = 1024;
static const size_t STACK = 64 << 10;

enum State { UNSTARTED, READY, RUNNING, AT_BARRIER, IN_EXCHANGE, DONE };
struct Thread {
    State state;
    int fiber;
    uint3 at;
    const void* site;
    const void* in;
    void* out;
    int size;
    unsigned mask, came;
    unsigned barriers, exchanges;  // how many it has passed in this block
};

extern "C" EmuThread emu_thread;
EmuThread emu_thread;

static Thread threads[MAX_THREADS];
static unsigned long ready[MAX_THREADS / 64];
static int thread_count, current, next_unstarted, live, waiting, barriers;
static unsigned long block_number;
static const EmuLaunch* launch;
static void (*body)(void* const*);
static bool stopped;

static int errors;
static char error_text[1 << 14];
static size_t error_length;

extern "C" void emu_error(const char* format, ...) {
    if (++errors > 10) return;
    size_t room = sizeof error_text - error_length;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(error_text + error_length, room, format, args);
    va_end(args);
    uint3 b = emu_thread.block, t = emu_thread.thread;
    error_length += n < (int)room ? n : room - 1;
    room = sizeof error_text - error_length;
    n = snprintf(error_text + error_length, room, " [block %u,%u,%u thread %u,%u,%u]\n", b.x, b.y, b.z, t.x, t.y, t.z);
    error_length += n < (int)room ? n : room - 1;
}
extern "C" const char* emu_errors() { return error_text; }

// ---- fibers
static unsigned char* stacks;
static std::vector<int> idle;
static int fiber = -1;  // the running one; -1 is whoever called emu_run
#ifdef __x86_64__
static void *saved[MAX_THREADS + 1], *main_saved;
extern "C" void emu_switch(void** from, void* to);
asm(".text\n.globl emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    " pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    " movq %rsp,(%rdi)\n movq %rsi,%rsp\n"
    " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n.size emu_switch,.-emu_switch\n");
static void** slot(int f) { return f < 0 ? &main_saved : &saved[f]; }
static void prepare(int f, void (*start)()) {
    void** top = (void**)(stacks + STACK * (f + 1));
    *--top = nullptr;
    *--top = (void*)start;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    saved[f] = top;
}
static void go_to(int f) {
    int from = fiber;
    fiber = f;
    emu_switch(slot(from), *slot(f));
}
#else
#include <ucontext.h>
static ucontext_t saved[MAX_THREADS + 1], main_saved;
static ucontext_t* slot(int f) { return f < 0 ? &main_saved : &saved[f]; }
static void prepare(int f, void (*start)()) {
    getcontext(&saved[f]);
    saved[f].uc_stack.ss_sp = stacks + STACK * f;
    saved[f].uc_stack.ss_size = STACK;
    makecontext(&saved[f], start, 0);
}
static void go_to(int f) {
    int from = fiber;
    fiber = f;
    swapcontext(slot(from), slot(f));
}
#endif

// ---- scheduling
#ifdef EMU_CHECK
static void check_block();
#else
static void check_block() {}
#endif

static void make_current(int i) {
    current = i;
    threads[i].state = RUNNING;
    emu_thread.thread = threads[i].at;
    emu_thread.lane = i & 31;
}
static void make_ready(int i) {
    threads[i].state = READY;
    ready[i >> 6] |= 1ul << (i & 63);
}
static int take_ready() {
    for (int w = 0; w * 64 < thread_count; w++)
        if (ready[w]) {
            int i = w * 64 + __builtin_ctzl(ready[w]);
            ready[w] &= ready[w] - 1;
            return i;
        }
    return -1;
}

static void work();

// Runs something else: a thread that has not begun, one that may go on, or, when none can, whoever called.
static void run_another() {
    if (next_unstarted < thread_count) {
        int f = idle.back();
        idle.pop_back();
        prepare(f, work);
        return go_to(f);
    }
    int i = take_ready();
    if (i >= 0) {
        make_current(i);
        return go_to(threads[i].fiber);
    }
    if (live) {
        int at_barrier = 0, in_exchange = 0;
        for (int t = 0; t < thread_count; t++) {
            at_barrier += threads[t].state == AT_BARRIER;
            in_exchange += threads[t].state == IN_EXCHANGE;
        }
        emu_error("deadlock: %d threads at __syncthreads, %d in a warp operation, %d ended", at_barrier, in_exchange,
                  thread_count - live);
        stopped = true;
    }
    go_to(-1);
}

static void pass_barrier() {
    const void* site = nullptr;
    waiting = 0;
    barriers++;
    for (int i = 0; i < thread_count; i++) {
        Thread& t = threads[i];
        if (t.state != AT_BARRIER) continue;
#ifdef EMU_CHECK
        if (site && t.site != site) emu_error("threads of one block wait at different __syncthreads");
#endif
        site = t.site;
        t.barriers = barriers;
        make_ready(i);
    }
}

extern "C" __attribute__((noinline)) void emu_barrier() {
    int me = current;
    threads[me].state = AT_BARRIER;
    threads[me].site = __builtin_return_address(0);
    threads[me].fiber = fiber;
    if (++waiting == live) pass_barrier();
    run_another();
}

// Ends an exchange of a warp's lanes in mask if all of them that still run have come.
static void try_exchange(int warp, unsigned mask) {
    static char gathered[32 * 4096];
    unsigned need = 0, passed = 0;
    for (int lane = 0; lane < 32; lane++) {
        int i = warp * 32 + lane;
        if (i >= thread_count || !(mask >> lane & 1) || threads[i].state == DONE) continue;
        if (threads[i].state != IN_EXCHANGE || threads[i].mask != mask) return;
        need |= 1u << lane;
        if (threads[i].exchanges > passed) passed = threads[i].exchanges;
    }
    if (!need) return;
    int size = threads[warp * 32 + __builtin_ctz(need)].size;
    for (unsigned m = need; m; m &= m - 1) {
        int lane = __builtin_ctz(m);
        Thread& t = threads[warp * 32 + lane];
        if (t.size != size) emu_error("lanes of one warp run different warp operations");
        else memcpy(gathered + lane * size, t.in, size);
    }
    for (unsigned m = need; m; m &= m - 1) {
        int i = warp * 32 + __builtin_ctz(m);
        Thread& t = threads[i];
        memcpy(t.out, gathered, 32 * (size_t)(t.size < size ? t.size : size));
        t.came = need;
        t.exchanges = passed + 1;
        make_ready(i);
    }
}

extern "C" unsigned emu_exchange(unsigned mask, const void* in, void* out, int size) {
    int me = current;
    Thread& t = threads[me];
    if (!(mask >> (me & 31) & 1)) emu_error("a warp operation by a lane that is not in its mask %08x", mask);
    t.state = IN_EXCHANGE;
    t.mask = mask;
    t.in = in;
    t.out = out;
    t.size = size;
    t.fiber = fiber;
    try_exchange(me >> 5, mask);
    run_another();
    return t.came;
}

static void finish() {
    int me = current, warp = me >> 5;
    threads[me].state = DONE;
    live--;
    for (int i = warp * 32; i < warp * 32 + 32 && i < me; i++)
        if (threads[i].state == IN_EXCHANGE) try_exchange(warp, threads[i].mask);
    if (live && waiting == live) pass_barrier();
}

static void begin_block() {
    const unsigned* g = launch->grid;
    emu_thread.block = {(unsigned)(block_number % g[0]), (unsigned)(block_number / g[0] % g[1]),
                        (unsigned)(block_number / g[0] / g[1])};
    if (launch->shared_begin) memset(launch->shared_begin, 0xff, launch->shared_end - launch->shared_begin);
    for (int i = 0; i < thread_count; i++) threads[i].state = UNSTARTED;
    next_unstarted = waiting = barriers = 0;
    live = thread_count;
    check_block();
}

static void start(int i) {
    const unsigned* b = launch->block;
    Thread& t = threads[i];
    t.at = {(unsigned)i % b[0], (unsigned)i / b[0] % b[1], (unsigned)i / b[0] / b[1]};
    t.barriers = t.exchanges = 0;
    make_current(i);
}

// What a fiber does: begins threads while any has not begun, of block after block while none waits.
static void work() {
    unsigned long blocks = (unsigned long)launch->grid[0] * launch->grid[1] * launch->grid[2];
    for (;;) {
        while (next_unstarted < thread_count) {
            start(next_unstarted++);
            body(launch->args);
            finish();
        }
        if (!live && ++block_number < blocks) {
            begin_block();
            continue;
        }
        idle.push_back(fiber);
        run_another();
    }
}

extern "C" int emu_run(const EmuLaunch* what, void (*kernel)(void* const*)) {
    errors = 0;
    error_length = 0;
    error_text[0] = 0;
    launch = what;
    body = kernel;
    const unsigned *g = what->grid, *b = what->block;
    thread_count = b[0] * b[1] * b[2];
    if (thread_count < 1 || thread_count > MAX_THREADS || g[1] > 65535 || g[2] > 65535 || b[2] > 64) {
        emu_error("no GPU launches a grid of %u,%u,%u blocks of %u,%u,%u threads", g[0], g[1], g[2], b[0], b[1], b[2]);
        return errors;
    }
    if (!stacks)
        stacks = (unsigned char*)mmap(nullptr, STACK * (MAX_THREADS + 1), PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    emu_thread.block_dim = {b[0], b[1], b[2]};
    emu_thread.grid_dim = {g[0], g[1], g[2]};
    memset(ready, 0, sizeof ready);
    idle.clear();
    for (int f = MAX_THREADS; f >= 0; f--) idle.push_back(f);
    fiber = -1;
    stopped = false;
    block_number = 0;
    begin_block();
    run_another();
    return errors;
}

#ifdef EMU_CHECK
// ---- access checks: what the compiler's thread sanitizer calls, with other bodies

// Of one byte: who wrote and read it last, in which block, after how many barriers and warp operations.
struct Shadow {
    unsigned write_block, read_block;
    unsigned short writer, reader, write_barriers, read_barriers, write_exchanges, read_exchanges;
};
// Besides a thread's number: several lanes of a warp, OF_WARP and its number; several threads of different warps.
static const unsigned short OF_WARP = 0x8000, SEVERAL = 0xffff;
enum Kind { VALUE, GLOBAL, READ_ONLY, SHARED, IMAGE };
struct Region {
    unsigned char* begin;
    size_t nbytes;
    int kind;
    std::vector<Shadow> shadow;
    char name[64];
};
static std::vector<Region> regions;
static size_t last_region;

extern "C" void emu_regions_clear() {
    regions.clear();
    last_region = 0;
}
extern "C" void emu_region(void* begin, size_t nbytes, int kind, const char* name) {
    Region r{(unsigned char*)begin, nbytes, kind, {}, {}};
    if (kind != IMAGE) r.shadow.resize(nbytes);
    snprintf(r.name, sizeof r.name, "%s", name);
    regions.push_back(r);
}
static void check_block() {
    for (Region& r : regions)
        if (r.kind == SHARED) memset((void*)r.shadow.data(), 0, r.nbytes * sizeof(Shadow));
}

static void abandon() {
    stopped = true;
    go_to(-1);
}

static Region* region_of(unsigned char* p) {
    if (last_region < regions.size()) {
        Region& r = regions[last_region];
        if (p >= r.begin && p < r.begin + r.nbytes) return &r;
    }
    for (size_t i = 0; i < regions.size(); i++)
        if (p >= regions[i].begin && p < regions[i].begin + regions[i].nbytes) return &regions[last_region = i];
    return nullptr;
}

static void report_outside(unsigned char* p, int nbytes, bool writes) {
    const Region* nearest = nullptr;
    size_t best = ~(size_t)0;
    for (const Region& r : regions) {
        size_t distance = p < r.begin ? r.begin - p : p - (r.begin + r.nbytes);
        if (r.kind != IMAGE && distance < best) {
            best = distance;
            nearest = &r;
        }
    }
    emu_error("out of bounds: %s of %d bytes at byte %ld of %s, which has %zu", writes ? "write" : "read", nbytes,
              nearest ? (long)(p - nearest->begin) : 0l, nearest ? nearest->name : "nothing",
              nearest ? nearest->nbytes : 0);
}

static int warp_of(unsigned short who) { return who >= OF_WARP ? who - OF_WARP : who >> 5; }

// Whether an earlier access to a byte may happen at the same time as one of thread t now.
static bool concurrent(const Thread& t, unsigned block, unsigned short who, unsigned short at_barriers,
                       unsigned short at_exchanges) {
    if (!block) return false;
    if (block != block_number + 1) return true;
    if (who == current || at_barriers != (unsigned short)t.barriers) return false;
    return warp_of(who) != current >> 5 || at_exchanges >= (unsigned short)t.exchanges;
}

static void check_byte(Region& r, size_t at, bool writes) {
    Shadow& s = r.shadow[at];
    const Thread& t = threads[current];
    bool with_write = concurrent(t, s.write_block, s.writer, s.write_barriers, s.write_exchanges);
    bool with_read = writes && concurrent(t, s.read_block, s.reader, s.read_barriers, s.read_exchanges);
    if (with_write || with_read)
        emu_error("race: a %s of byte %zu of %s and thread %u's %s are not ordered", writes ? "write" : "read", at,
                  r.name, with_write ? s.writer : s.reader, with_write ? "write" : "read");
    if (!writes && r.kind == SHARED && !s.write_block)
        emu_error("uninitialised: a read of byte %zu of shared %s", at, r.name);
    unsigned block = block_number + 1;
    if (writes) {
        s.write_block = block;
        s.writer = current;
        s.write_barriers = t.barriers;
        s.write_exchanges = t.exchanges;
    } else {
        bool shared = s.read_block == block && s.read_barriers == (unsigned short)t.barriers && s.reader != current;
        bool by_warp = shared && warp_of(s.reader) == current >> 5;
        // A lane that reads after others of its warp have, and a warp operation, stands for them.
        bool beside = by_warp && s.read_exchanges >= (unsigned short)t.exchanges;
        s.reader = shared && !by_warp ? SEVERAL : beside ? OF_WARP + (current >> 5) : current;
        s.read_block = block;
        s.read_barriers = t.barriers;
        if (!beside) s.read_exchanges = t.exchanges;
    }
}

static void access(void* pointer, int nbytes, bool writes) {
    unsigned char* p = (unsigned char*)pointer;
    if ((size_t)(p - stacks) < STACK * (MAX_THREADS + 1) || fiber < 0) return;
    if ((size_t)(p - (unsigned char*)&emu_thread) < sizeof emu_thread) return;
    if (errors > 10) abandon();
    Region* r = region_of(p);
    if (!r || p + nbytes > r->begin + r->nbytes) {
        report_outside(p, nbytes, writes);
        abandon();  // before the access, which could end the process
    }
    if (r->kind == IMAGE) return;
    if ((size_t)p % nbytes) {
        emu_error("misaligned: %d bytes at byte %ld of %s", nbytes, (long)(p - r->begin), r->name);
        abandon();
    }
    if (writes && r->kind == READ_ONLY) emu_error("a write to %s, which is const", r->name);
    for (int i = 0, before = errors; i < nbytes && errors == before; i++) check_byte(*r, p - r->begin + i, writes);
}

#define EMU_HOOKS(n)                                                                                                   \
    extern "C" void __tsan_read##n(void* p) { access(p, n, false); }                                                   \
    extern "C" void __tsan_write##n(void* p) { access(p, n, true); }                                                   \
    extern "C" void __tsan_unaligned_read##n(void* p) { access(p, n, false); }                                         \
    extern "C" void __tsan_unaligned_write##n(void* p) { access(p, n, true); }                                         \
    extern "C" void __tsan_volatile_read##n(void* p) { access(p, n, false); }                                          \
    extern "C" void __tsan_volatile_write##n(void* p) { access(p, n, true); }
EMU_HOOKS(1) EMU_HOOKS(2) EMU_HOOKS(4) EMU_HOOKS(8) EMU_HOOKS(16)
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_read_range(void* p, unsigned long n) {
    for (unsigned long i = 0; i < n; i++) access((char*)p + i, 1, false);
}
void __tsan_write_range(void* p, unsigned long n) {
    for (unsigned long i = 0; i < n; i++) access((char*)p + i, 1, true);
}
// A vector read or written through a pointer that is not a multiple of its size, however it was compiled.
void __ubsan_handle_type_mismatch_v1(void* data, void* p) {
    struct Location {
        const char* file;
        unsigned line, column;
    }* where = (Location*)data;
    emu_error("misaligned: a vector at %p, line %u", p, where->line);
    if (fiber >= 0) abandon();
}
}
#endif
