//! A fully connected layer: a 1×1 convolution of an f32 map of one pixel, with a bias.

use crate::activation::{Activation, Map, same};
use crate::buffer::Pool;
use crate::conv::{Conv, Folded};

/// The size of a fully connected layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Values per image coming in.
    pub inputs: usize,
    /// Values per image going out.
    pub outputs: usize,
}

impl Linear {
    fn conv(&self) -> Conv {
        Conv {
            inputs: self.inputs,
            outputs: self.outputs,
            kernel: 1,
            stride: 1,
            padding: 0,
        }
    }

    /// `y = x·wᵀ + b` with weights `outputs × inputs`.
    ///
    /// # Panics
    /// If shapes do not belong together.
    pub fn forward(
        &self,
        pool: &Pool,
        weights: &[f32],
        bias: &[f32],
        x: &Activation,
    ) -> Activation {
        let folded = Folded {
            scale: &vec![1.0; self.outputs],
            shift: bias,
            added: None,
            relu: false,
        };
        self.conv().forward_folded(pool, weights, &folded, x)
    }

    /// `∂L/∂x` from `∂L/∂y`; the gradients of weights and bias are written over theirs.
    ///
    /// # Panics
    /// If shapes do not belong together.
    pub fn backward(
        &self,
        pool: &Pool,
        weights: &[f32],
        x: &Activation,
        dy: &Activation,
        (dweights, dbias): (&mut [f32], &mut [f32]),
    ) -> Activation {
        assert_eq!(dbias.len(), self.outputs, "length of the bias");
        self.conv().weight_gradient(pool, x, dy, dweights);
        dbias.fill(0.0);
        for row in same::<f32>(dy).data.chunks_exact(self.outputs) {
            for (d, dy) in dbias.iter_mut().zip(row) {
                *d += dy;
            }
        }
        self.conv()
            .input_gradient(pool, weights, dy, x.shape(), None)
    }
}

/// `max(0, x)` in place.
///
/// # Panics
/// If the map is not f32, as in a head.
pub fn relu_forward(x: &mut Activation) {
    for value in matrix(x).data.iter_mut() {
        // Not `max`: a NaN must stay one.
        if *value < 0.0 {
            *value = 0.0;
        }
    }
}

/// Clears the gradient where the ReLU's output was not positive, in place.
///
/// # Panics
/// If the shapes differ, or a map is not f32.
pub fn relu_backward(y: &Activation, dy: &mut Activation) {
    assert_eq!(y.shape(), dy.shape(), "shapes of a ReLU");
    for (d, y) in matrix(dy).data.iter_mut().zip(&same::<f32>(y).data[..]) {
        if *y <= 0.0 {
            *d = 0.0;
        }
    }
}

fn matrix(map: &mut Activation) -> &mut Map<f32> {
    match map {
        Activation::F32(map) => map,
        Activation::Bf16(_) => panic!("heads are f32"),
    }
}
