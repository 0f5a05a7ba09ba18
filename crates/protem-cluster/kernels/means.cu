// New centroids: the means of their members, summed in f64 in index order.
//
// A block is a cluster, a thread a column: no sum is shared, so nothing depends on the order in
// which blocks run, and the bits are those of src/update.rs.

// `members` by cluster as sort.cu leaves them. A cluster of no weight, or one that is not `wanted`,
// keeps its centroid; `sizes` are the weights of all. Without weights each point weighs 1.
extern "C" __global__ void mean_of_members(
    const float* __restrict__ points, const float* __restrict__ weights, u32 weighted, u32 columns,
    const u32* __restrict__ members, const u32* __restrict__ begins,
    const unsigned char* __restrict__ wanted, float* __restrict__ centroids,
    double* __restrict__ sizes) {
    u64 cluster = blockIdx.x;
    u32 begin = begins[cluster], end = begins[cluster + 1];
    double weight = (double)(end - begin);
    if (weighted) {
        weight = 0.0;
        for (u32 at = begin; at < end; ++at) weight += (double)weights[members[at]];
    }
    if (threadIdx.x == 0) sizes[cluster] = weight;
    if (!(weight > 0.0) || !wanted[cluster]) return;
    for (u32 c = threadIdx.x; c < columns; c += blockDim.x) {
        double sum = 0.0;
        for (u32 at = begin; at < end; ++at) {
            u64 i = members[at];
            double x = (double)points[i * columns + c];
            sum += weighted ? (double)weights[i] * x : x;
        }
        centroids[cluster * columns + c] = (float)(sum / weight);
    }
}

// The same in parts, for points that come in blocks: members of one block added to the sums and
// weights of the blocks before, which is the same order. `members` number the points of the block.
extern "C" __global__ void add_members(
    const float* __restrict__ points, const float* __restrict__ weights, u32 weighted, u32 columns,
    const u32* __restrict__ members, const u32* __restrict__ begins, double* __restrict__ sums,
    double* __restrict__ sizes) {
    u64 cluster = blockIdx.x;
    u32 begin = begins[cluster], end = begins[cluster + 1];
    if (threadIdx.x == 0) {
        double weight = sizes[cluster];
        if (weighted) {
            for (u32 at = begin; at < end; ++at) weight += (double)weights[members[at]];
        } else {
            weight += (double)(end - begin);
        }
        sizes[cluster] = weight;
    }
    for (u32 c = threadIdx.x; c < columns && begin < end; c += blockDim.x) {
        double sum = sums[cluster * columns + c];
        for (u32 at = begin; at < end; ++at) {
            u64 i = members[at];
            double x = (double)points[i * columns + c];
            sum += weighted ? (double)weights[i] * x : x;
        }
        sums[cluster * columns + c] = sum;
    }
}

// And the means of the wanted clusters, once all blocks are added.
extern "C" __global__ void divide_sums(
    const double* __restrict__ sums, const double* __restrict__ sizes,
    const unsigned char* __restrict__ wanted, u32 columns, float* __restrict__ centroids) {
    u64 cluster = blockIdx.x;
    double weight = sizes[cluster];
    if (!(weight > 0.0) || !wanted[cluster]) return;
    for (u32 c = threadIdx.x; c < columns; c += blockDim.x) {
        centroids[cluster * columns + c] = (float)(sums[cluster * columns + c] / weight);
    }
}
