// The pass where tensor cores take their operands from shared memory (compute capability 9.0): the
// results of pass.cu by products of warp groups.
//
// These tensor cores reach their full rate only by wgmma, and only if neither memory nor threads
// hold them up. So a block keeps 256 points, 128 to each of two warp groups, and takes the centroids
// past them in tiles of 128: at 128 columns 4 million products to 32 KiB of centroids. A warp of its
// own copies centroids ahead into a ring of stages; while one group looks for its best scores, the
// other multiplies. Points are the rows of a product because a row's scores in a group of centroids
// then lie in four lanes. pack.cu lays operands out as they shall lie in shared memory, in blocks of
// 8 rows by 8 columns of 128 bytes, which is each bank once: nothing is gained by a swizzle, and a
// copy is one piece of memory. Where the columns are so many that points do not fit, these come with
// the centroids, stage by stage.

#define OF_BLOCK 256 // points
#define OF_TILE 128  // centroids
#define CHUNK 4      // steps of 16 columns in a stage
#define MOST_STAGES 8
#define GROUPS_OF_TILE (OF_TILE / WARP)
// Bytes of a row's 16 columns, and from one block of 8 by 8 to the next.
#define OF_ROW 32
#define ACROSS 128
#define DOWN 256
// Bytes of a stage: centroids, biases, and points unless they stay.
#define STAGE_CENTROIDS (CHUNK * OF_TILE * OF_ROW)
#define STAGE_BIASES (OF_TILE * 4)
#define STAGE_POINTS (CHUNK * OF_BLOCK * OF_ROW)

// Shared memory: barriers, points that stay, stages.
struct Shared {
    u64 full[MOST_STAGES], empty[MOST_STAGES], points_there;
};
#define OF_SHARED 256

// A stage of the ring, and the parity of its phase.
struct Turn {
    u32 stage, parity;
};

static __device__ __forceinline__ void advance(Turn& turn, u32 stages) {
    if (++turn.stage == stages) {
        turn.stage = 0;
        turn.parity ^= 1;
    }
}

// Sizes that both sides need.
struct Pass {
    u32 begin, end, groups, steps, stages, stage_bytes, points_bytes;

    __device__ __forceinline__ unsigned char* stage(u32 at) const {
        return shared_memory() + OF_SHARED + points_bytes + at * stage_bytes;
    }
};

// One thread brings everything: `points` are the block's, in steps of 256 rows.
static __device__ __forceinline__ void bring(
    const Pass& pass, const unsigned char* points, const unsigned char* centroids,
    const float* biases) {
    Shared* shared = (Shared*)shared_memory();
    if (pass.points_bytes) {
        arrive_expecting(&shared->points_there, pass.points_bytes);
        copy_bulk(shared_memory() + OF_SHARED, points, pass.points_bytes, &shared->points_there);
    }
    Turn turn = {0, 0};
    for (u32 tile = pass.begin; tile < pass.end; ++tile) {
        u32 group = tile * GROUPS_OF_TILE, left = pass.groups - group;
        u32 of_biases = (left < GROUPS_OF_TILE ? left : GROUPS_OF_TILE) * WARP * 4;
        for (u32 step = 0; step < pass.steps; step += CHUNK) {
            u32 count = pass.steps - step < CHUNK ? pass.steps - step : CHUNK;
            u32 of_centroids = count * OF_TILE * OF_ROW;
            u32 of_points = pass.points_bytes ? 0 : count * OF_BLOCK * OF_ROW;
            u64* full = &shared->full[turn.stage];
            unsigned char* to = pass.stage(turn.stage);
            await(&shared->empty[turn.stage], turn.parity ^ 1);
            arrive_expecting(full, of_centroids + of_points + (step ? 0 : of_biases));
            u64 from = ((u64)tile * pass.steps + step) * OF_TILE * OF_ROW;
            copy_bulk(to, centroids + from, of_centroids, full);
            to += STAGE_CENTROIDS;
            if (step == 0) copy_bulk(to, biases + group * WARP, of_biases, full);
            to += STAGE_BIASES;
            if (of_points) copy_bulk(to, points + step * OF_BLOCK * OF_ROW, of_points, full);
            advance(turn, pass.stages);
        }
    }
}

// A warp is done with a stage.
static __device__ __forceinline__ void give_back(u32 stage) {
    __syncwarp();
    if (threadIdx.x % WARP == 0) arrive(&((Shared*)shared_memory())->empty[stage]);
}

// Adds the products of one of a stage's steps.
static __device__ __forceinline__ void add_step(
    u32 points, u32 centroids, u32 step, float scores[2][64]) {
    u64 b = matrix_at(centroids + step * OF_TILE * OF_ROW, ACROSS, DOWN);
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
        u32 a = points + step * OF_BLOCK * OF_ROW + half * 64 * OF_ROW;
        multiply_add_group(scores[half], matrix_at(a, ACROSS, DOWN), b);
    }
}

// Scores of the warp group's 128 points, two times 64, with a tile's centroids.
static __device__ __forceinline__ void score_tile(
    const Pass& pass, u32 rows, Turn& turn, float scores[2][64]) {
    Shared* shared = (Shared*)shared_memory();
    u32 t = threadIdx.x % 4, last = 0;
    await(&shared->full[turn.stage], turn.parity);
    const float* biases = (const float*)(pass.stage(turn.stage) + STAGE_CENTROIDS) + t * 2;
#pragma unroll
    for (u32 j = 0; j < 16; ++j) {
        float even = biases[j * 8], odd = biases[j * 8 + 1];
#pragma unroll
        for (u32 half = 0; half < 2; ++half) {
            scores[half][j * 4] = scores[half][j * 4 + 2] = even;
            scores[half][j * 4 + 1] = scores[half][j * 4 + 3] = odd;
        }
    }
    for (u32 step = 0; step < pass.steps; step += CHUNK) {
        await(&shared->full[turn.stage], turn.parity);
        u32 count = pass.steps - step < CHUNK ? pass.steps - step : CHUNK;
        u32 centroids = shared_address(pass.stage(turn.stage));
        u32 points = pass.points_bytes
            ? shared_address(shared_memory() + OF_SHARED) + step * OF_BLOCK * OF_ROW
            : centroids + STAGE_CENTROIDS + STAGE_BIASES;
        points += rows * OF_ROW;
        hold(scores[0]);
        hold(scores[1]);
        begin_products();
        if (count == CHUNK) {
#pragma unroll
            for (u32 s = 0; s < CHUNK; ++s) add_step(points, centroids, s, scores);
            // Not once behind both branches: the compiler would make it a product of its own, as it
            // does behind the loop.
            end_batch();
        } else {
            for (u32 s = 0; s < count; ++s) {
                begin_products();
                add_step(points, centroids, s, scores);
            }
            end_batch();
        }
        // These go on while the stage before them is given back.
        if (step) {
            await_products<1>();
            give_back(last);
        }
        last = turn.stage;
        advance(turn, pass.stages);
    }
    await_products<0>();
    hold(scores[0]);
    hold(scores[1]);
    give_back(last);
}

// The best of each row in each group: lane t of four comes to hold group t's, of rows g, g + 8,
// g + 64 and g + 72 of its warp's.
static __device__ __forceinline__ void best_of_rows(const float scores[2][64], float best[4]) {
    float of[GROUPS_OF_TILE][4];
#pragma unroll
    for (u32 group = 0; group < GROUPS_OF_TILE; ++group) {
#pragma unroll
        for (u32 part = 0; part < 4; ++part) {
            const float* from = scores[part / 2] + group * 16 + part % 2 * 2;
            of[group][part] = fmaxf(from[0], from[1]);
#pragma unroll
            for (u32 j = 1; j < 4; ++j) {
                of[group][part] = fmaxf(of[group][part], fmaxf(from[j * 4], from[j * 4 + 1]));
            }
        }
    }
    // Two lanes exchange the groups that the other one keeps, then each with its neighbour.
    bool high = threadIdx.x & 2, odd = threadIdx.x & 1;
#pragma unroll
    for (u32 part = 0; part < 4; ++part) {
#pragma unroll
        for (u32 group = 0; group < 2; ++group) {
            float mine = high ? of[group + 2][part] : of[group][part];
            float theirs = high ? of[group][part] : of[group + 2][part];
            of[group][part] = fmaxf(mine, __shfl_xor_sync(EVERYONE, theirs, 2));
        }
        float mine = odd ? of[1][part] : of[0][part];
        float theirs = odd ? of[0][part] : of[1][part];
        best[part] = fmaxf(mine, __shfl_xor_sync(EVERYONE, theirs, 1));
    }
}

// Points in blocks of 256 from `first_block` on, blockIdx.x of them; blockIdx.y takes `share` tiles of
// 128 centroids. `best` has a row of `stride` places per group. `kept`: all columns of the points
// stay in shared memory. Blocks of nine warps, of which the last one copies.
extern "C" __global__ void __launch_bounds__(288, 1) best_of_groups_wgmma(
    const u16* __restrict__ points, const u16* __restrict__ centroids,
    const float* __restrict__ biases, u64 first_block, u32 groups, u32 share, u32 steps, u32 stages,
    u32 kept, u32 stride, float* __restrict__ best) {
    u32 tiles = (groups + GROUPS_OF_TILE - 1) / GROUPS_OF_TILE;
    u32 begin = blockIdx.y * share, end = begin + share < tiles ? begin + share : tiles;
    u32 of_points = steps * OF_BLOCK * OF_ROW;
    u32 of_stage = STAGE_CENTROIDS + STAGE_BIASES + (kept ? 0 : STAGE_POINTS);
    Pass pass = {begin, end, groups, steps, stages, of_stage, kept ? of_points : 0};
    Shared* shared = (Shared*)shared_memory();
    // The same in all lanes, as the compiler sees too.
    u32 warp = __shfl_sync(EVERYONE, threadIdx.x / WARP, 0), lane = threadIdx.x % WARP;
    if (threadIdx.x == 0) {
        begin_barrier(&shared->points_there, 1);
        for (u32 stage = 0; stage < stages; ++stage) {
            begin_barrier(&shared->full[stage], 1);
            begin_barrier(&shared->empty[stage], 8);
        }
        fence_barriers();
    }
    __syncthreads();
    if (warp == 8) {
        const unsigned char* from = (const unsigned char*)points;
        from += (first_block + blockIdx.x) * of_points;
        if (lane == 0) bring(pass, from, (const unsigned char*)centroids, biases);
        return;
    }
    Turn turn = {0, 0};
    if (kept) await(&shared->points_there, 0);
    for (u32 tile = begin; tile < end; ++tile) {
        float scores[2][64], of_rows[4];
        score_tile(pass, warp / 4 * 128, turn, scores);
        best_of_rows(scores, of_rows);
        u32 group = tile * GROUPS_OF_TILE + lane % 4;
        if (group < groups) {
            float* to = best + (u64)group * stride + blockIdx.x * OF_BLOCK;
            to += warp / 4 * 128 + warp % 4 * 16 + lane / 4;
            to[0] = of_rows[0];
            to[8] = of_rows[1];
            to[64] = of_rows[2];
            to[72] = of_rows[3];
        }
        // Products want the warp together.
        __syncwarp();
    }
}
