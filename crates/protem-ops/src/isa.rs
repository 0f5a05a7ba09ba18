//! Which instruction set the kernels use: found once per process.

#[cfg(target_arch = "x86_64")]
use crate::kernel::blocks;
use std::sync::OnceLock;

/// A level of vector instructions. Results are bit-identical on one level, and equal up to
/// rounding between levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, vectorised by the compiler for its baseline target.
    Portable,
    /// 128-bit vectors of aarch64.
    Neon,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors (AVX-512 F, BW, DQ and VL).
    Avx512,
    /// Dot products of pairs of bf16 (AVX512-BF16), beside all of AVX-512 that the level below has;
    /// on AMD's processors, where they are as fast as multiply-adds of f32 and do twice the work.
    /// Intel's are slower than those: there this is no level.
    Avx512Bf16,
    /// Tiles of bf16 (AMX), beside all of AVX-512 that the levels below have.
    Amx,
}

/// A name, given by `PROTEM_ISA`, that no level of this machine has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PROTEM_ISA = {0}: this machine has {names}", names = names())]
pub struct UnknownIsa(pub String);

fn names() -> String {
    let names: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
    names.join(", ")
}

impl Isa {
    /// The level in use: what [`Self::chosen`] answers, or the best this machine has where that
    /// is an error.
    pub fn current() -> Self {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| Self::chosen().unwrap_or(Self::best()))
    }

    /// The level that the variable `PROTEM_ISA` names (see [`Self::name`]); without it, the best
    /// this machine has.
    ///
    /// # Errors
    /// A name that no level of this machine has.
    pub fn chosen() -> Result<Self, UnknownIsa> {
        let Some(name) = std::env::var_os("PROTEM_ISA") else {
            return Ok(Self::best());
        };
        let name = name.to_string_lossy();
        let level = Self::available().into_iter().find(|l| l.name() == name);
        level.ok_or_else(|| UnknownIsa(name.into_owned()))
    }

    /// Every level this machine can run, the slowest first.
    pub fn available() -> Vec<Self> {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE
            .get_or_init(|| {
                let mut levels = vec![Self::Portable];
                levels.extend(detected());
                levels
            })
            .clone()
    }

    /// Whether bf16 is multiplied as it is, faster than f32. Below, it is computed in f32.
    pub fn multiplies_bf16(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::Amx)
    }

    /// The name that `PROTEM_ISA` takes: `portable`, `neon`, `avx2`, `avx512`, `avx512bf16` or
    /// `amx`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }
}

/// Levels above the portable one, each with all the features of those before it.
#[cfg(target_arch = "x86_64")]
fn detected() -> Vec<Isa> {
    let mut levels = Vec::new();
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        levels.push(Isa::Avx2);
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            levels.push(Isa::Avx512);
            if blocks::dots::usable() && made_by_amd() {
                levels.push(Isa::Avx512Bf16);
            }
            if blocks::tiles_usable() {
                levels.push(Isa::Amx);
            }
        }
    }
    levels
}

/// By its name, not by a measurement: what a level computes must not hang on a busy moment.
#[cfg(target_arch = "x86_64")]
fn made_by_amd() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    name.as_flattened() == b"AuthenticAMD"
}

#[cfg(target_arch = "aarch64")]
fn detected() -> Vec<Isa> {
    vec![Isa::Neon] // part of every aarch64
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detected() -> Vec<Isa> {
    Vec::new()
}
