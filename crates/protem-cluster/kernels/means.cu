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
