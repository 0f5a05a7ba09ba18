//! Tiles, and the assembly that multiplies them.
//!
//! Four products of 16 cycles, with either kind of values, need four tiles loaded, and leave the
//! vector units idle. A product takes 52 cycles until its tile can be stored, and a tile cannot be
//! filled anew before it is stored: so a block's results stay in tiles until each gives way to the
//! next block's, and the maxima over the block before that are taken meanwhile, between products.

use super::{Block, Maxima, ROWS, Results};
use crate::kernel::{Lanes, NUMBER};
use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _mm512_set1_epi32};
use std::sync::OnceLock;

/// Whether this process may use AMX and the vector instructions that go with it: the processor has
/// them, and the system grants the tiles.
pub(crate) fn usable() -> bool {
    /// Tiles, products of bf16, products of bytes.
    const AMX: u32 = 1 << 24 | 1 << 22 | 1 << 25;
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        // SAFETY: every x86-64 processor has the instruction. Rust knows that from 1.94 on.
        #[allow(unused_unsafe)]
        let leaf = || unsafe { __cpuid_count(7, 0) };
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bf16")
            && crate::kernel::bytes_usable()
            // A processor with AVX-512 has this leaf.
            && leaf().edx & AMX == AMX
            && permitted()
    })
}

/// Asks Linux for the tile state, which it gives once per process on request.
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call that reads its two register arguments and no memory; the kernel
    // overwrites rcx and r11. Where it is unknown it answers an error.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// A thread's tiles, configured as 16 rows of 64 bytes each, at first all zero; given back when
/// dropped. What they hold outlasts a block of assembly: nothing between can touch them, for no
/// compiled code uses an instruction that the target does not have by default.
pub(super) struct Tiles(std::marker::PhantomData<*const ()>); // the configuration is the thread's

impl Tiles {
    pub fn new() -> Self {
        assert!(usable(), "AMX is not usable here");
        #[repr(C, align(64))]
        struct Config([u8; 64]);
        let mut config = Config([0; 64]);
        config.0[0] = 1; // palette
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64; // bytes of a row
            config.0[48 + tile] = ROWS as u8;
        }
        // SAFETY: AMX is usable, and the operand is 64 readable bytes in the form of palette 1.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly)) };
        Self(std::marker::PhantomData)
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: AMX is usable, as `new` found.
        unsafe { asm!("tilerelease", options(nomem, nostack)) };
    }
}

/// Lines that a block asks for.
pub(super) fn prefetched(steps: usize) -> usize {
    match steps {
        1 | 2 => ROWS,
        _ => 4 * ROWS,
    }
}

/// The numbers of rows.
static NUMBERS: [i32; ROWS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The first values of a row's two centroids.
macro_rules! first_values {
    ($row:literal) => {
        concat!(
            "vbroadcastss {f0}, [{first} + 4*",
            $row,
            "]\n",
            "vbroadcastss {f1}, [{first} + 4*",
            $row,
            " + 64]\n",
        )
    };
}

/// One row of each tile of sums in i32, with the first values, into the four maxima.
macro_rules! int_row {
    (next $rows:literal) => {
        ""
    };
    ($row:literal) => {
        concat!(
            first_values!($row),
            int_row!("{m0}", "{f0}", $row, "0"),
            int_row!("{m1}", "{f0}", $row, "1024"),
            int_row!("{m2}", "{f1}", $row, "2048"),
            int_row!("{m3}", "{f1}", $row, "3072"),
        )
    };
    ($best:literal, $first:literal, $row:literal, $tile:literal) => {
        concat!(
            "vpaddd {s}, ",
            $first,
            ", [{before} + 64*",
            $row,
            " + ",
            $tile,
            "]\n",
            "vpmaxsd ",
            $best,
            ", ",
            $best,
            ", {s}\n",
        )
    };
}

/// The same in f32; the row's number takes the last bits of a score, and the second best is kept too.
macro_rules! float_row {
    (next $rows:literal) => {
        concat!("add {numbers}, 4*", $rows)
    };
    ($row:literal) => {
        concat!(
            first_values!($row),
            "vpbroadcastd {number}, [{numbers} + 4*",
            $row,
            "]\n",
            float_row!("{m0}", "{n0}", "{f0}", $row, "0"),
            float_row!("{m1}", "{n1}", "{f0}", $row, "1024"),
            float_row!("{m2}", "{n2}", "{f1}", $row, "2048"),
            float_row!("{m3}", "{n3}", "{f1}", $row, "3072"),
        )
    };
    ($best:literal, $second:literal, $first:literal, $row:literal, $tile:literal) => {
        concat!(
            "vaddps {s}, ",
            $first,
            ", [{before} + 64*",
            $row,
            " + ",
            $tile,
            "]\n",
            // s & kept | number
            "vpternlogd {s}, {kept}, {number}, 0xea\n",
            "vminps {less}, ",
            $best,
            ", {s}\n",
            "vmaxps ",
            $best,
            ", ",
            $best,
            ", {s}\n",
            "vmaxps ",
            $second,
            ", ",
            $second,
            ", {less}\n",
        )
    };
}

/// Asks for a line of the points that come next.
macro_rules! one_ahead {
    ($row:literal) => {
        concat!("prefetcht0 [{next} + 64*", $row, "]\n")
    };
}

/// Asks for four lines of them.
macro_rules! four_ahead {
    ($row:literal) => {
        concat!(
            "prefetcht0 [{next} + 256*",
            $row,
            "]\n",
            "prefetcht0 [{next} + 256*",
            $row,
            " + 64]\n",
            "prefetcht0 [{next} + 256*",
            $row,
            " + 128]\n",
            "prefetcht0 [{next} + 256*",
            $row,
            " + 192]\n",
        )
    };
}

/// A block's products into the tiles, whose results of the block before go to `stored`; meanwhile
/// the maxima over the rows of each tile of `before` with its groups' first values, of bf16 with
/// numbers.
///
/// # Safety
/// AVX-512 F. The block's pointers are good for `2·steps` tiles of centroids and of points; `steps`
/// is at least 1.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn multiply<const INT8: bool>(
    _configured: &mut Tiles,
    block: &Block,
    steps: usize,
    stored: &mut Results,
    before: &Results,
    first: &[Lanes; 2],
) -> Maxima {
    let mut maxima = Maxima::nothing::<INT8>();
    let Maxima { best: m, second: n } = &mut maxima;
    macro_rules! tiles {
        ($product:literal, $row:ident, [$($operands:tt)*],
         $ahead:ident, $each:literal, $of_ahead:literal,
         [$($q0:literal),*], [$($q1:literal),*], [$($q2:literal),*], [$($q3:literal),*]) => {
            asm!(
                // The first step: a tile is stored, emptied and multiplied into, one by one.
                "tileloadd tmm4, [{c} + {line}*1]",
                "tileloadd tmm6, [{p} + {line}*1]",
                "tilestored [{stored} + {line}*1], tmm0",
                "tilezero tmm0",
                concat!($product, " tmm0, tmm4, tmm6"),
                $($row!($q0), $ahead!($q0),)*
                "tileloadd tmm7, [{p2} + {line}*1]",
                "tilestored [{stored} + {line}*1 + 1024], tmm1",
                "tilezero tmm1",
                concat!($product, " tmm1, tmm4, tmm7"),
                $($row!($q1), $ahead!($q1),)*
                "tileloadd tmm5, [{c2} + {line}*1]",
                "tilestored [{stored} + {line}*1 + 2048], tmm2",
                "tilezero tmm2",
                concat!($product, " tmm2, tmm5, tmm6"),
                $($row!($q2), $ahead!($q2),)*
                "tilestored [{stored} + {line}*1 + 3072], tmm3",
                "tilezero tmm3",
                concat!($product, " tmm3, tmm5, tmm7"),
                $($row!($q3), $ahead!($q3),)*
                // Steps with maxima between the products.
                "test {with}, {with}",
                "jz 3f",
                "2:",
                "add {c}, 1024",
                "add {p}, 1024",
                "add {c2}, 1024",
                "add {p2}, 1024",
                concat!("add {before}, 64*", $each),
                concat!("add {first}, 4*", $each),
                $row!(next $each),
                concat!("add {next}, 64*", $of_ahead, "*", $each),
                "tileloadd tmm4, [{c} + {line}*1]",
                "tileloadd tmm6, [{p} + {line}*1]",
                concat!($product, " tmm0, tmm4, tmm6"),
                $($row!($q0), $ahead!($q0),)*
                "tileloadd tmm7, [{p2} + {line}*1]",
                concat!($product, " tmm1, tmm4, tmm7"),
                $($row!($q1), $ahead!($q1),)*
                "tileloadd tmm5, [{c2} + {line}*1]",
                concat!($product, " tmm2, tmm5, tmm6"),
                $($row!($q2), $ahead!($q2),)*
                concat!($product, " tmm3, tmm5, tmm7"),
                $($row!($q3), $ahead!($q3),)*
                "dec {with}",
                "jnz 2b",
                // Steps without.
                "3:",
                "test {without}, {without}",
                "jz 5f",
                "4:",
                "add {c}, 1024",
                "add {p}, 1024",
                "add {c2}, 1024",
                "add {p2}, 1024",
                "tileloadd tmm4, [{c} + {line}*1]",
                "tileloadd tmm6, [{p} + {line}*1]",
                concat!($product, " tmm0, tmm4, tmm6"),
                "tileloadd tmm7, [{p2} + {line}*1]",
                concat!($product, " tmm1, tmm4, tmm7"),
                "tileloadd tmm5, [{c2} + {line}*1]",
                concat!($product, " tmm2, tmm5, tmm6"),
                concat!($product, " tmm3, tmm5, tmm7"),
                "dec {without}",
                "jnz 4b",
                "5:",
                line = in(reg) 64usize,
                c = inout(reg) block.centroids => _,
                c2 = inout(reg) block.centroids.wrapping_add(steps * ROWS) => _,
                p = inout(reg) block.points => _,
                p2 = inout(reg) block.points.wrapping_add(steps * ROWS) => _,
                stored = in(reg) stored,
                next = inout(reg) block.next => _,
                before = inout(reg) before as *const Results => _,
                first = inout(reg) first as *const [Lanes; 2] => _,
                with = inout(reg) ROWS / $each - 1 => _,
                without = inout(reg) steps - ROWS / $each => _,
                m0 = inout(zmm_reg) m[0],
                m1 = inout(zmm_reg) m[1],
                m2 = inout(zmm_reg) m[2],
                m3 = inout(zmm_reg) m[3],
                f0 = out(zmm_reg) _,
                f1 = out(zmm_reg) _,
                s = out(zmm_reg) _,
                $($operands)*
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        };
    }
    let kept = _mm512_set1_epi32(!NUMBER as i32);
    macro_rules! floats {
        ($($shape:tt)*) => {
            tiles!(
                "tdpbf16ps",
                float_row,
                [
                    n0 = inout(zmm_reg) n[0],
                    n1 = inout(zmm_reg) n[1],
                    n2 = inout(zmm_reg) n[2],
                    n3 = inout(zmm_reg) n[3],
                    less = out(zmm_reg) _,
                    number = out(zmm_reg) _,
                    kept = in(zmm_reg) kept,
                    numbers = inout(reg) NUMBERS.as_ptr() => _,
                ],
                $($shape)*
            )
        };
    }
    macro_rules! ints {
        ($($shape:tt)*) => { tiles!("tdpbssd", int_row, [], $($shape)*) };
    }
    // The rows that go with each product of a step, and the lines asked for with each.
    macro_rules! whole {
        ($kind:ident) => {
            $kind!(
                one_ahead,
                16,
                1,
                [0, 1, 2, 3],
                [4, 5, 6, 7],
                [8, 9, 10, 11],
                [12, 13, 14, 15]
            )
        };
    }
    macro_rules! halves {
        ($kind:ident, $ahead:ident, $of_ahead:literal) => {
            $kind!($ahead, 8, $of_ahead, [0, 1], [2, 3], [4, 5], [6, 7])
        };
    }
    macro_rules! quarters {
        ($kind:ident) => {
            $kind!(four_ahead, 4, 4, [0], [1], [2], [3])
        };
    }
    // SAFETY: the tiles are configured, and the caller vouches for `steps` tiles behind each of
    // the four operands. `before`, 64 rows, and `first`, 32 values, are read and `stored` written in
    // whole; the steps with maxima are 16 rows in all and not more than `steps`; so many numbers are read.
    unsafe {
        match (INT8, steps) {
            (false, 1) => whole!(floats),
            (false, 2) => halves!(floats, one_ahead, 1),
            (false, 3) => halves!(floats, four_ahead, 4),
            (false, _) => quarters!(floats),
            (true, 1) => whole!(ints),
            (true, 2) => halves!(ints, one_ahead, 1),
            (true, 3) => halves!(ints, four_ahead, 4),
            (true, _) => quarters!(ints),
        }
    }
    maxima
}

/// The results of the last block.
pub(super) fn finish(_configured: &mut Tiles, stored: &mut Results) {
    // SAFETY: the tiles are configured, and `stored` is written in whole, 64 rows.
    unsafe {
        asm!(
            "tilestored [{stored} + {line}*1], tmm0",
            "tilestored [{stored} + {line}*1 + 1024], tmm1",
            "tilestored [{stored} + {line}*1 + 2048], tmm2",
            "tilestored [{stored} + {line}*1 + 3072], tmm3",
            line = in(reg) 64usize,
            stored = in(reg) stored,
            options(nostack),
        );
    }
}
