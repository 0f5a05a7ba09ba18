//! Which instruction set the kernels use: found once per process.

use std::sync::OnceLock;

/// A level of vector instructions. Results are bit-identical on one level, and equal up to
/// rounding between levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust, vectorised by the compiler for its baseline target.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors.
    Avx512,
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

    /// The level that the variable `PROTEM_ISA` names (`portable`, `avx2`, `avx512`); without it,
    /// the best this machine has.
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
        [Self::Portable, Self::Avx2, Self::Avx512]
            .into_iter()
            .filter(|level| *level <= Self::best())
            .collect()
    }

    /// The name that `PROTEM_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            // Each level includes the ones below: `PROTEM_ISA` may name any of them.
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return if is_x86_feature_detected!("avx512f") {
                    Self::Avx512
                } else {
                    Self::Avx2
                };
            }
        }
        Self::Portable
    }
}
