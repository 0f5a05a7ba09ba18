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

impl Isa {
    /// The level in use: the best this machine has, or the lower one that `PROTEM_ISA`
    /// (`portable`, `avx2`, `avx512`) names.
    pub fn current() -> Self {
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let best = Self::best();
            match std::env::var("PROTEM_ISA").as_deref() {
                Ok("portable") => Self::Portable,
                Ok("avx2") => best.min(Self::Avx2),
                _ => best,
            }
        })
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
