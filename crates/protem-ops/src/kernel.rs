//! All of this crate that is unsafe: instructions that not every machine has.
//!
//! `tile` is the register tile of f32 products, `blocks` those of bf16, in AMX tiles or by
//! AVX-512's dot products, with the shuffles their operands need; `winograd` are the sums around
//! products of transformed tiles. All check every address against the slices they are given.
//! [`vectorised!`] compiles plain loops once for each level.

#[cfg(target_arch = "x86_64")]
pub(crate) mod blocks;
#[cfg(all(test, target_os = "linux"))]
mod guard;
pub(crate) mod tile;
mod vector;
pub(crate) mod winograd;

/// What is done with a sum of products before it is stored: `max(0, sum + bias + added)`, or only
/// `sum + there`, each part if it is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<'a, T> {
    /// By column.
    pub bias: Option<&'a [f32]>,
    /// In the layout of the result.
    pub added: Option<&'a [T]>,
    /// Add to what stands in the place of the result.
    pub onto: bool,
    /// `max(0, ·)` at the end.
    pub relu: bool,
}

impl<T> Finish<'_, T> {
    /// The sum as it is.
    pub fn nothing() -> Self {
        Self {
            bias: None,
            added: None,
            onto: false,
            relu: false,
        }
    }
}

/// The end of what begins at `begin`, takes these steps (how many, and how long each is) and ends
/// with `last` values.
///
/// # Panics
/// If that is beyond memory: a sum that wrapped would pass for an address within a slice.
#[inline]
pub(crate) fn end_of(begin: usize, steps: &[(usize, usize)], last: usize) -> usize {
    let begin = begin.checked_add(last);
    let end = steps.iter().try_fold(begin, |end, (count, step)| {
        Some(end?.checked_add(count.checked_mul(*step)?))
    });
    end.flatten().expect("an address within memory")
}

/// Where the operands of one product of a sum begin, in values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Pair {
    pub a: usize,
    pub b: usize,
}

/// Defines a function of plain loops that is compiled once for each [`crate::Isa`], and runs the
/// copy for the current one. Loops get wider vectors from it and no other order of operations: the
/// results are the same bits on every level.
macro_rules! vectorised {
    (
        $(#[$meta:meta])*
        $visible:vis fn $name:ident $(<$($T:ident: $Bound:path),+>)? ($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?
        $body:block
    ) => {
        $(#[$meta])*
        $visible fn $name $(<$($T: $Bound),+>)? ($($arg: $type),*) $(-> $result)? {
            #[allow(clippy::too_many_arguments)]
            #[inline(always)]
            fn plain $(<$($T: $Bound),+>)? ($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 $(<$($T: $Bound),+>)? ($($arg: $type),*) $(-> $result)? {
                plain($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[allow(clippy::too_many_arguments)]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($T: $Bound),+>)? ($($arg: $type),*) $(-> $result)? {
                plain($($arg),*)
            }

            match $crate::Isa::current() {
                // SAFETY: the current level is one that run-time detection found here, and the
                // upper ones have the features of `avx512`.
                #[cfg(target_arch = "x86_64")]
                $crate::Isa::Amx | $crate::Isa::Avx512Bf16 | $crate::Isa::Avx512 => unsafe {
                    avx512($($arg),*)
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => plain($($arg),*),
            }
        }
    };
}
pub(crate) use vectorised;
