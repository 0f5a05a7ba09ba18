// Labels and distances from candidates: exact, and the same bits as on the processor.
//
// A warp scores a point's candidate groups in f32, a lane per centroid, columns in order. Where
// that leaves more than one centroid within the window of f32's own error, Σ(x − c)² in f64 over
// the columns in order decides, ties to the lowest index: what src/assign.rs defines a label to be.
// No product is fused with a sum except in the f32 scores, whose window allows it.

static __device__ __forceinline__ float score_of(
    const float* x, const float* lines, float first, u64 group, u32 columns, u32 lane) {
    const float* line = lines + group * columns * WARP + lane;
    float score = first;
    for (u32 c = 0; c < columns; ++c) score = fmaf(x[c], line[(u64)c * WARP], score);
    return score;
}

static __device__ __forceinline__ double distance64(const float* x, const float* c, u32 columns) {
    double sum = 0.0;
    for (u32 i = 0; i < columns; ++i) {
        double apart = (double)x[i] - (double)c[i];
        sum += apart * apart;
    }
    return sum;
}

// Σ(x − c)² in f32 in the order of src/kernel/vectors.rs: sixteen sums of every sixteenth column,
// the columns beyond the last whole sixteen by themselves, then all in turn. Without c, Σx².
static __device__ __forceinline__ float distance_of(
    const float* x, const float* c, u32 columns, u32 lane) {
    u32 whole = columns / 16 * 16;
    float sum = 0.0f;
    u32 begin = lane < 16 ? lane : whole, end = lane < 16 ? whole : columns;
    u32 apart = lane < 16 ? 16 : 1;
    for (u32 i = begin; i < end; i += apart) {
        float difference = c ? x[i] - c[i] : x[i];
        sum += difference * difference;
    }
    float total = 0.0f;
    for (int from = 0; from < 16; ++from) total += __shfl_sync(EVERYONE, sum, from);
    return total + __shfl_sync(EVERYONE, sum, 16);
}

// `points`, `errors`, `norms`, `labels` and `distances` begin at the first of `count` points;
// `origin` is the origin's length, or more.
extern "C" __global__ void __launch_bounds__(128) decide(
    const float* __restrict__ points, const float* __restrict__ centroids,
    const float* __restrict__ lines, const float* __restrict__ firsts, u32 count, u32 k,
    u32 groups, u32 columns, const float* __restrict__ errors, const float* __restrict__ norms,
    float origin, float a, float b, float c, float d, const u32* __restrict__ slots,
    const u32* __restrict__ found, u32* __restrict__ labels, float* __restrict__ distances) {
    u32 lane = threadIdx.x % WARP;
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    if (i >= count) return;
    const float* x = points + i * columns;
    bool everything = found[i] > SLOTS;
    u32 visits = everything ? groups : found[i];
    const float lowest = __uint_as_float(0xff800000u);
    float best = lowest, second = lowest;
    u32 label = 0;
    for (u32 visit = 0; visit < visits; ++visit) {
        u64 group = everything ? visit : slots[i * SLOTS + visit];
        float score = score_of(x, lines, firsts[group * WARP + lane], group, columns, lane);
        if (score > best) {
            second = best;
            best = score;
            label = (u32)group * WARP + lane;
        } else {
            second = fmaxf(second, score);
        }
    }
    float highest = best;
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        highest = fmaxf(highest, __shfl_xor_sync(EVERYONE, highest, apart));
    }
    float whole = (errors[i] + norms[i] + origin) * 1.000001f;
    float threshold = highest - window_of(0.0f, whole, a, b, c, d);
    u32 close = __ballot_sync(EVERYONE, best >= threshold);
    u32 again = __ballot_sync(EVERYONE, second >= threshold);
    if (__popc(close) == 1 && again == 0) {
        label = __shfl_sync(EVERYONE, label, __ffs(close) - 1);
    } else {
        double least = __longlong_as_double(0x7ff0000000000000ll);
        label = 0xffffffffu;
        for (u32 visit = 0; visit < visits; ++visit) {
            u64 group = everything ? visit : slots[i * SLOTS + visit];
            u32 index = (u32)group * WARP + lane;
            float score = score_of(x, lines, firsts[group * WARP + lane], group, columns, lane);
            if (index >= k || score < threshold) continue;
            double distance = distance64(x, centroids + (u64)index * columns, columns);
            // Slots are in no order.
            if (distance < least || (distance == least && index < label)) {
                least = distance;
                label = index;
            }
        }
        for (int apart = WARP / 2; apart > 0; apart /= 2) {
            double other = __shfl_xor_sync(EVERYONE, least, apart);
            u32 of_other = __shfl_xor_sync(EVERYONE, label, apart);
            if (other < least || (other == least && of_other < label)) {
                least = other;
                label = of_other;
            }
        }
    }
    float distance = distance_of(x, centroids + (u64)label * columns, columns, lane);
    if (lane == 0) {
        labels[i] = label;
        distances[i] = distance;
    }
}
