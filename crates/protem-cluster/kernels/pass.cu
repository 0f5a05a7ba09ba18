// The pass: the best score of each point in each group of 32 centroids, in bf16 with f32 sums.
//
// This is where the time goes: 2·n·k·d operations, all of them in tensor cores. A warp takes 64
// points through a range of groups; scores stay in its registers until the best of each group is
// known, so the matrix of scores never exists. Operands come straight from memory in the order that
// pack.cu laid them out; the four warps of a block read the same groups, from the nearest cache.

#define STRIPS 4 // of 16 points, to a warp

// Points first to first + 64·warps, of which `tiles` has whole strips; `best` has a row of
// `stride` places per group. Blocks of 128 threads; blockIdx.y takes `share` groups.
extern "C" __global__ void __launch_bounds__(128) best_of_groups(
    const uint4* __restrict__ points, const uint4* __restrict__ centroids,
    const float* __restrict__ biases, u64 first_strip, u32 strips, u32 groups, u32 share,
    u32 steps, u32 stride, float* __restrict__ best) {
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u32 strip = (blockIdx.x * (blockDim.x / WARP) + warp) * STRIPS;
    if (strip >= strips) return;
    u32 g = lane / 4, t = lane % 4;
    u32 begin = blockIdx.y * share, end = begin + share < groups ? begin + share : groups;
    const uint4* from = points + ((first_strip + strip) * steps) * WARP + lane;
    for (u32 group = begin; group < end; ++group) {
        float scores[STRIPS][4][4];
        for (int tile = 0; tile < 4; ++tile) {
            const float* bias = biases + (u64)group * WARP + tile * 8 + t * 2;
            float even = bias[0], odd = bias[1];
#pragma unroll
            for (int s = 0; s < STRIPS; ++s) {
                scores[s][tile][0] = scores[s][tile][2] = even;
                scores[s][tile][1] = scores[s][tile][3] = odd;
            }
        }
        const uint4* with = centroids + (u64)group * steps * 2 * WARP + lane;
        for (u32 step = 0; step < steps; ++step) {
            uint4 low = with[step * 2 * WARP], high = with[(step * 2 + 1) * WARP];
            u32 b[4][2] = {{low.x, low.y}, {low.z, low.w}, {high.x, high.y}, {high.z, high.w}};
#pragma unroll
            for (int s = 0; s < STRIPS; ++s) {
                uint4 row = from[((u64)s * steps + step) * WARP];
                u32 a[4] = {row.x, row.y, row.z, row.w};
#pragma unroll
                for (int tile = 0; tile < 4; ++tile) multiply_add(scores[s][tile], a, b[tile]);
            }
        }
#pragma unroll
        for (int s = 0; s < STRIPS; ++s) {
            float upper = fmaxf(scores[s][0][0], scores[s][0][1]);
            float lower = fmaxf(scores[s][0][2], scores[s][0][3]);
#pragma unroll
            for (int tile = 1; tile < 4; ++tile) {
                upper = fmaxf(upper, fmaxf(scores[s][tile][0], scores[s][tile][1]));
                lower = fmaxf(lower, fmaxf(scores[s][tile][2], scores[s][tile][3]));
            }
            // The four lanes of a row hold eight columns.
            for (int apart = 1; apart < 4; apart *= 2) {
                upper = fmaxf(upper, __shfl_xor_sync(EVERYONE, upper, apart));
                lower = fmaxf(lower, __shfl_xor_sync(EVERYONE, lower, apart));
            }
            float* to = best + (u64)group * stride + (strip + s) * 16 + g;
            if (t == 0) to[0] = upper;
            if (t == 1) to[8] = lower;
        }
    }
}
