//! The residual network: stem, four stages of blocks, mean over pixels, projection head.

use crate::config::{Arch, EncoderConfig, Head, Stem};
use crate::layers::{ConvNorm, Dense, SavedConvNorm, TrainWeights, Weights};
use crate::parameters::Layout;
use protem_ops::conv::Conv;
use protem_ops::norm::Then;
use protem_ops::{Activation, Precision, Shape, linear, pooling};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub name: String,
    /// Two convolutions, or a bottleneck's three.
    pub main: Vec<ConvNorm>,
    /// A 1×1 convolution where the block changes the shape.
    pub shortcut: Option<ConvNorm>,
}

/// What a block keeps for its backward pass. Results within the block are made again there: they
/// would be almost half of all that a step keeps, and cost one pass each.
struct SavedBlock {
    x: Arc<Activation>,
    main: Vec<SavedConvNorm>,
    shortcut: Option<SavedConvNorm>,
}

impl Block {
    fn train(&self, w: &mut TrainWeights, x: Arc<Activation>) -> (Arc<Activation>, SavedBlock) {
        let (residual, shortcut) = match &self.shortcut {
            Some(unit) => {
                let (y, saved) = unit.train(w, &x, None, Then::Identity);
                (y, Some(saved))
            }
            None => (x.clone(), None),
        };
        let mut main = Vec::with_capacity(self.main.len());
        let mut y = x.clone();
        for (i, unit) in self.main.iter().enumerate() {
            let last = i + 1 == self.main.len();
            let (next, saved) = unit.train(w, &y, last.then_some(&*residual), Then::Relu);
            main.push(saved);
            y = next;
        }
        (y, SavedBlock { x, main, shortcut })
    }

    fn evaluate(&self, w: &Weights, x: Activation) -> Activation {
        let residual = self
            .shortcut
            .as_ref()
            .map(|unit| unit.evaluate(w, &x, None, Then::Identity));
        let added = residual.as_ref().unwrap_or(&x);
        let (last, first) = self.main.split_last().expect("a block has convolutions");
        let mut y: Option<Activation> = None;
        for unit in first {
            y = Some(unit.evaluate(w, y.as_ref().unwrap_or(&x), None, Then::Relu));
        }
        last.evaluate(w, y.as_ref().unwrap_or(&x), Some(added), Then::Relu)
    }

    fn backward(
        &self,
        w: &Weights,
        saved: SavedBlock,
        dy: Activation,
        gradient: &mut [f32],
    ) -> Activation {
        let SavedBlock { x, main, shortcut } = saved;
        let mut main = main;
        let (mut dy, mut residual) = (dy, None);
        for i in (1..self.main.len()).rev() {
            let saved = main.pop().expect("one for each convolution");
            let input = self.main[i - 1].again(w, &main[i - 1]);
            let (of, added) = self.main[i].backward(w, saved, &input, dy, gradient);
            drop(input);
            residual = residual.or(added);
            dy = self.main[i].input_gradient(w, of, None);
        }
        let mut residual = residual.expect("the block's input was added at its end");
        if let (Some(unit), Some(saved)) = (&self.shortcut, shortcut) {
            let (of, _) = unit.backward(w, saved, &x, residual, gradient);
            residual = unit.input_gradient(w, of, None);
        }
        let (first, saved) = (&self.main[0], main.pop());
        let saved = saved.expect("one for each convolution");
        let (of, _) = first.backward(w, saved, &x, dy, gradient);
        drop(x);
        first.input_gradient(w, of, Some(residual))
    }
}

/// The network's structure, with the places of its weights.
#[derive(Debug, Clone)]
pub(crate) struct ResNet {
    pub stem: ConvNorm,
    pub max_pool: bool,
    pub blocks: Vec<Block>,
    pub head: Vec<Dense>,
}

/// What a training forward pass keeps for the backward pass.
pub struct Tape {
    images: Activation,
    stem: SavedConvNorm,
    max_pool: Option<(Shape, pooling::Winners)>,
    blocks: Vec<SavedBlock>,
    before_pooling: (Shape, Precision),
    /// Input of each layer of the head; all but the first behind a ReLU.
    head: Vec<Activation>,
}

impl ResNet {
    pub fn new(config: &EncoderConfig, parameters: &mut Layout, running: &mut Layout) -> Self {
        let (kernel, stride) = match config.stem {
            Stem::Cifar => (3, 1),
            Stem::Imagenet => (7, 2),
        };
        let conv = Conv {
            inputs: 3,
            outputs: config.width,
            kernel,
            stride,
            padding: kernel / 2,
        };
        let stem = ConvNorm::new(conv, ["conv1", "bn1"], parameters, running);
        let mut blocks = Vec::new();
        let mut channels = config.width;
        for (stage, count) in config.arch.blocks().into_iter().enumerate() {
            for i in 0..count {
                let name = format!("layer{}.{i}", stage + 1);
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let inner = config.width << stage;
                blocks.push(block(
                    config.arch,
                    &name,
                    [channels, inner],
                    stride,
                    parameters,
                    running,
                ));
                channels = inner * config.arch.expansion();
            }
        }
        let head = match config.head {
            Head::V1 => vec![Dense::new(channels, config.dim, "fc", parameters)],
            Head::V2 => vec![
                Dense::new(channels, channels, "fc.0", parameters),
                Dense::new(channels, config.dim, "fc.2", parameters),
            ],
        };
        Self {
            stem,
            max_pool: config.stem == Stem::Imagenet,
            blocks,
            head,
        }
    }

    /// Multiply-adds of the convolutions of an image of this many pixels a side.
    pub fn multiply_adds(&self, side: usize) -> u64 {
        let of =
            |conv: &Conv, out: Shape| (out.len() * conv.inputs * conv.kernel * conv.kernel) as u64;
        let mut at = self.stem_output(side);
        let mut all = of(&self.stem.conv, at);
        if self.max_pool {
            (at.height, at.width) = (at.height.div_ceil(2), at.width.div_ceil(2));
        }
        for block in &self.blocks {
            if let Some(unit) = &block.shortcut {
                all += of(&unit.conv, unit.conv.output(at));
            }
            for unit in &block.main {
                at = unit.conv.output(at);
                all += of(&unit.conv, at);
            }
        }
        all
    }

    fn stem_output(&self, side: usize) -> Shape {
        self.stem.conv.output(Shape {
            height: side,
            width: side,
            batch: 1,
            channels: 3,
        })
    }

    /// Values that a training step keeps of an image of this many pixels a side: results of
    /// convolutions, and of blocks, which are the inputs of those behind them.
    pub fn kept(&self, side: usize) -> usize {
        let mut at = self.stem_output(side);
        let mut kept = at.len();
        if self.max_pool {
            (at.height, at.width) = (at.height.div_ceil(2), at.width.div_ceil(2));
        }
        for block in &self.blocks {
            kept += at.len();
            if let Some(unit) = &block.shortcut {
                kept += unit.conv.output(at).len();
            }
            for unit in &block.main {
                at = unit.conv.output(at);
                kept += at.len();
            }
        }
        kept + at.len()
    }

    /// Embedding in training mode, and the tape if one is wanted: without it, each map is given
    /// back as soon as the next is there.
    pub fn train(
        &self,
        w: &mut TrainWeights,
        images: Activation,
        record: bool,
    ) -> (Activation, Option<Tape>) {
        let (mut y, stem) = self.stem.train(w, &images, None, Then::Relu);
        let stem = record.then_some(stem);
        let mut max_pool = None;
        if self.max_pool {
            let (pooled, winners) = pooling::max_forward(w.pool, &y);
            max_pool = Some((y.shape(), winners));
            y = Arc::new(pooled);
        }
        let mut blocks = Vec::new();
        for block in &self.blocks {
            let (next, saved) = block.train(w, y);
            if record {
                blocks.push(saved);
            }
            y = next;
        }
        let before_pooling = (y.shape(), y.precision());
        let mut inputs = Vec::new();
        let mut y = pooling::average_forward(w.pool, &y);
        for (i, dense) in self.head.iter().enumerate() {
            if i > 0 {
                linear::relu_forward(&mut y);
            }
            let next = dense.forward(w.pool, w.parameters, &y);
            inputs.push(y);
            y = next;
        }
        let tape = stem.map(|stem| Tape {
            images,
            stem,
            max_pool,
            blocks,
            before_pooling,
            head: inputs,
        });
        (y, tape)
    }

    /// Pooled features in evaluation mode.
    pub fn features(&self, w: &Weights, images: Activation) -> Activation {
        let mut y = self.stem.evaluate(w, &images, None, Then::Relu);
        if self.max_pool {
            y = pooling::max_forward(w.pool, &y).0;
        }
        for block in &self.blocks {
            y = block.evaluate(w, y);
        }
        pooling::average_forward(w.pool, &y)
    }

    /// The head's embedding of pooled features.
    pub fn project(&self, w: &Weights, features: Activation) -> Activation {
        let mut y = features;
        for (i, dense) in self.head.iter().enumerate() {
            if i > 0 {
                linear::relu_forward(&mut y);
            }
            y = dense.forward(w.pool, w.parameters, &y);
        }
        y
    }

    /// Gradient of all parameters from that of the embedding, written over `gradient`.
    pub fn backward(&self, w: &Weights, tape: Tape, embedding: Activation, gradient: &mut [f32]) {
        let mut dy = embedding;
        for (i, (dense, x)) in self.head.iter().zip(&tape.head).enumerate().rev() {
            dy = dense.backward(w, x, &dy, gradient);
            if i > 0 {
                linear::relu_backward(x, &mut dy);
            }
        }
        let (shape, precision) = tape.before_pooling;
        let mut dy = pooling::average_backward(w.pool, &dy, shape, precision);
        for (block, saved) in self.blocks.iter().zip(tape.blocks).rev() {
            dy = block.backward(w, saved, dy, gradient);
        }
        if let Some((shape, winners)) = &tape.max_pool {
            dy = pooling::max_backward(w.pool, &dy, winners, *shape);
        }
        // Images have no gradient: the stem's chain ends at its weights.
        self.stem.backward(w, tape.stem, &tape.images, dy, gradient);
    }
}

fn block(
    arch: Arch,
    name: &str,
    [inputs, inner]: [usize; 2],
    stride: usize,
    parameters: &mut Layout,
    running: &mut Layout,
) -> Block {
    let outputs = inner * arch.expansion();
    // (in, out, kernel, stride); a bottleneck's stride is at its 3×3, as in torchvision.
    let plan = match arch {
        Arch::Resnet18 | Arch::Resnet34 => vec![(inputs, inner, 3, stride), (inner, inner, 3, 1)],
        Arch::Resnet50 | Arch::Resnet101 | Arch::Resnet152 => vec![
            (inputs, inner, 1, 1),
            (inner, inner, 3, stride),
            (inner, outputs, 1, 1),
        ],
    };
    let main = plan
        .into_iter()
        .enumerate()
        .map(|(i, (inputs, outputs, kernel, stride))| {
            let conv = Conv {
                inputs,
                outputs,
                kernel,
                stride,
                padding: kernel / 2,
            };
            let names = [
                format!("{name}.conv{}", i + 1),
                format!("{name}.bn{}", i + 1),
            ];
            ConvNorm::new(conv, [&names[0], &names[1]], parameters, running)
        })
        .collect();
    let shortcut = (stride != 1 || inputs != outputs).then(|| {
        let conv = Conv {
            inputs,
            outputs,
            kernel: 1,
            stride,
            padding: 0,
        };
        let names = [
            format!("{name}.downsample.0"),
            format!("{name}.downsample.1"),
        ];
        ConvNorm::new(conv, [&names[0], &names[1]], parameters, running)
    });
    Block {
        name: name.to_owned(),
        main,
        shortcut,
    }
}
