// Points once, and centroids in each iteration, as the other kernels read them.
//
// The pass reads bf16 values in the order in which the lanes of a warp hold them for multiply_add,
// so that each lane's operands are 16 bytes side by side and a warp's are 512; that of
// pass_wgmma.cu reads them in blocks of 8 rows by 8 columns, as they shall lie in shared memory.
// Everything is moved by a common origin before it is rounded; how far rounding took each row, and
// the length of what it left, are what the window of src/window.rs is made of. A row is a warp's
// work.

// The nearest bf16, ties to even; denormals are zero: src/bf16.rs.
static __device__ __forceinline__ u16 rounded(float value) {
    u32 bits = __float_as_uint(value);
    u32 half = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (half & 0x7f80u) ? (u16)half : (u16)0;
}

static __device__ __forceinline__ double value_of(u16 half) {
    return (double)__uint_as_float((u32)half << 16);
}

static __device__ __forceinline__ double warp_sum(double value) {
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        value += __shfl_xor_sync(EVERYONE, value, apart);
    }
    return value;
}

// Bounds from sums of squares in f64: of |x' − x̃| and of |x̃|. The first also covers that x − o
// was itself rounded in f64.
static __device__ __forceinline__ double least_norm(double square) {
    return sqrt(square) * (1.0 + 1e-9);
}

static __device__ __forceinline__ double least_error(double square, double norm) {
    return sqrt(square) * (1.0 + 1e-9) + 1e-15 * norm;
}

// An f32 not below: round_up of src/window.rs.
static __device__ __forceinline__ float round_up(double value) {
    return fminf((float)(value * (1.0 + 1e-6)) + 1.17549435e-38f, 3.40282347e+38f);
}

// Where row i, column c lies in steps of `rows` rows by 16 columns, each in blocks of 8 by 8.
static __device__ __forceinline__ u64 place_in_blocks(u64 i, u32 c, u32 rows, u32 steps) {
    u32 row = i % rows, p = c % 16;
    u64 step = i / rows * steps + c / 16;
    return step * rows * 16 + row / 8 * 128 + p / 8 * 64 + row % 8 * 8 + p % 8;
}

// Where point i, column c lies among fragments: tiles of 16 points by 16 columns.
static __device__ __forceinline__ u64 place_of_point(u64 i, u32 c, u32 steps) {
    u32 row = i % 16, p = c % 16, holder = row % 8 * 4 + p % 8 / 2, at = row / 8 + 2 * (p / 8);
    return ((i / 16 * steps + c / 16) * WARP + holder) * 8 + at * 2 + p % 2;
}

// Where centroid i, column c lies among fragments: pairs of tiles of 8 centroids by 16 columns, two
// pairs for a group.
static __device__ __forceinline__ u64 place_of_centroid(u64 i, u32 c, u32 steps) {
    u32 row = i % WARP, tile = row / 8, p = c % 16;
    u32 holder = row % 8 * 4 + p % 8 / 2, at = tile % 2 * 2 + p / 8;
    u64 step = (i / WARP * steps + c / 16) * 2 + tile / 2;
    return (step * WARP + holder) * 8 + at * 2 + p % 2;
}

// `points` is n × columns, `tiles` of `steps` times 16 columns a row: in blocks, of 256 points a step,
// if `in_blocks`, else fragments.
extern "C" __global__ void pack_points(
    const float* __restrict__ points, const float* __restrict__ origin, u32 n, u32 columns,
    u32 steps, u32 in_blocks, u16* __restrict__ tiles, float* __restrict__ errors,
    float* __restrict__ norms) {
    u32 lane = threadIdx.x % WARP;
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    if (i >= n) return;
    double error = 0.0, square = 0.0;
    for (u32 c = lane; c < columns; c += WARP) {
        float x = points[i * columns + c], o = origin[c];
        u16 half = rounded(x - o);
        double away = (double)x - (double)o - value_of(half);
        error += away * away;
        square += value_of(half) * value_of(half);
        tiles[in_blocks ? place_in_blocks(i, c, 256, steps) : place_of_point(i, c, steps)] = half;
    }
    double norm = least_norm(warp_sum(square));
    error = least_error(warp_sum(error), norm);
    if (lane == 0) {
        errors[i] = round_up(error);
        norms[i] = round_up(norm);
    }
}

// `centroids` is k × columns, a group is 32 of them. `tiles`: in blocks, of 128 centroids a step, or
// fragments; `lines`: 32 centroids, moved, side by side for each column of each group; `biases`
// begin the sums of the pass and `firsts` those of the f32 scores. Lanes from k on are never a
// candidate: their tiles and lines are zeros from the beginning. `extent`: bits of the largest |c'|
// and |c' − c̃|.
extern "C" __global__ void pack_centroids(
    const float* __restrict__ centroids, const float* __restrict__ origin, u32 k, u32 padded,
    u32 columns, u32 steps, u32 in_blocks, u16* __restrict__ tiles, float* __restrict__ lines,
    float* __restrict__ biases, float* __restrict__ firsts, u64* __restrict__ extent) {
    u32 lane = threadIdx.x % WARP;
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    if (i >= padded) return;
    if (i >= k) {
        if (lane == 0) biases[i] = firsts[i] = __uint_as_float(0xff800000u);
        return;
    }
    u64 group = i / WARP;
    u32 place = i % WARP;
    double whole = 0.0, error = 0.0, square = 0.0, with_origin = 0.0, tilde = 0.0;
    for (u32 c = lane; c < columns; c += WARP) {
        float value = centroids[i * columns + c], o = origin[c];
        float moved = value - o;
        lines[(group * columns + c) * WARP + place] = moved;
        u16 half = rounded(moved);
        double exact = (double)value - (double)o, away = exact - value_of(half);
        whole += exact * exact;
        error += away * away;
        tilde += value_of(half) * value_of(half);
        square += (double)moved * (double)moved;
        with_origin += (double)moved * (double)o;
        u64 fragment = place_of_centroid(i, c, steps);
        tiles[in_blocks ? place_in_blocks(i, c, 128, steps) : fragment] = half;
    }
    whole = warp_sum(whole);
    square = warp_sum(square);
    with_origin = warp_sum(with_origin);
    double norm = least_norm(whole);
    error = least_error(warp_sum(error), norm + least_norm(warp_sum(tilde)));
    if (lane == 0) {
        biases[i] = (float)(-(whole / 2.0));
        firsts[i] = (float)(-(square / 2.0 + with_origin));
        // Doubles that are not negative are ordered as their bits.
        atomicMax(&extent[0], (u64)__double_as_longlong(norm));
        atomicMax(&extent[1], (u64)__double_as_longlong(error));
    }
}
