// Runs grids of emulated kernels: blocks one after another, each thread until it ends or waits for others. A thread gets
// a stack of its own (a fiber) only while it waits, so that kernels without barriers are plain loops. The blocks of a
// cooperative launch are all under way at once: one runs until none of its threads can, or one sleeps.
// With EMU_CHECK also the compiler's access hooks: out of bounds, misaligned, races, uninitialised shared memory.
#define EMU_RUNTIME
#include "cuda_emulator.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <map>
#include <vector>

static const int MAX_THREADS = 1024, MAX_FIBERS = 8192;
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
    bool wrote, fenced;            // whether it has written to global memory, and had a __threadfence since
    unsigned fence_barriers;       // how many barriers it had passed at that
    void* met;                     // the last atomic since its last __threadfence
};

extern "C" EmuThread emu_thread;
EmuThread emu_thread;

struct Block {
    Thread threads[MAX_THREADS];
    unsigned long ready[MAX_THREADS / 64];
    int next_unstarted, live, waiting, barriers;
    unsigned long number;
    std::vector<unsigned char> shared;  // its shared memory while another block runs
    unsigned fences;                    // its own so far, and one
    std::vector<unsigned> seen;         // up to which of its fences it is known what another block has done
};
static std::vector<Block> blocks;  // those under way
static std::vector<unsigned> fenced;
static Block* here;  // whose thread runs
static int thread_count, current;
static unsigned long next_block, block_count, sleeps;
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
static void *saved[MAX_FIBERS + 1], *main_saved;
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
static ucontext_t saved[MAX_FIBERS + 1], main_saved;
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
static void check_block(Block& b);
static void check_launch();
static void acquire();
#else
extern "C" void emu_atomic(void*) {}
static void acquire() {}
static void check_block(Block&) {}
static void check_launch() {}
#endif

static void set_block() {
    const unsigned* g = launch->grid;
    unsigned long n = here->number;
    emu_thread.block = {(unsigned)(n % g[0]), (unsigned)(n / g[0] % g[1]), (unsigned)(n / g[0] / g[1])};
}
static void make_current(int i) {
    current = i;
    here->threads[i].state = RUNNING;
    emu_thread.thread = here->threads[i].at;
    emu_thread.lane = i & 31;
}
static void make_ready(int i) {
    here->threads[i].state = READY;
    here->ready[i >> 6] |= 1ul << (i & 63);
}
static int take_ready() {
    for (int w = 0; w * 64 < thread_count; w++)
        if (here->ready[w]) {
            int i = w * 64 + __builtin_ctzl(here->ready[w]);
            here->ready[w] &= here->ready[w] - 1;
            return i;
        }
    return -1;
}

static void work();

// Makes another block's shared memory the one that kernels see.
static void enter(Block& next) {
    if (&next == here) return;
    if (launch->shared_begin) {
        size_t nbytes = launch->shared_end - launch->shared_begin;
        here->shared.assign(launch->shared_begin, launch->shared_begin + nbytes);
        memcpy(launch->shared_begin, next.shared.data(), nbytes);
    }
    here = &next;
    set_block();
}

// Whether a thread of a block has not begun, or may go on.
static bool runs(const Block& b) {
    if (b.next_unstarted < thread_count) return true;
    for (int w = 0; w * 64 < thread_count; w++)
        if (b.ready[w]) return true;
    return false;
}

static void report_deadlock(const Block& b) {
    int at_barrier = 0, in_exchange = 0;
    for (int t = 0; t < thread_count; t++) {
        at_barrier += b.threads[t].state == AT_BARRIER;
        in_exchange += b.threads[t].state == IN_EXCHANGE;
    }
    emu_error("deadlock: %d threads at __syncthreads, %d in a warp operation, %d ended", at_barrier, in_exchange,
              thread_count - b.live);
    stopped = true;
}

// Runs something else: a thread that has not begun, one that may go on, or, when none can, whoever called.
static void run_another() {
    if (here->next_unstarted < thread_count) {
        int f = idle.back();
        idle.pop_back();
        prepare(f, work);
        return go_to(f);
    }
    int i = take_ready();
    if (i >= 0) {
        make_current(i);
        return go_to(here->threads[i].fiber);
    }
    for (size_t by = 1; by < blocks.size(); by++) {
        Block& other = blocks[(here - blocks.data() + by) % blocks.size()];
        if (!runs(other)) continue;
        enter(other);
        return run_another();
    }
    for (Block& b : blocks)
        if (b.live) report_deadlock(b);
    go_to(-1);
}

static void pass_barrier() {
    const void* site = nullptr;
    here->waiting = 0;
    here->barriers++;
    sleeps = 0;
    for (int i = 0; i < thread_count; i++) {
        Thread& t = here->threads[i];
        if (t.state != AT_BARRIER) continue;
#ifdef EMU_CHECK
        if (site && t.site != site) emu_error("threads of one block wait at different __syncthreads");
#endif
        site = t.site;
        t.barriers = here->barriers;
        make_ready(i);
    }
}

extern "C" __attribute__((noinline)) void emu_barrier() {
    int me = current;
    here->threads[me].state = AT_BARRIER;
    here->threads[me].site = __builtin_return_address(0);
    here->threads[me].fiber = fiber;
    if (++here->waiting == here->live) pass_barrier();
    run_another();
}

// A thread that waits for another block lets that run.
extern "C" void emu_sleep() {
    if (!launch->cooperative || ++sleeps > 4 * blocks.size() * thread_count) {
        emu_error(launch->cooperative ? "deadlock: every block waits for another"
                                      : "a block waits for another, which only a cooperative launch is sure to run");
        stopped = true;
        return go_to(-1);
    }
    here->threads[current].fiber = fiber;
    make_ready(current);
    for (size_t by = 1; by < blocks.size(); by++) {
        Block& other = blocks[(here - blocks.data() + by) % blocks.size()];
        if (!runs(other)) continue;
        enter(other);
        break;
    }
    run_another();
}

// What a block has done before its fence is known to all that have a fence after that.
extern "C" void emu_fence() {
    sleeps = 0;
    if (!launch->cooperative) return acquire();
    fenced[here->number] = here->fences++;
    for (size_t w = 0; w < fenced.size(); w++)
        if (here->seen[w] < fenced[w]) here->seen[w] = fenced[w];
}

// Ends an exchange of a warp's lanes in mask if all of them that still run have come.
static void try_exchange(int warp, unsigned mask) {
    static char gathered[32 * 4096];
    unsigned need = 0, passed = 0;
    for (int lane = 0; lane < 32; lane++) {
        int i = warp * 32 + lane;
        if (i >= thread_count || !(mask >> lane & 1) || here->threads[i].state == DONE) continue;
        if (here->threads[i].state != IN_EXCHANGE || here->threads[i].mask != mask) return;
        need |= 1u << lane;
        if (here->threads[i].exchanges > passed) passed = here->threads[i].exchanges;
    }
    if (!need) return;
    int size = here->threads[warp * 32 + __builtin_ctz(need)].size;
    for (unsigned m = need; m; m &= m - 1) {
        int lane = __builtin_ctz(m);
        Thread& t = here->threads[warp * 32 + lane];
        if (t.size != size) emu_error("lanes of one warp run different warp operations");
        else memcpy(gathered + lane * size, t.in, size);
    }
    for (unsigned m = need; m; m &= m - 1) {
        int i = warp * 32 + __builtin_ctz(m);
        Thread& t = here->threads[i];
        memcpy(t.out, gathered, 32 * (size_t)(t.size < size ? t.size : size));
        t.came = need;
        t.exchanges = passed + 1;
        make_ready(i);
    }
}

extern "C" unsigned emu_exchange(unsigned mask, const void* in, void* out, int size) {
    int me = current;
    Thread& t = here->threads[me];
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
    here->threads[me].state = DONE;
    here->live--;
    sleeps = 0;
    for (int i = warp * 32; i < warp * 32 + 32 && i < me; i++)
        if (here->threads[i].state == IN_EXCHANGE) try_exchange(warp, here->threads[i].mask);
    if (here->live && here->waiting == here->live) pass_barrier();
}

// Begins the next block, in the place of one that has ended.
static void begin_block(Block& b) {
    b.number = next_block++;
    for (int i = 0; i < thread_count; i++) b.threads[i].state = UNSTARTED;
    memset(b.ready, 0, sizeof b.ready);
    b.next_unstarted = b.waiting = b.barriers = 0;
    b.live = thread_count;
    b.fences = 1;
    b.seen.assign(fenced.size(), 0);
    size_t nbytes = launch->shared_begin ? launch->shared_end - launch->shared_begin : 0;
    if (&b == here && nbytes) memset(launch->shared_begin, 0xff, nbytes);
    else b.shared.assign(nbytes, 0xff);
    if (&b == here) set_block();
    check_block(b);
}

static void start(int i) {
    const unsigned* b = launch->block;
    Thread& t = here->threads[i];
    t.at = {(unsigned)i % b[0], (unsigned)i / b[0] % b[1], (unsigned)i / b[0] / b[1]};
    t.barriers = t.exchanges = 0;
    make_current(i);
}

// What a fiber does: begins threads while any has not begun, of block after block while none waits.
static void work() {
    for (;;) {
        while (here->next_unstarted < thread_count) {
            start(here->next_unstarted++);
            body(launch->args);
            finish();
        }
        if (!here->live && next_block < block_count) {
            begin_block(*here);
            continue;
        }
        Block* fresh = nullptr;
        for (Block& b : blocks)
            if (b.next_unstarted < thread_count) fresh = fresh ? fresh : &b;
        if (fresh) {
            enter(*fresh);
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
    block_count = (unsigned long)g[0] * g[1] * g[2];
    if (what->cooperative && block_count * thread_count > MAX_FIBERS) {
        emu_error("%lu blocks at once are more than the emulator runs", block_count);
        return errors;
    }
    if (!stacks)
        stacks = (unsigned char*)mmap(nullptr, STACK * (MAX_FIBERS + 1), PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    emu_thread.block_dim = {b[0], b[1], b[2]};
    emu_thread.grid_dim = {g[0], g[1], g[2]};
    idle.clear();
    int fibers = what->cooperative ? MAX_FIBERS : MAX_THREADS;
    for (int f = fibers; f >= 0; f--) idle.push_back(f);
    fiber = -1;
    stopped = false;
    sleeps = next_block = 0;
    blocks.resize(what->cooperative ? block_count : 1);
    fenced.assign(what->cooperative ? block_count : 0, 0);
    here = blocks.data();
    check_launch();
    for (Block& under_way : blocks) begin_block(under_way);
    run_another();
    return errors;
}

#ifdef EMU_CHECK
// ---- access checks: what the compiler's thread sanitizer calls, with other bodies

// Of one byte: who wrote and read it last, in which block, after how many of its fences, and of the thread's barriers and
// warp operations.
struct Shadow {
    unsigned write_block, read_block, write_fence, read_fence;
    unsigned short writer, reader, write_barriers, read_barriers, write_exchanges, read_exchanges;
};
// Besides a thread's number: several lanes of a warp, OF_WARP and its number; several threads of different warps.
static const unsigned short OF_WARP = 0x8000, SEVERAL = 0xffff;
static const unsigned SEVERAL_BLOCKS = 0xffffffff;
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
// Where the shadow of a region begins: every block has shared memory of its own.
static size_t shadow_of(const Region& r, const Block& b) {
    return r.kind == SHARED ? (&b - blocks.data()) * r.nbytes : 0;
}

// Blocks that are not all under way at once order their accesses by atomics: what a block has written, and made visible
// by __threadfence before an atomic, is there for a thread that has come to the same atomic later and has had a
// __threadfence since, and, behind a barrier, for its block.
struct Moment {
    int thread;
    unsigned barriers;
};
struct Acquired {
    std::map<unsigned, Moment> blocks;
    Moment at;
};
static std::map<void*, std::map<unsigned, Moment>> released;
static std::vector<Acquired> acquired;

// Whether what `who` of another block did, after so many barriers, is there for thread t.
static bool handed_over(const Thread& t, unsigned block, unsigned short who, unsigned short at_barriers) {
    for (const Acquired& a : acquired) {
        if (a.at.thread != current && a.at.barriers >= t.barriers) continue;
        auto found = a.blocks.find(block);
        if (found == a.blocks.end()) continue;
        const Moment& then = found->second;
        if (who == then.thread || at_barriers < (unsigned short)then.barriers) return true;
    }
    return false;
}

static void acquire() {
    Thread& t = here->threads[current];
    t.fenced = true;
    t.fence_barriers = t.barriers;
    if (t.met) acquired.push_back({released[t.met], {current, t.barriers}});
    t.met = nullptr;
}

extern "C" void emu_atomic(void* p) {
    Thread& me = here->threads[current];
    bool all = true;
    for (int i = 0; i < thread_count; i++) {
        const Thread& t = here->threads[i];
        if (t.wrote && (!t.fenced || (i != current && t.fence_barriers >= me.barriers))) all = false;
    }
    if (all) released[p][here->number + 1] = {current, me.barriers};
    me.met = p;
}

static void check_launch() {
    released.clear();
    for (Region& r : regions)
        if (r.kind == SHARED) r.shadow.resize(r.nbytes * blocks.size());
}
static void check_block(Block& b) {
    acquired.clear();
    for (Thread& t : b.threads) {
        t.wrote = t.fenced = false;
        t.met = nullptr;
    }
    for (Region& r : regions)
        if (r.kind == SHARED) memset((void*)(r.shadow.data() + shadow_of(r, b)), 0, r.nbytes * sizeof(Shadow));
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

// Whether what a block did before one of its fences is known to the running one.
static bool known(unsigned block, unsigned fence) {
    if (block != SEVERAL_BLOCKS) return block <= here->seen.size() && here->seen[block - 1] >= fence;
    for (unsigned up_to : here->seen)
        if (up_to < fence) return false;
    return true;
}

// Whether an earlier access to a byte may happen at the same time as one of thread t now.
static bool concurrent(const Thread& t, unsigned block, unsigned fence, unsigned short who, unsigned short at_barriers,
                       unsigned short at_exchanges) {
    if (!block) return false;
    if (block != here->number + 1 && !launch->cooperative) return !handed_over(t, block, who, at_barriers);
    if (block != here->number + 1) return !known(block, fence);
    if (who == current || at_barriers != (unsigned short)t.barriers) return false;
    return warp_of(who) != current >> 5 || at_exchanges >= (unsigned short)t.exchanges;
}

static void check_byte(Region& r, size_t at, bool writes) {
    Shadow& s = r.shadow[shadow_of(r, *here) + at];
    const Thread& t = here->threads[current];
    bool with_write = concurrent(t, s.write_block, s.write_fence, s.writer, s.write_barriers, s.write_exchanges);
    bool with_read = writes && concurrent(t, s.read_block, s.read_fence, s.reader, s.read_barriers, s.read_exchanges);
    if (with_write || with_read)
        emu_error("race: a %s of byte %zu of %s and thread %u's %s are not ordered", writes ? "write" : "read", at,
                  r.name, with_write ? s.writer : s.reader, with_write ? "write" : "read");
    if (!writes && r.kind == SHARED && !s.write_block)
        emu_error("uninitialised: a read of byte %zu of shared %s", at, r.name);
    unsigned block = here->number + 1;
    if (writes) {
        s.write_block = block;
        s.write_fence = here->fences;
        s.writer = current;
        s.write_barriers = t.barriers;
        s.write_exchanges = t.exchanges;
    } else {
        bool shared = s.read_block == block && s.read_barriers == (unsigned short)t.barriers && s.reader != current;
        bool by_warp = shared && warp_of(s.reader) == current >> 5;
        // A lane that reads after others of its warp have, and a warp operation, stands for them.
        bool beside = by_warp && s.read_exchanges >= (unsigned short)t.exchanges;
        s.reader = shared && !by_warp ? SEVERAL : beside ? OF_WARP + (current >> 5) : current;
        bool elsewhere = s.read_block && s.read_block != block && !known(s.read_block, s.read_fence);
        s.read_fence = elsewhere && s.read_fence > here->fences ? s.read_fence : here->fences;
        s.read_block = elsewhere ? SEVERAL_BLOCKS : block;
        s.read_barriers = t.barriers;
        if (!beside) s.read_exchanges = t.exchanges;
    }
}

static void access(void* pointer, int nbytes, bool writes) {
    unsigned char* p = (unsigned char*)pointer;
    if ((size_t)(p - stacks) < STACK * (MAX_FIBERS + 1) || fiber < 0) return;
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
    if (writes && r->kind == GLOBAL) {
        here->threads[current].wrote = true;
        here->threads[current].fenced = false;
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
