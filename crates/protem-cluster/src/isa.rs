//! Which vector instructions the assignment uses: found once per process.

use crate::error::ClusterError;
use crate::integers::Width;
use std::sync::OnceLock;

/// A level of vector instructions. Results have the same bits on every one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, vectorised by the compiler for its baseline target.
    Portable,
    /// 256-bit vectors with fused multiply-add, and of 16-bit integers.
    Avx2,
    /// 512-bit vectors (AVX-512 F, BW, DQ and VL), and of bytes where the processor multiplies those
    /// (VNNI).
    Avx512,
    /// Tiles of bf16 and of 8 bits (AMX), beside all that the level below has, and AVX512-BF16.
    Amx,
}

impl Isa {
    /// Every level this machine can run, the slowest first.
    #[must_use]
    pub fn available() -> &'static [Self] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            let mut levels = vec![Self::Portable];
            levels.extend(detected());
            levels
        })
    }

    /// The level that the environment variable `PROTEM_ISA` names (see [`Self::name`]); without
    /// it, the best this machine has. Of the levels of other kernels `neon` is portable code here,
    /// and `avx512bf16` is `avx512`.
    ///
    /// # Errors
    /// [`ClusterError::Isa`] for a name that no level of this machine has.
    pub fn chosen() -> Result<Self, ClusterError> {
        static CHOSEN: OnceLock<Result<Isa, ClusterError>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| {
                let Some(name) = std::env::var_os("PROTEM_ISA") else {
                    return Ok(*Self::available().last().unwrap_or(&Self::Portable));
                };
                Self::named(&name.to_string_lossy())
            })
            .clone()
    }

    /// The level of this machine with that name.
    fn named(name: &str) -> Result<Self, ClusterError> {
        if cfg!(target_arch = "aarch64") && name == "neon" {
            return Ok(Self::Portable);
        }
        let known = if name == "avx512bf16" { "avx512" } else { name };
        let level = Self::available().iter().find(|l| l.name() == known);
        level.copied().ok_or_else(|| Self::missing(name))
    }

    /// The integers that there is a pass over.
    pub(crate) fn integers(self) -> Option<Width> {
        match self {
            Self::Amx => Some(Width::Bits8),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => crate::kernel::bytes_usable().then_some(Width::Bits8),
            Self::Avx2 => Some(Width::Bits16),
            _ => None,
        }
    }

    /// What comparing a point with a group takes, in cycles at 128 columns; measured, and only a
    /// matter of speed.
    pub(crate) fn group_cycles(self, narrow: bool) -> f64 {
        match (self, narrow) {
            (Self::Amx, true) => 3.5,
            (Self::Amx, false) => 5.2,
            (Self::Avx2, true) => 100.0,
            (_, true) => 22.0,
            (Self::Avx512, false) => 85.0,
            (Self::Avx2, false) => 150.0,
            (Self::Portable, false) => 400.0,
        }
    }

    /// What a group in question takes, in the same way.
    pub(crate) fn candidate_cycles(self, narrow: bool) -> f64 {
        match (self.integers(), narrow) {
            (Some(Width::Bits8), true) => 100.0,
            _ => 150.0,
        }
    }

    /// This level, where the machine has it.
    pub(crate) fn checked(self) -> Result<Self, ClusterError> {
        if Self::available().contains(&self) {
            return Ok(self);
        }
        Err(Self::missing(self.name()))
    }

    fn missing(name: &str) -> ClusterError {
        let names: Vec<&str> = Self::available().iter().map(|l| l.name()).collect();
        ClusterError::Isa {
            name: name.into(),
            available: names.join(", "),
        }
    }

    /// The name that `PROTEM_ISA` takes: `portable`, `avx2`, `avx512` or `amx`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
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
            #[cfg(target_os = "linux")]
            if crate::kernel::amx::usable() {
                levels.push(Isa::Amx);
            }
        }
    }
    levels
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Vec<Isa> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_by_name_and_others_are_refused() {
        for level in Isa::available() {
            assert_eq!(Isa::named(level.name()), Ok(*level));
            assert_eq!(level.checked(), Ok(*level));
        }
        let error = Isa::named("mmx").unwrap_err();
        assert!(error.to_string().contains("portable"), "{error}");
    }
}
