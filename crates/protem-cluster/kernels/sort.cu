// Points by label, in index order within a label: a stable radix sort, eight bits a round.
//
// Sums over a cluster's members must run in one order whatever the device does at once. Each block
// takes 4096 labels in order; a label's place is that of its digit's first one in the block, plus
// how many of its digit came before it in the block. Counters are integers, so their order of
// counting does not matter.

#define DIGITS 256
#define ROUNDS 16 // of 256 labels, to a block

// counts[digit · blocks + block]. Blocks of 256 threads, one to a digit in the end.
extern "C" __global__ void count_digits(
    const u32* __restrict__ labels, u32 n, u32 shift, u32* __restrict__ counts) {
    __shared__ u32 of_block[DIGITS];
    of_block[threadIdx.x] = 0;
    __syncthreads();
    for (u32 round = 0; round < ROUNDS; ++round) {
        u64 i = ((u64)blockIdx.x * ROUNDS + round) * DIGITS + threadIdx.x;
        if (i < n) atomicAdd(&of_block[(labels[i] >> shift) % DIGITS], 1u);
    }
    __syncthreads();
    counts[(u64)threadIdx.x * gridDim.x + blockIdx.x] = of_block[threadIdx.x];
}

// Each count becomes the sum of those before it. One block of 256 threads.
extern "C" __global__ void sum_counts(u32* __restrict__ counts, u32 length) {
    __shared__ u32 sums[DIGITS];
    u32 before = 0;
    for (u32 begin = 0; begin < length; begin += DIGITS) {
        u32 i = begin + threadIdx.x;
        u32 count = i < length ? counts[i] : 0;
        sums[threadIdx.x] = count;
        __syncthreads();
        for (u32 apart = 1; apart < DIGITS; apart *= 2) {
            u32 more = threadIdx.x >= apart ? sums[threadIdx.x - apart] : 0;
            __syncthreads();
            sums[threadIdx.x] += more;
            __syncthreads();
        }
        if (i < length) counts[i] = before + sums[threadIdx.x] - count;
        before += sums[DIGITS - 1];
        __syncthreads();
    }
}

// Labels and their points to their places by one digit. Without `from`, points are numbered in
// turn. Blocks as in count_digits.
extern "C" __global__ void move_by_digit(
    const u32* __restrict__ labels, const u32* __restrict__ from, u32 numbered, u32 n, u32 shift,
    const u32* __restrict__ counts, u32* __restrict__ sorted, u32* __restrict__ to) {
    __shared__ u32 next[DIGITS];
    __shared__ u32 of_warps[DIGITS / WARP][DIGITS];
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    next[threadIdx.x] = counts[(u64)threadIdx.x * gridDim.x + blockIdx.x];
    for (u32 round = 0; round < ROUNDS; ++round) {
        for (u32 w = 0; w < DIGITS / WARP; ++w) of_warps[w][threadIdx.x] = 0;
        __syncthreads();
        u64 i = ((u64)blockIdx.x * ROUNDS + round) * DIGITS + threadIdx.x;
        u32 label = i < n ? labels[i] : 0;
        u32 digit = (label >> shift) % DIGITS;
        // The lanes that hold the same digit.
        u32 same = __ballot_sync(EVERYONE, i < n);
        for (u32 bit = 0; bit < 8; ++bit) {
            u32 set = __ballot_sync(EVERYONE, (digit >> bit) & 1u);
            same &= (digit >> bit) & 1u ? set : ~set;
        }
        u32 rank = __popc(same & ((1u << lane) - 1u));
        if (i < n && rank == 0) of_warps[warp][digit] = __popc(same);
        __syncthreads();
        if (i < n) {
            u32 place = next[digit] + rank;
            for (u32 w = 0; w < warp; ++w) place += of_warps[w][digit];
            sorted[place] = label;
            to[place] = numbered ? (u32)i : from[i];
        }
        __syncthreads();
        for (u32 w = 0; w < DIGITS / WARP; ++w) next[threadIdx.x] += of_warps[w][threadIdx.x];
        __syncthreads();
    }
}

// begins[c] is the place of cluster c's first member, begins[k] = n; from sorted labels.
extern "C" __global__ void find_begins(
    const u32* __restrict__ sorted, u32 n, u32 k, u32* __restrict__ begins) {
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    u32 after = i == 0 ? 0 : sorted[i - 1] + 1;
    for (u32 c = after; c <= sorted[i]; ++c) begins[c] = (u32)i;
    if (i == n - 1) {
        for (u32 c = sorted[i] + 1; c <= k; ++c) begins[c] = n;
    }
}
