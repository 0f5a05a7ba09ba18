//! The two layers with parameters, as places in the flat vectors.

use crate::parameters::{Layout, Start};
use protem_ops::conv::{Conv, Folded};
use protem_ops::linear::Linear;
use protem_ops::norm::{self, Affine, Statistics, Then};
use protem_ops::{Activation, Pool, Shape};
use std::ops::Range;
use std::sync::Arc;

/// The vectors that a layer's places point into.
pub(crate) struct Weights<'a> {
    pub pool: &'a Pool,
    pub parameters: &'a [f32],
    /// Running mean and variance.
    pub running: &'a [f32],
}

/// The same while training: the running statistics move.
pub(crate) struct TrainWeights<'a> {
    pub pool: &'a Pool,
    pub parameters: &'a [f32],
    pub running: &'a mut [f32],
    pub split_bn: usize,
}

/// A convolution, its batch norm, and what follows: the unit residual networks are built from.
#[derive(Debug, Clone)]
pub(crate) struct ConvNorm {
    /// Of the convolution.
    pub name: String,
    pub conv: Conv,
    weight: Range<usize>,
    gamma: Range<usize>,
    beta: Range<usize>,
    mean: Range<usize>,
    variance: Range<usize>,
}

/// What a [`ConvNorm`] keeps for its backward pass. Who calls it keeps the input, or the means to
/// make it again.
pub(crate) struct SavedConvNorm {
    convolved: Activation,
    /// The result, where a map was added to it: it alone says what the ReLU let through.
    y: Option<Arc<Activation>>,
    statistics: Statistics,
    then: Then,
}

impl ConvNorm {
    pub fn new(
        conv: Conv,
        names: [&str; 2],
        parameters: &mut Layout,
        running: &mut Layout,
    ) -> Self {
        let [conv_name, norm_name] = names;
        let channels = [conv.outputs];
        // He initialisation by fan-out, as torchvision's ResNet.
        let std = (2.0 / (conv.outputs * conv.kernel * conv.kernel) as f32).sqrt();
        let shape = [conv.outputs, conv.inputs, conv.kernel, conv.kernel];
        Self {
            name: conv_name.to_owned(),
            conv,
            weight: parameters.push(format!("{conv_name}.weight"), &shape, Start::Normal(std)),
            gamma: parameters.push(
                format!("{norm_name}.weight"),
                &channels,
                Start::Constant(1.0),
            ),
            beta: parameters.push(format!("{norm_name}.bias"), &channels, Start::Constant(0.0)),
            mean: running.push(
                format!("{norm_name}.running_mean"),
                &channels,
                Start::Constant(0.0),
            ),
            variance: running.push(
                format!("{norm_name}.running_var"),
                &channels,
                Start::Constant(1.0),
            ),
        }
    }

    pub fn train(
        &self,
        w: &mut TrainWeights,
        x: &Activation,
        added: Option<&Activation>,
        then: Then,
    ) -> (Arc<Activation>, SavedConvNorm) {
        let convolved = self
            .conv
            .forward(w.pool, &w.parameters[self.weight.clone()], x);
        // Mean and variance of one norm stand next to each other.
        let (mean, variance) =
            w.running[self.mean.start..self.variance.end].split_at_mut(self.conv.outputs);
        let (y, statistics) = norm::forward_train(
            w.pool,
            &convolved,
            self.affine(w.parameters),
            (mean, variance),
            w.split_bn,
            added,
            then,
        );
        let y = Arc::new(y);
        let saved = SavedConvNorm {
            convolved,
            y: added.map(|_| y.clone()),
            statistics,
            then,
        };
        (y, saved)
    }

    pub fn evaluate(
        &self,
        w: &Weights,
        x: &Activation,
        added: Option<&Activation>,
        then: Then,
    ) -> Activation {
        let (scale, shift) = self.scale_and_shift(w);
        let folded = Folded {
            scale: &scale,
            shift: &shift,
            added,
            relu: then == Then::Relu,
        };
        let weights = &w.parameters[self.weight.clone()];
        self.conv.forward_folded(w.pool, weights, &folded, x)
    }

    /// What the norm does to each channel in evaluation mode.
    fn scale_and_shift(&self, w: &Weights) -> (Vec<f32>, Vec<f32>) {
        let mean = &w.running[self.mean.clone()];
        let variance = &w.running[self.variance.clone()];
        norm::folded(self.affine(w.parameters), mean, variance)
    }

    /// Weights (out, in, row, column) and biases of a convolution that does what both do in evaluation
    /// mode.
    pub fn folded(&self, w: &Weights) -> (Vec<f32>, Vec<f32>) {
        let (scale, shift) = self.scale_and_shift(w);
        let mut weight = w.parameters[self.weight.clone()].to_vec();
        let of_channel = weight.len() / scale.len();
        for (values, scale) in weight.chunks_exact_mut(of_channel).zip(&scale) {
            values.iter_mut().for_each(|value| *value *= scale);
        }
        (weight, shift)
    }

    fn affine<'a>(&self, parameters: &'a [f32]) -> Affine<'a> {
        Affine {
            gamma: &parameters[self.gamma.clone()],
            beta: &parameters[self.beta.clone()],
        }
    }

    /// Writes the gradients of the parameters; returns what [`Self::input_gradient`] goes on from,
    /// and the gradient of the added map, if there was one.
    pub fn backward(
        &self,
        w: &Weights,
        saved: SavedConvNorm,
        x: &Activation,
        dy: Activation,
        gradient: &mut [f32],
    ) -> (ConvGradient, Option<Activation>) {
        // γ and β stand next to each other.
        let (dgamma, dbeta) =
            gradient[self.gamma.start..self.beta.end].split_at_mut(self.conv.outputs);
        let norm = norm::backward(
            w.pool,
            saved.convolved,
            saved.y.as_deref(),
            dy,
            self.affine(w.parameters),
            &saved.statistics,
            saved.then,
            (dgamma, dbeta),
        );
        self.conv
            .weight_gradient(w.pool, x, &norm.input, &mut gradient[self.weight.clone()]);
        let of = ConvGradient {
            convolved: norm.input,
            input: x.shape(),
        };
        (of, norm.added)
    }

    /// The result of the forward pass, made again: nothing was added in it.
    pub fn again(&self, w: &Weights, saved: &SavedConvNorm) -> Activation {
        let affine = self.affine(w.parameters);
        norm::again(
            w.pool,
            &saved.convolved,
            affine,
            &saved.statistics,
            saved.then,
        )
    }

    /// The gradient of the input, added to `onto`, which reaches it by another way.
    pub fn input_gradient(
        &self,
        w: &Weights,
        of: ConvGradient,
        onto: Option<Activation>,
    ) -> Activation {
        let weights = &w.parameters[self.weight.clone()];
        self.conv
            .input_gradient(w.pool, weights, &of.convolved, of.input, onto)
    }
}

/// The gradient at a convolution's output, from which its input's follows if it is wanted.
pub(crate) struct ConvGradient {
    convolved: Activation,
    input: Shape,
}

/// A fully connected layer.
#[derive(Debug, Clone)]
pub(crate) struct Dense {
    pub name: String,
    pub linear: Linear,
    weight: Range<usize>,
    bias: Range<usize>,
}

impl Dense {
    pub fn new(inputs: usize, outputs: usize, name: &str, parameters: &mut Layout) -> Self {
        // PyTorch's default for a linear layer.
        let start = Start::Uniform(1.0 / (inputs as f32).sqrt());
        Self {
            name: name.to_owned(),
            linear: Linear { inputs, outputs },
            weight: parameters.push(format!("{name}.weight"), &[outputs, inputs], start),
            bias: parameters.push(format!("{name}.bias"), &[outputs], start),
        }
    }

    /// Weights (out, in) and biases.
    pub fn values<'a>(&self, parameters: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        let [weight, bias] = [&self.weight, &self.bias].map(|at| &parameters[at.clone()]);
        (weight, bias)
    }

    pub fn forward(&self, pool: &Pool, parameters: &[f32], x: &Activation) -> Activation {
        let (weight, bias) = self.values(parameters);
        self.linear.forward(pool, weight, bias, x)
    }

    pub fn backward(
        &self,
        w: &Weights,
        x: &Activation,
        dy: &Activation,
        gradient: &mut [f32],
    ) -> Activation {
        // Weight and bias stand next to each other.
        let (dweight, dbias) =
            gradient[self.weight.start..self.bias.end].split_at_mut(self.weight.len());
        self.linear.backward(
            w.pool,
            &w.parameters[self.weight.clone()],
            x,
            dy,
            (dweight, dbias),
        )
    }
}
