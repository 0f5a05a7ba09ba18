//! A fully connected layer: a 1×1 convolution of a one-pixel map, with a bias.

use crate::activation::Activation;
use crate::buffer::Pool;
use crate::conv::Conv;

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
        assert_eq!(bias.len(), self.outputs, "length of the bias");
        let mut y = self.conv().forward(pool, weights, x);
        for row in y.data.chunks_exact_mut(self.outputs) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y += b;
            }
        }
        y
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
        for row in dy.data.chunks_exact(self.outputs) {
            for (d, dy) in dbias.iter_mut().zip(row) {
                *d += dy;
            }
        }
        self.conv().input_gradient(pool, weights, dy, x.shape())
    }
}

/// `max(0, x)` in place.
pub fn relu_forward(x: &mut Activation) {
    for value in x.data.iter_mut() {
        // Not `max`: a NaN must stay one.
        if *value < 0.0 {
            *value = 0.0;
        }
    }
}

/// Clears the gradient where the ReLU's output was not positive, in place.
///
/// # Panics
/// If the shapes differ.
pub fn relu_backward(y: &Activation, dy: &mut Activation) {
    assert_eq!(y.shape(), dy.shape(), "shapes of a ReLU");
    for (d, y) in dy.data.iter_mut().zip(&y.data[..]) {
        if *y <= 0.0 {
            *d = 0.0;
        }
    }
}
