// Instructions that C++ has no words for, one small function each.
//
// On the GPU a function is its PTX. Where PROTEM_ON_CPU is defined, for tests without a GPU, it has
// a second body in plain C++ that deals the operands out to the 32 lanes as the PTX manual
// tabulates them, so that whatever packs operands is tested against the manual.

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define WARP 32
#define EVERYONE 0xffffffffu

// d += a·b for 16 rows, 8 columns and 16 products each: bf16 with f32 sums
// (mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32). All lanes of a warp together. With
// g = lane / 4 and t = lane % 4, two values to a register, the lower one in the lower half:
// a[0..4] hold rows g, g + 8, g, g + 8 at products 2t, 2t, 2t + 8, 2t + 8 (and the one after);
// b[0..2] hold column g at products 2t, 2t + 8; d[0..4] are rows g, g, g + 8, g + 8 at columns
// 2t, 2t + 1, 2t, 2t + 1.
static __device__ __forceinline__ void multiply_add(float d[4], const u32 a[4], const u32 b[2]) {
#ifndef PROTEM_ON_CPU
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    // What the warps of a block hold.
    __shared__ u32 of_a[32][WARP][4], of_b[32][WARP][2];
    auto all_a = of_a[threadIdx.x / WARP];
    auto all_b = of_b[threadIdx.x / WARP];
    for (int r = 0; r < 4; ++r) all_a[threadIdx.x % WARP][r] = a[r];
    for (int r = 0; r < 2; ++r) all_b[threadIdx.x % WARP][r] = b[r];
    __syncwarp();
    int lane = threadIdx.x % WARP;
    for (int i = 0; i < 4; ++i) {
        int row = lane / 4 + (i < 2 ? 0 : 8), column = lane % 4 * 2 + i % 2;
        float of_row[16], of_column[16];
        for (int p = 0; p < 16; ++p) {
            // Element (row, p) of a, as the table of .bf16 A fragments has it, and (p, column) of b.
            int from_a = row % 8 * 4 + p % 8 / 2, register_a = (row >= 8) + 2 * (p >= 8);
            int from_b = column * 4 + p % 8 / 2, register_b = p >= 8;
            u32 x = all_a[from_a][register_a], y = all_b[from_b][register_b];
            x = p % 2 ? x & 0xffff0000u : x << 16;
            y = p % 2 ? y & 0xffff0000u : y << 16;
            of_row[p] = __uint_as_float(x);
            of_column[p] = __uint_as_float(y);
        }
        // In two halves, as on compute capability 8.
        d[i] = processor::add_products(d[i], of_row, of_column, 8, 24);
        d[i] = processor::add_products(d[i], of_row + 8, of_column + 8, 8, 24);
    }
    __syncwarp();
#endif
}
