//! Rounding to bf16 as the tiles understand it.

/// The nearest bf16, ties to even; denormals, which tiles count as zero, are zero. For finite
/// values below the largest bf16.
#[inline(always)]
pub(crate) fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    let normal = rounded & 0x7f80 != 0;
    if normal { rounded as u16 } else { 0 }
}

/// The value of a bf16.
#[inline(always)]
pub(crate) fn value(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_nearest_and_flushes_denormals() {
        assert_eq!(value(round(1.0)), 1.0);
        assert_eq!(value(round(-2.5)), -2.5);
        // Halfway between 1 and 1 + 2⁻⁷: to the even one; above: up.
        assert_eq!(value(round(1.0 + 1.0 / 256.0)), 1.0);
        assert_eq!(value(round(1.0 + 1.01 / 256.0)), 1.0 + 1.0 / 128.0);
        assert_eq!(round(1e-39), 0);
        assert_eq!(round(-1e-39), 0);
        assert_eq!(value(round(f32::MIN_POSITIVE)), f32::MIN_POSITIVE);
    }
}
