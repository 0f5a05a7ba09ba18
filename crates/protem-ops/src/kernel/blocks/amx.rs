//! The instructions of AMX, and the rounding of AVX512-BF16, which dot products use too: all `asm!` of
//! the kernels on blocks.

use super::{Accumulator, BLOCK, Sum};
use half::bf16;
use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

/// Whether this process may use AMX and the vector instructions of this file: the processor has
/// them, and the system grants the tiles.
pub(crate) fn usable() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16")
            // A processor with AVX-512 has this leaf.
            && __cpuid_count(7, 0).edx & (AMX_BF16 | AMX_TILE) == AMX_BF16 | AMX_TILE
            && permitted()
    })
}

/// On other systems nobody has asked yet what they demand.
#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Asks Linux for the tile state, which it gives once per process on request.
#[cfg(target_os = "linux")]
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

/// Configures the eight tiles of this thread as 16 rows of 64 bytes.
///
/// # Safety
/// They are usable.
pub(super) unsafe fn configure() {
    #[repr(C, align(64))]
    struct Config([u8; 64]);
    let mut config = Config([0; 64]);
    config.0[0] = 1; // palette
    for tile in 0..8 {
        config.0[16 + 2 * tile] = 64; // bytes of a row
        config.0[48 + tile] = 16; // rows
    }
    // SAFETY: the caller vouches for the instruction; the operand is 64 readable bytes in the form of
    // palette 1.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly)) };
}

/// Gives this thread's tiles back.
///
/// # Safety
/// They are usable.
pub(super) unsafe fn release() {
    // SAFETY: as the caller vouches.
    unsafe { asm!("tilerelease", options(nomem, nostack)) };
}

/// Both halves of 32 values, rounded.
///
/// # Safety
/// The processor has the features.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn narrow(values: [__m512; 2]) -> __m512i {
    // SAFETY: types of one size, without values that must not be.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(values[1], values[0])) }
}

/// [`super::Blocks::product`], of a pair and a step at least.
///
/// # Safety
/// This thread's tiles are configured, and no pair reaches outside its slice.
#[inline]
pub(super) unsafe fn product(sum: &Sum, a: &[bf16], b: &[bf16], out: &mut Accumulator) {
    let Sum {
        pairs,
        depth,
        a_row,
        accumulate,
        size: _, // tiles are whole
    } = *sum;
    macro_rules! tiles {
        ($($start:literal),*) => {
            asm!(
                $($start,)*
                "2:",
                "mov {top}, [{pair}]",
                "mov {right}, [{pair} + 8]",
                "add {pair}, 16",
                "lea {top}, [{a} + {top}*2]",
                "lea {right}, [{b} + {right}*2]",
                "lea {bottom}, [{top} + {a_row}*8]",
                "lea {bottom}, [{bottom} + {a_row}*8]",
                "mov {left}, {steps}",
                "3:",
                "tileloadd tmm6, [{right} + {line}*1]",
                "tileloadd tmm4, [{top} + {a_row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{right} + {line}*1 + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{bottom} + {a_row}*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {top}, 64",
                "add {bottom}, 64",
                "add {right}, 2048",
                "dec {left}",
                "jnz 3b",
                "cmp {pair}, {end}",
                "jb 2b",
                "tilestored [{out} + {line}*2], tmm0",
                "tilestored [{out} + {line}*2 + 64], tmm1",
                "tilestored [{out} + {line}*2 + 2048], tmm2",
                "tilestored [{out} + {line}*2 + 2112], tmm3",
                out = in(reg) out.0.as_mut_ptr(),
                pair = inout(reg) pairs.as_ptr() => _,
                end = in(reg) pairs.as_ptr_range().end,
                a = in(reg) a.as_ptr(),
                b = in(reg) b.as_ptr(),
                a_row = in(reg) 2 * a_row,
                line = in(reg) 64usize,
                steps = in(reg) depth / BLOCK,
                top = out(reg) _,
                bottom = out(reg) _,
                right = out(reg) _,
                left = out(reg) _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        };
    }
    // SAFETY: the caller vouches for the tiles, for a pair and a step, and for every row that a tile
    // load reads: 64 bytes of rows 0–31 of A, and the blocks of B. `out` is 32 rows of 128 bytes.
    // `Pair` is `a` and `b` in this order. Tiles are loaded, used and stored within the one block.
    unsafe {
        if accumulate {
            tiles!(
                "tileloadd tmm0, [{out} + {line}*2]",
                "tileloadd tmm1, [{out} + {line}*2 + 64]",
                "tileloadd tmm2, [{out} + {line}*2 + 2048]",
                "tileloadd tmm3, [{out} + {line}*2 + 2112]"
            );
        } else {
            tiles!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3"
            );
        }
    }
}
