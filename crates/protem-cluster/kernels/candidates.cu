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
    return error * a + norm * b + all * all * c + d;
}

// A thread per point of `count`; `errors` and `norms` are those of the same points.
extern "C" __global__ void take_candidates(
    const float* __restrict__ best, u32 groups, u32 stride, u32 count,
    const float* __restrict__ errors, const float* __restrict__ norms, float a, float b, float c,
    float d, u32* __restrict__ slots, u32* __restrict__ found) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float highest = best[i];
    for (u32 group = 1; group < groups; ++group) {
        highest = fmaxf(highest, best[(u64)group * stride + i]);
    }
    float threshold = highest - window_of(errors[i], norms[i], a, b, c, d);
    u32 taken = 0;
    for (u32 group = 0; group < groups; ++group) {
        if (best[(u64)group * stride + i] >= threshold) {
            if (taken < SLOTS) slots[(u64)i * SLOTS + taken] = group;
            ++taken;
        }
    }
    found[i] = taken;
}
