// CUDA C++ on the processor, for tests of kernels without a GPU.
//
// Blocks run one after another. Each thread of a block has a stack of its own and runs until it
// waits for its block, its warp or a barrier in memory, so a launch is one thread of the system,
// always in the same order. What a GPU does asynchronously happens as late as it may here (see
// hopper.cu). A block of which no thread can go on is a defect of the kernel, and ends the process.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <vector>

#define PROTEM_ON_CPU
#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static // blocks do not run at once
#define __launch_bounds__(...)

struct Place {
    unsigned x = 0, y = 0, z = 0;
};
struct uint4 {
    unsigned x, y, z, w;
};
inline Place threadIdx, blockIdx, blockDim, gridDim;

namespace processor {
constexpr size_t STACK = 1 << 16;
enum class State { Ready, AtBlock, AtWarp, Paused, Last, Done };

inline void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "a kernel asks for %s\n", what);
    std::abort();
}

// Products that a thread has ordered, and where its batches of them end.
struct Products {
    std::vector<std::function<void()>> ordered;
    std::vector<size_t> ends;

    void make(std::function<void()> product) { ordered.push_back(std::move(product)); }
    void close() { ends.push_back(ordered.size()); }
    // All batches but the last `left`.
    void run(size_t left) {
        if (ends.size() <= left) return;
        size_t batches = ends.size() - left, end = ends[batches - 1];
        for (size_t i = 0; i < end; ++i) ordered[i]();
        ordered.erase(ordered.begin(), ordered.begin() + end);
        ends.erase(ends.begin(), ends.begin() + batches);
        for (size_t& end_of_rest : ends) end_of_rest -= end;
    }
};

struct Thread {
    // Where it goes on, once it has begun.
    jmp_buf at;
    bool begun = false;
    std::vector<char> stack = std::vector<char>(STACK);
    State state = State::Done;
    uint64_t given = 0;
    Products products;
};

// Whether any barrier has changed since paused threads last looked.
inline bool changed;

// A barrier in shared memory: arrivals still to come, of how many; bytes announced and landed.
struct Barrier {
    uint32_t missing, arrivals;
    int64_t expected, landed;
    uint32_t phase = 0;

    void arrive() {
        check(missing > 0, "more arrivals than its barrier has");
        --missing;
        turn();
    }
    void land(uint32_t bytes) {
        landed += bytes;
        turn();
    }
    void turn() {
        changed = true;
        if (missing || expected != landed) return;
        missing = arrivals;
        expected = landed = 0;
        ++phase;
    }
};
inline std::map<const void*, Barrier> barriers;
// Copies that have not landed.
inline std::vector<std::function<void()>> later;
// What a launch asked for.
inline std::vector<unsigned char> shared;

inline jmp_buf scheduler;
inline std::vector<Thread> threads;
inline size_t running, count;
inline std::function<void()> body;

// Leaves the running thread in a state, until it is resumed. By jumps: swapcontext would ask the
// system twice each time.
[[gnu::noinline]] inline void wait(State state) {
    threads[running].state = state;
    if (!_setjmp(threads[running].at)) _longjmp(scheduler, 1);
}

// All that a thread ever does: block after block.
inline void enter() {
    for (;;) {
        body();
        wait(State::Done);
    }
}

[[gnu::noinline]] inline void resume(size_t t) {
    Thread& thread = threads[t];
    running = t;
    threadIdx.x = t;
    if (_setjmp(scheduler)) return;
    if (thread.begun) _longjmp(thread.at, 1);
    thread.begun = true;
    ucontext_t begin;
    getcontext(&begin);
    begin.uc_stack.ss_sp = thread.stack.data();
    begin.uc_stack.ss_size = STACK;
    makecontext(&begin, enter, 0);
    setcontext(&begin);
}

// Until some barrier has changed.
inline void pause() { wait(State::Paused); }
// Until nothing else can go on and nothing is left to land.
inline void be_last() { wait(State::Last); }
inline Products& products() { return threads[running].products; }

// Lets threads begin..end go on if all that are not done wait as `state` says.
inline bool release(size_t begin, size_t end, State state) {
    bool any = false;
    for (size_t t = begin; t < end; ++t) {
        if (threads[t].state == state) any = true;
        else if (threads[t].state != State::Done) return false;
    }
    for (size_t t = begin; any && t < end; ++t) {
        if (threads[t].state == state) threads[t].state = State::Ready;
    }
    return any;
}

// Lets all that wait for barriers look again, if there is something to see.
inline bool wake() {
    if (!changed) return false;
    changed = false;
    for (size_t t = 0; t < count; ++t) {
        if (threads[t].state == State::Paused) threads[t].state = State::Ready;
    }
    return true;
}

// Lets the copy that was ordered last land.
inline bool land() {
    if (later.empty()) return false;
    auto copy = std::move(later.back());
    later.pop_back();
    copy();
    return true;
}

// Lets those go on that wait until nothing else can.
inline bool let_last() {
    bool any = false;
    for (size_t t = 0; t < count; ++t) {
        if (threads[t].state != State::Last) continue;
        threads[t].state = State::Ready;
        any = true;
    }
    return any;
}

inline void run_block() {
    barriers.clear();
    // Numbers that are none.
    std::fill(shared.begin(), shared.end(), 0xff);
    for (size_t t = 0; t < count; ++t) threads[t].state = State::Ready;
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t warp = 0; warp < count; warp += 32) {
            size_t end = warp + 32 < count ? warp + 32 : count;
            do {
                for (size_t t = warp; t < end; ++t) {
                    if (threads[t].state != State::Ready) continue;
                    moved = true;
                    resume(t);
                }
            } while (release(warp, end, State::AtWarp));
        }
        moved |= release(0, count, State::AtBlock);
        moved |= wake();
        moved = moved || land() || let_last();
    }
    check(later.empty(), "a copy for which nobody waits");
    for (size_t t = 0; t < count; ++t) {
        if (threads[t].state == State::Done) {
            check(threads[t].products.ordered.empty(), "products for which nobody waits");
            continue;
        }
        std::fprintf(stderr, "thread %zu of a block waits for ever\n", t);
        std::abort();
    }
}

inline void launch(Place grid, Place block, size_t bytes, std::function<void()> kernel) {
    shared.resize(bytes);
    gridDim = grid;
    blockDim = block;
    count = block.x;
    body = std::move(kernel);
    if (threads.size() < count) threads.resize(count);
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) run_block();
    }
}

// What another lane of the warp gives, all of which come here.
template <class T>
T exchange(T value, unsigned from) {
    Thread& self = threads[running];
    std::memcpy(&self.given, &value, sizeof value);
    wait(State::AtWarp);
    T other;
    std::memcpy(&other, &threads[running / 32 * 32 + from % 32].given, sizeof other);
    wait(State::AtWarp);
    return other;
}

template <class To, class From>
To bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &value, sizeof to);
    return to;
}

// 2^exponent, within a double's normal numbers.
inline double power(int exponent) { return bits<double>(uint64_t(exponent + 1023) << 52); }

// sum + Σ x·y as tensor cores are known to add: all terms at once, each cut off at `fraction` bits
// below the largest exponent, a product's being the sum of its factors', and the result cut off to
// f32 (Xie et al. 2025, MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores).
inline float add_products(float sum, const float* x, const float* y, int count, int fraction) {
    auto exponent = [](float value) {
        int biased = bits<uint32_t>(value) >> 23 & 0xff;
        return (biased ? biased : 1) - 127;
    };
    int most = exponent(sum);
    for (int p = 0; p < count; ++p) {
        if (x[p] != 0 && y[p] != 0) most = std::max(most, exponent(x[p]) + exponent(y[p]));
    }
    if (!std::isfinite(sum)) return sum;
    double scale = power(fraction - most);
    int64_t total = int64_t(double(sum) * scale);
    for (int p = 0; p < count; ++p) total += int64_t(double(x[p]) * double(y[p]) * scale);
    double exact = double(total) * power(most - fraction);
    float near = float(exact);
    return std::fabs(double(near)) > std::fabs(exact) ? std::nextafter(near, 0.0f) : near;
}
} // namespace processor

inline void __syncthreads() { processor::wait(processor::State::AtBlock); }
inline void __syncwarp() { processor::wait(processor::State::AtWarp); }
template <class T>
T __shfl_sync(unsigned, T value, int from) {
    return processor::exchange(value, from);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return processor::exchange(value, (processor::running % 32) ^ mask);
}
inline unsigned __ballot_sync(unsigned, bool said) {
    unsigned all = 0;
    processor::threads[processor::running].given = said;
    processor::wait(processor::State::AtWarp);
    size_t warp = processor::running / 32 * 32;
    for (size_t lane = 0; lane < 32 && warp + lane < processor::count; ++lane) {
        auto& other = processor::threads[warp + lane];
        if (other.state != processor::State::Done && other.given) all |= 1u << lane;
    }
    processor::wait(processor::State::AtWarp);
    return all;
}
template <class T>
T atomicAdd(T* at, T value) {
    T before = *at;
    *at += value;
    return before;
}
template <class T>
T atomicMax(T* at, T value) {
    T before = *at;
    if (value > before) *at = value;
    return before;
}
template <class T>
T atomicMin(T* at, T value) {
    T before = *at;
    if (value < before) *at = value;
    return before;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(unsigned x) { return __builtin_ffs(x); }
inline unsigned __float_as_uint(float x) { return processor::bits<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return processor::bits<float>(x); }
inline long long __double_as_longlong(double x) { return processor::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return processor::bits<double>(x); }
