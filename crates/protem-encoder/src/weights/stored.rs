//! Numbers as a file has them.

use crate::error::WeightsError;
use half::{bf16, f16};

/// What numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F16,
    Bf16,
    F32,
    F64,
    /// None that weights are made of, and the bytes of one.
    Other(usize),
}

impl Kind {
    /// By the name of PyTorch's class of storages.
    pub fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "LongStorage" | "ComplexFloatStorage" => Self::Other(8),
            "IntStorage" => Self::Other(4),
            "ShortStorage" => Self::Other(2),
            "CharStorage" | "ByteStorage" | "BoolStorage" => Self::Other(1),
            "ComplexDoubleStorage" => Self::Other(16),
            _ => return None,
        })
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Other(size) => size,
        }
    }
}

/// A tensor as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored<'a> {
    /// Nothing where it is unknown.
    pub kind: Option<Kind>,
    pub shape: Vec<usize>,
    /// From a number to the next, by dimension, in numbers.
    pub strides: Vec<usize>,
    /// From its first number on, with what lies behind it.
    pub bytes: &'a [u8],
}

impl Stored<'_> {
    /// Its values in row-major order.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let damaged = || WeightsError::Damaged {
            what: format!(
                "its tensor {name} is larger than what is there of it, or has one value in several places"
            ),
        };
        let numbers = self.numbers().ok_or_else(damaged)?;
        let bytes = self.bytes;
        let all: Vec<f32> = match self.kind {
            Some(Kind::F32) => of(bytes, numbers, f32::from_le_bytes),
            Some(Kind::F16) => of(bytes, numbers, |b| f16::from_le_bytes(b).to_f32()),
            Some(Kind::Bf16) => of(bytes, numbers, |b| bf16::from_le_bytes(b).to_f32()),
            Some(Kind::F64) => of(bytes, numbers, |b| f64::from_le_bytes(b) as f32),
            Some(Kind::Other(_)) | None => {
                return Err(WeightsError::Unsupported {
                    what: format!("has no floating-point numbers in {name}"),
                });
            }
        };
        Ok(self.in_order(&all))
    }

    /// How many numbers of the file it lies in, if they are there and none stands for two.
    fn numbers(&self) -> Option<usize> {
        if self.shape.len() != self.strides.len() {
            return None;
        }
        let (mut span, mut values) = (1usize, 1usize);
        for (size, stride) in self.shape.iter().zip(&self.strides) {
            let reach = size.saturating_sub(1).checked_mul(*stride)?;
            (span, values) = (span.checked_add(reach)?, values.checked_mul(*size)?);
        }
        let there = self.bytes.len() / self.kind.map_or(1, Kind::size);
        (values > 0 && values <= span && span <= there).then_some(span)
    }

    /// Values picked by the strides, the last dimension fastest.
    fn in_order(&self, all: &[f32]) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.shape.iter().product());
        let (mut at, mut place) = (vec![0; self.shape.len()], 0);
        loop {
            values.push(all[place]);
            let mut dimension = self.shape.len();
            loop {
                let Some(next) = dimension.checked_sub(1) else {
                    return values;
                };
                dimension = next;
                let stride = self.strides[dimension];
                if at[dimension] + 1 < self.shape[dimension] {
                    at[dimension] += 1;
                    place += stride;
                    break;
                }
                place -= at[dimension] * stride;
                at[dimension] = 0;
            }
        }
    }
}

fn of<const N: usize>(bytes: &[u8], numbers: usize, number: fn([u8; N]) -> f32) -> Vec<f32> {
    let (all, _) = bytes.as_chunks::<N>();
    all[..numbers].iter().map(|bytes| number(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_kind_come_in_order() {
        let numbers = [1.5f32, -2.0, 0.25, 3.0, 0.0, -8.0];
        let as_f32: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let as_f64: Vec<u8> = numbers
            .iter()
            .flat_map(|x| f64::from(*x).to_le_bytes())
            .collect();
        let as_f16: Vec<u8> = numbers
            .iter()
            .flat_map(|x| f16::from_f32(*x).to_le_bytes())
            .collect();
        let as_bf16: Vec<u8> = numbers
            .iter()
            .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
            .collect();
        for (kind, bytes) in [
            (Kind::F32, &as_f32),
            (Kind::F64, &as_f64),
            (Kind::F16, &as_f16),
            (Kind::Bf16, &as_bf16),
        ] {
            let stored = |shape: [usize; 2], strides: [usize; 2]| Stored {
                kind: Some(kind),
                shape: shape.to_vec(),
                strides: strides.to_vec(),
                bytes,
            };
            assert_eq!(stored([2, 3], [3, 1]).values("x").unwrap(), numbers);
            let turned = [1.5, 3.0, -2.0, 0.0, 0.25, -8.0];
            assert_eq!(stored([3, 2], [1, 3]).values("x").unwrap(), turned);
            for (shape, strides) in [
                ([2, 4], [4, 1]),
                ([7, 1], [1, 1]),
                ([2, 3], [0, 0]),
                ([0, 3], [3, 1]),
            ] {
                let error = stored(shape, strides).values("x").unwrap_err().to_string();
                assert!(error.contains("tensor x is larger"), "{error}");
            }
            let error = stored([2, 2], [usize::MAX, 2]).values("x");
            assert!(error.is_err());
            // One value has no next.
            assert_eq!(stored([1, 1], [usize::MAX, 2]).values("x").unwrap(), [1.5]);
        }
        let whole = Stored {
            kind: Some(Kind::Other(8)),
            shape: vec![],
            strides: vec![],
            bytes: &[0; 8],
        };
        let error = whole.values("steps").unwrap_err().to_string();
        assert!(error.contains("floating-point numbers in steps"), "{error}");
    }
}
