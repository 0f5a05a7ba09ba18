// CUDA C++ on the processor, for tests of kernels without a GPU.
//
// Blocks run one after another. Each thread of a block is a context of its own that runs until it
// waits for its block or its warp, so a launch is one thread of the system, always in the same
// order. A block of which no thread can go on is a defect of the kernel, and ends the process.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
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
enum class State { Ready, AtBlock, AtWarp, Done };

struct Thread {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK);
    State state = State::Done;
    uint64_t given = 0;
};

inline ucontext_t scheduler;
inline std::vector<Thread> threads;
inline size_t running, count;
inline std::function<void()> body;

inline void enter() {
    body();
    threads[running].state = State::Done;
}

inline void wait(State state) {
    Thread& self = threads[running];
    self.state = state;
    swapcontext(&self.context, &scheduler);
}

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

inline void run_block() {
    for (size_t t = 0; t < count; ++t) {
        Thread& thread = threads[t];
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = STACK;
        thread.context.uc_link = &scheduler;
        makecontext(&thread.context, enter, 0);
        thread.state = State::Ready;
    }
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t warp = 0; warp < count; warp += 32) {
            size_t end = warp + 32 < count ? warp + 32 : count;
            do {
                for (size_t t = warp; t < end; ++t) {
                    if (threads[t].state != State::Ready) continue;
                    moved = true;
                    running = t;
                    threadIdx.x = t;
                    swapcontext(&scheduler, &threads[t].context);
                }
            } while (release(warp, end, State::AtWarp));
        }
        moved |= release(0, count, State::AtBlock);
    }
    for (size_t t = 0; t < count; ++t) {
        if (threads[t].state == State::Done) continue;
        std::fprintf(stderr, "thread %zu of a block waits for ever\n", t);
        std::abort();
    }
}

inline void launch(Place grid, Place block, std::function<void()> kernel) {
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
