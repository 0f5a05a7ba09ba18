// Instructions of compute capability 9.0 that C++ has no words for: asynchronous products of a warp
// group, copies in bulk, and the barriers that count their bytes.
//
// As in instructions.cu each function has a second body in plain C++. There what is asynchronous
// happens as late as it may: a copy lands when nothing else can go on, products are summed when they
// are waited for, and who arrives at a barrier goes on when all others stand and all copies have
// landed, so that a kernel which reads too early or gives memory back too soon computes something
// else. Shared memory is addressed by 32 bits, on the processor from its start.

// The memory that a launch asks for, from a multiple of 128 bytes on.
static __device__ __forceinline__ unsigned char* shared_memory() {
#ifndef PROTEM_ON_CPU
    extern __shared__ __align__(128) unsigned char memory[];
    return memory;
#else
    return processor::shared.data();
#endif
}

static __device__ __forceinline__ u32 shared_address(const void* at) {
#ifndef PROTEM_ON_CPU
    return (u32)__cvta_generic_to_shared(at);
#else
    return (u32)((const unsigned char*)at - processor::shared.data());
#endif
}

// A barrier's phase ends when `arrivals` have come and as many bytes have landed as were announced.
// One thread begins it, and fence_barriers and the block's barrier follow.
static __device__ __forceinline__ void begin_barrier(u64* barrier, u32 arrivals) {
#ifndef PROTEM_ON_CPU
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
                 :: "r"(shared_address(barrier)), "r"(arrivals) : "memory");
#else
    processor::barriers[barrier] = {arrivals, arrivals, 0, 0};
#endif
}

// What was begun is seen by other threads and by copies.
static __device__ __forceinline__ void fence_barriers() {
#ifndef PROTEM_ON_CPU
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

static __device__ __forceinline__ void arrive(u64* barrier) {
#ifndef PROTEM_ON_CPU
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];"
                 :: "r"(shared_address(barrier)) : "memory");
#else
    processor::barriers.at(barrier).arrive();
    processor::be_last();
#endif
}

// Arrives, and announces bytes that copies will bring.
static __device__ __forceinline__ void arrive_expecting(u64* barrier, u32 bytes) {
#ifndef PROTEM_ON_CPU
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :: "r"(shared_address(barrier)), "r"(bytes) : "memory");
#else
    processor::barriers.at(barrier).expected += bytes;
    processor::barriers.at(barrier).arrive();
#endif
}

// Waits until the phase of this parity has ended; the first phase is of parity 0. Of a barrier just
// begun the phase before, of parity 1, counts as ended.
static __device__ __forceinline__ void await(u64* barrier, u32 parity) {
#ifndef PROTEM_ON_CPU
    asm volatile(
        "{ .reg .pred done;\n"
        "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again; }"
        :: "r"(shared_address(barrier)), "r"(parity) : "memory");
#else
    while (processor::barriers.at(barrier).phase % 2 == parity) processor::pause();
#endif
}

// Copies bytes to shared memory; the barrier counts them. All three are multiples of 16.
static __device__ __forceinline__ void copy_bulk(
    void* to, const void* from, u32 bytes, u64* barrier) {
#ifndef PROTEM_ON_CPU
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
        :: "r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(bytes),
           "r"(shared_address(barrier)) : "memory");
#else
    processor::check(((u64)to | (u64)from | bytes) % 16 == 0, "a copy not of whole 16 bytes");
    processor::check(shared_address(to) + bytes <= processor::shared.size(), "a copy too long");
    processor::later.push_back([=] {
        std::memcpy(to, from, bytes);
        processor::barriers.at(barrier).land(bytes);
    });
#endif
}

// Where a matrix of bf16 lies, for multiply_add_group: in blocks of 8 rows by 8 columns, 128 bytes
// each, a row 16. `across` is the distance in bytes to the next 8 columns (the manual's leading
// dimension), `down` to the next 8 rows (its stride dimension).
// No swizzle: bits 0–13 are the address, 16–29 `across` and 32–45 `down`, all by 16.
static __device__ __forceinline__ u64 matrix_at(u32 address, u32 across, u32 down) {
    return (u64)(address >> 4 & 0x3fff) | (u64)(across >> 4) << 16 | (u64)(down >> 4) << 32;
}

#ifdef PROTEM_ON_CPU
// Element (row, column) of a matrix of 16 columns: the manual's layout without swizzle, K-major
// (asynchronous warpgroup level matrix shared memory layout).
static float element_at(u64 matrix, u32 row, u32 column) {
    processor::check(matrix >> 46 == 0, "a swizzle or an offset of its base");
    u32 address = (matrix & 0x3fff) << 4, across = (matrix >> 16 & 0x3fff) << 4;
    u32 down = (matrix >> 32 & 0x3fff) << 4;
    u32 at = address + row / 8 * down + column / 8 * across + row % 8 * 16 + column % 8 * 2;
    processor::check(at + 2 <= processor::shared.size(), "a matrix beyond shared memory");
    u16 half;
    std::memcpy(&half, processor::shared.data() + at, 2);
    return __uint_as_float((u32)half << 16);
}
#endif

// d += a·bᵀ for 64 rows of a, 128 rows of b and 16 columns of both: bf16 with f32 sums
// (wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16, both from shared memory). All lanes of a
// warp group, four warps from a multiple of four on, together; d is not to be touched from before
// begin_products to after await_products. Warp w of the four holds rows 16w to 16w + 15: with
// g = lane / 4 and t = lane % 4, d[4j..4j + 4] are rows g, g, g + 8, g + 8 of these at
// columns 8j + 2t, 8j + 2t + 1, 8j + 2t, 8j + 2t + 1.
static __device__ __forceinline__ void multiply_add_group(float d[64], u64 a, u64 b) {
#ifndef PROTEM_ON_CPU
    asm volatile(
        "{ .reg .pred add; setp.eq.u32 add, 0, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
        "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
        "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
        "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
        "}, %64, %65, add, 1, 1, 0, 0; }"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]),
          "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
          "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
          "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
          "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]),
          "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
          "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
          "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
          "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),
          "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
          "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),
          "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
          "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]),
          "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
          "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]),
          "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
        : "l"(a), "l"(b));
#else
    processor::products().make([=] {
        u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP % 4;
        float of_a[2][16], of_b[16];
        for (u32 p = 0; p < 16; ++p) {
            of_a[0][p] = element_at(a, warp * 16 + lane / 4, p);
            of_a[1][p] = element_at(a, warp * 16 + lane / 4 + 8, p);
        }
        for (u32 j = 0; j < 32; ++j) {
            u32 column = j / 2 * 8 + lane % 4 * 2 + j % 2, first = j / 2 * 4 + j % 2;
            for (u32 p = 0; p < 16; ++p) of_b[p] = element_at(b, column, p);
            for (u32 low = 0; low < 2; ++low) {
                float& sum = d[first + 2 * low];
                sum = processor::add_products(sum, of_a[low], of_b, 16, 25);
            }
        }
    });
#endif
}

// Before the first product after sums were written.
static __device__ __forceinline__ void begin_products() {
#ifndef PROTEM_ON_CPU
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

// Makes a batch of the products since the last one.
static __device__ __forceinline__ void end_batch() {
#ifndef PROTEM_ON_CPU
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
    processor::products().close();
#endif
}

// Waits until all but the last `left` batches are summed.
template <int left>
static __device__ __forceinline__ void await_products() {
#ifndef PROTEM_ON_CPU
    asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(left) : "memory");
#else
    processor::products().run(left);
#endif
}

// Keeps the compiler from moving the use of sums across the waits beside it.
static __device__ __forceinline__ void hold(float d[64]) {
#ifndef PROTEM_ON_CPU
#pragma unroll
    for (int i = 0; i < 64; ++i) asm volatile("" : "+f"(d[i]) :: "memory");
#endif
}
