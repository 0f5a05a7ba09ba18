//! The two kinds of numbers a feature map can be stored in.

use crate::activation::{Activation, Map};
use half::bf16;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How feature maps are stored, and with it the arithmetic of convolutions. Parameters,
/// statistics, gradients of parameters and everything after the last pooling are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// bfloat16: products of bf16 values, summed in f32, rounded to the nearest bf16 when stored.
    Bf16,
}

/// A stored number.
pub trait Element: bytemuck::Pod + Send + Sync + PartialOrd {
    fn widen(self) -> f32;
    /// Rounds to nearest, ties to even; a NaN stays one.
    fn narrow(value: f32) -> Self;
    /// The map inside, if it is of this kind.
    fn map_of(activation: &Activation) -> Option<&Map<Self>>;
    fn into_map(activation: Activation) -> Option<Map<Self>>;
    fn wrap(map: Map<Self>) -> Activation;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        value
    }
    fn map_of(activation: &Activation) -> Option<&Map<Self>> {
        match activation {
            Activation::F32(map) => Some(map),
            Activation::Bf16(_) => None,
        }
    }
    fn into_map(activation: Activation) -> Option<Map<Self>> {
        match activation {
            Activation::F32(map) => Some(map),
            Activation::Bf16(_) => None,
        }
    }
    fn wrap(map: Map<Self>) -> Activation {
        Activation::F32(map)
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits((self.to_bits() as u32) << 16)
    }
    #[inline(always)]
    fn narrow(value: f32) -> Self {
        // Without branches, so that it becomes vector instructions in every loop.
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x40;
        let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
        bf16::from_bits(if is_nan { quiet } else { rounded } as u16)
    }
    fn map_of(activation: &Activation) -> Option<&Map<Self>> {
        match activation {
            Activation::Bf16(map) => Some(map),
            Activation::F32(_) => None,
        }
    }
    fn into_map(activation: Activation) -> Option<Map<Self>> {
        match activation {
            Activation::Bf16(map) => Some(map),
            Activation::F32(_) => None,
        }
    }
    fn wrap(map: Map<Self>) -> Activation {
        Activation::Bf16(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_is_the_half_crates() {
        let edges = [0.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE, f32::MAX, 1e-45];
        let ties = (0..1 << 12).map(|i| f32::from_bits((i << 20) | 0x8000));
        let others = (0..1 << 16).map(|i: u32| f32::from_bits(i.wrapping_mul(2_654_435_761)));
        for x in edges.into_iter().chain(ties).chain(others) {
            let (ours, theirs) = (<bf16 as Element>::narrow(x), bf16::from_f32(x));
            assert_eq!(ours.to_bits(), theirs.to_bits(), "{x:e}");
            if !x.is_nan() {
                assert_eq!(ours.widen(), theirs.to_f32());
            }
        }
    }
}
