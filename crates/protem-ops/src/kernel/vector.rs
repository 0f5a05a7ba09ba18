//! Vector registers of floats, one kind for each level.

/// A vector register of `WIDTH` floats.
///
/// # Safety
/// The methods may only be called on a machine that has the instructions; pointers must be valid
/// for `count` (or `WIDTH`) elements.
pub(super) trait Vector: Copy {
    const WIDTH: usize;
    /// Rows of the result held in registers beside two vectors of columns.
    const ROWS: usize;
    unsafe fn zero() -> Self;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn load_first(p: *const f32, count: usize) -> Self;
    unsafe fn store(self, p: *mut f32);
    unsafe fn store_first(self, p: *mut f32, count: usize);
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
}

#[derive(Clone, Copy)]
pub(super) struct Lanes8([f32; 8]);

impl Vector for Lanes8 {
    const WIDTH: usize = 8;
    const ROWS: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 8])
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 8])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for eight elements.
        Self(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 8];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements.
            *lane = unsafe { *p.add(i) };
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller vouches for eight elements.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, count: usize) {
        for (i, lane) in self.0.iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements.
            unsafe { *p.add(i) = *lane }
        }
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        let mut out = self.0;
        for ((o, x), y) in out.iter_mut().zip(a.0).zip(b.0) {
            *o += x * y;
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) mod neon {
    use super::Vector;
    use std::arch::aarch64::*;

    /// Four lanes; NEON is part of every aarch64.
    #[derive(Clone, Copy)]
    pub struct Quad(float32x4_t);

    // SAFETY (all methods): pointers as the trait demands.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Vector for Quad {
        const WIDTH: usize = 4;
        const ROWS: usize = 12;
        #[inline(always)]
        unsafe fn zero() -> Self {
            Self(unsafe { vdupq_n_f32(0.0) })
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Self(unsafe { vdupq_n_f32(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            Self(unsafe { vld1q_f32(p) })
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, count: usize) -> Self {
            let mut lanes = [0.0; 4];
            for (i, lane) in lanes.iter_mut().enumerate().take(count) {
                *lane = unsafe { *p.add(i) };
            }
            unsafe { Self::load(lanes.as_ptr()) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { vst1q_f32(p, self.0) }
        }
        #[inline(always)]
        unsafe fn store_first(self, p: *mut f32, count: usize) {
            let mut lanes = [0.0; 4];
            unsafe { self.store(lanes.as_mut_ptr()) };
            for (i, lane) in lanes.iter().enumerate().take(count) {
                unsafe { *p.add(i) = *lane };
            }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { vfmaq_f32(self.0, a.0, b.0) })
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { vaddq_f32(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            Self(unsafe { vsubq_f32(self.0, other.0) })
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub struct Zmm(__m512);

    // SAFETY (all methods): called under `run_avx512` alone, pointers as the trait demands.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Vector for Zmm {
        const WIDTH: usize = 16;
        const ROWS: usize = 14;
        #[inline(always)]
        unsafe fn zero() -> Self {
            Self(unsafe { _mm512_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, count: usize) -> Self {
            Self(unsafe { _mm512_maskz_loadu_ps(((1u32 << count) - 1) as u16, p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn store_first(self, p: *mut f32, count: usize) {
            unsafe { _mm512_mask_storeu_ps(p, ((1u32 << count) - 1) as u16, self.0) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
    }

    #[derive(Clone, Copy)]
    pub struct Ymm(__m256);

    #[inline(always)]
    unsafe fn first_of_8(count: usize) -> __m256i {
        // SAFETY: AVX2 is on wherever this is inlined.
        unsafe {
            _mm256_cmpgt_epi32(
                _mm256_set1_epi32(count as i32),
                _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
            )
        }
    }

    // SAFETY (all methods): called under `run_avx2` alone, pointers as the trait demands.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Vector for Ymm {
        const WIDTH: usize = 8;
        const ROWS: usize = 6;
        #[inline(always)]
        unsafe fn zero() -> Self {
            Self(unsafe { _mm256_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(x) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            Self(unsafe { _mm256_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn load_first(p: *const f32, count: usize) -> Self {
            Self(unsafe { _mm256_maskload_ps(p, first_of_8(count)) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm256_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn store_first(self, p: *mut f32, count: usize) {
            unsafe { _mm256_maskstore_ps(p, first_of_8(count), self.0) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }
    }
}

/// Defines a function that runs `$generic`, which takes a [`Vector`] as its type, with those of a level.
///
/// # Safety
/// Of what it defines: the machine has the level, and what `$generic` demands.
macro_rules! with_vectors {
    (
        $(#[$meta:meta])*
        $visible:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $generic:ident
    ) => {
        $(#[$meta])*
        #[inline]
        $visible unsafe fn $name(isa: $crate::Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            unsafe fn avx512($($arg: $type),*) {
                // SAFETY: the feature is on in this function; for the rest, the caller's word.
                unsafe { $generic::<$crate::kernel::vector::x86::Zmm>($($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $type),*) {
                // SAFETY: as above.
                unsafe { $generic::<$crate::kernel::vector::x86::Ymm>($($arg),*) }
            }

            // SAFETY: the caller vouches for the level, and for the rest.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::Isa::Amx | $crate::Isa::Avx512Bf16 | $crate::Isa::Avx512 => {
                        avx512($($arg),*)
                    }
                    #[cfg(target_arch = "x86_64")]
                    $crate::Isa::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::Isa::Neon => {
                        $generic::<$crate::kernel::vector::neon::Quad>($($arg),*)
                    }
                    _ => $generic::<$crate::kernel::vector::Lanes8>($($arg),*),
                }
            }
        }
    };
}
pub(super) use with_vectors;
