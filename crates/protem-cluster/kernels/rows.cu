// Rows of points that lie on the device already: whether they can be clustered, where they lie, and
// single ones.
//
// What the processor would look at in its own memory is looked at here instead, with its bits, so
// that none of it depends on where points lie. A row is a warp's work; the mean is a thread's for
// each column, because its sum has one order.

// `first` becomes the lowest number of a row whose squared length is above `limit` or no number, if
// there is one below it.
extern "C" __global__ void __launch_bounds__(128) check_rows(
    const float* __restrict__ points, u32 n, u32 columns, float limit, u32* __restrict__ first) {
    u32 lane = threadIdx.x % WARP;
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    if (i >= n) return;
    float square = distance_of(points + i * columns, nullptr, columns, lane);
    if (lane == 0 && !(square <= limit)) atomicMin(first, (u32)i);
}

// The mean of `taken` rows, `every` apart, summed in order: src/points.rs.
extern "C" __global__ void mean_of_rows(
    const float* __restrict__ points, u32 columns, u32 every, u32 taken,
    float* __restrict__ mean) {
    u64 c = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= columns) return;
    double sum = 0.0;
    for (u32 at = 0; at < taken; ++at) sum += (double)points[(u64)at * every * columns + c];
    mean[c] = (float)(sum / (double)taken);
}

// The rows that `chosen` names, side by side.
extern "C" __global__ void take_rows(
    const float* __restrict__ points, const u32* __restrict__ chosen, u32 count, u32 columns,
    float* __restrict__ taken) {
    u32 lane = threadIdx.x % WARP;
    u64 at = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    if (at >= count) return;
    const float* row = points + (u64)chosen[at] * columns;
    for (u32 c = lane; c < columns; c += WARP) taken[at * columns + c] = row[c];
}

// The distance of each of `count` points to one row.
extern "C" __global__ void __launch_bounds__(128) distances_to_row(
    const float* __restrict__ points, u32 count, u32 columns, const float* __restrict__ row,
    float* __restrict__ distances) {
    u32 lane = threadIdx.x % WARP;
    u64 i = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    if (i >= count) return;
    float distance = distance_of(points + i * columns, row, columns, lane);
    if (lane == 0) distances[i] = distance;
}
