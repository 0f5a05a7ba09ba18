// Which groups can hold a point's nearest centroid, by the window of the pass's error.
//
// The true best lies within 2E(x) of the best score found, with E as src/window.rs derives it; the
// coefficients come from there. Nearly always that leaves one or two groups, so each point has a few
// slots; one with more groups than slots says so by its count, and is compared with all centroids.

#define SLOTS 8

// 2E(x): the same formula as Window::of.
static __device__ __forceinline__ float window_of(
    float error, float norm, float a, float b, float c, float d) {
    float all = norm + error;
    float whole = error * a + norm * b + all * all * c + d;
    return fminf(whole, 3.402823466e38f); // of no number, the other
}

// A chunk has fewer points than a device has threads, so a block takes 32 points, a lane each, and
// its warps share the groups; `errors` and `norms` are those of the same `count` points. In which
// order the slots are filled is left to chance: decide.cu's answer does not depend on it.
#define SHARED_BY 8 // warps
extern "C" __global__ void __launch_bounds__(SHARED_BY * WARP) take_candidates(
    const float* __restrict__ best, u32 groups, u32 stride, u32 count,
    const float* __restrict__ errors, const float* __restrict__ norms, float a, float b, float c,
    float d, u32* __restrict__ slots, u32* __restrict__ found) {
    __shared__ float highest_of[SHARED_BY][WARP];
    __shared__ u32 taken[WARP];
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, i = blockIdx.x * WARP + lane;
    bool there = i < count;
    float highest = __uint_as_float(0xff800000u);
    for (u32 group = warp; there && group < groups; group += SHARED_BY) {
        highest = fmaxf(highest, best[(u64)group * stride + i]);
    }
    highest_of[warp][lane] = highest;
    if (warp == 0) taken[lane] = 0;
    __syncthreads();
    for (u32 other = 0; other < SHARED_BY; ++other) {
        highest = fmaxf(highest, highest_of[other][lane]);
    }
    float threshold = there ? highest - window_of(errors[i], norms[i], a, b, c, d) : highest;
    for (u32 group = warp; there && group < groups; group += SHARED_BY) {
        if (best[(u64)group * stride + i] >= threshold) {
            u32 slot = atomicAdd(&taken[lane], 1u);
            if (slot < SLOTS) slots[(u64)i * SLOTS + slot] = group;
        }
    }
    __syncthreads();
    if (warp == 0 && there) found[i] = taken[lane];
}
