//! One training step beside stock candle's, in turn in one process: `cargo bench -p protem-encoder --bench candle`.
//!
//! ResNet-18 with the CIFAR stem at width 64, 128 images of 32×32, a linear head of 128 values, mean square as the loss, SGD. candle's
//! side is what its own layers give: `conv2d`, `batch_norm`, autograd, `candle_nn::SGD` (which has no momentum; ours does the work of
//! it). Both use rayon's threads; `RAYON_NUM_THREADS=1` measures one core.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, Linear, Module, ModuleT, Optimizer, SGD, VarBuilder, VarMap,
};
use protem_encoder::{Arch, Encoder, EncoderConfig, Head, Stem};
use protem_ops::{Activation, Precision, optim::Sgd};
use std::time::Instant;

const BATCH: usize = 128;
const SIDE: usize = 32;
const WIDTH: usize = 64;
const DIM: usize = 128;
const PAIRS: usize = 2;

struct ConvNorm(Conv2d, BatchNorm);

impl ConvNorm {
    fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let config = Conv2dConfig {
            padding: kernel / 2,
            stride,
            ..Default::default()
        };
        let conv = candle_nn::conv2d_no_bias(inputs, outputs, kernel, config, vb.pp("conv"))?;
        Ok(Self(
            conv,
            candle_nn::batch_norm(outputs, 1e-5, vb.pp("bn"))?,
        ))
    }

    fn train(&self, x: &Tensor) -> Result<Tensor> {
        self.1.forward_t(&self.0.forward(x)?, true)
    }
}

struct Block {
    main: [ConvNorm; 2],
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn new(inputs: usize, outputs: usize, stride: usize, vb: VarBuilder) -> Result<Self> {
        let changes = stride != 1 || inputs != outputs;
        let shortcut = changes.then(|| ConvNorm::new(inputs, outputs, 1, stride, vb.pp("down")));
        Ok(Self {
            main: [
                ConvNorm::new(inputs, outputs, 3, stride, vb.pp("0"))?,
                ConvNorm::new(outputs, outputs, 3, 1, vb.pp("1"))?,
            ],
            shortcut: shortcut.transpose()?,
        })
    }

    fn train(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.main[1].train(&self.main[0].train(x)?.relu()?)?;
        match &self.shortcut {
            Some(unit) => (y + unit.train(x)?)?.relu(),
            None => (y + x)?.relu(),
        }
    }
}

struct Peer {
    stem: ConvNorm,
    blocks: Vec<Block>,
    head: Linear,
    sgd: SGD,
}

impl Peer {
    fn new() -> Result<Self> {
        let variables = VarMap::new();
        let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
        let stem = ConvNorm::new(3, WIDTH, 3, 1, vb.pp("stem"))?;
        let mut blocks = Vec::new();
        let mut channels = WIDTH;
        for stage in 0..4 {
            for i in 0..2 {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let outputs = WIDTH << stage;
                blocks.push(Block::new(
                    channels,
                    outputs,
                    stride,
                    vb.pp(format!("{stage}.{i}")),
                )?);
                channels = outputs;
            }
        }
        let head = candle_nn::linear(channels, DIM, vb.pp("fc"))?;
        let sgd = SGD::new(variables.all_vars(), 1e-3)?;
        Ok(Self {
            stem,
            blocks,
            head,
            sgd,
        })
    }

    fn step(&mut self, images: &Tensor) -> Result<()> {
        let mut y = self.stem.train(images)?.relu()?;
        for block in &self.blocks {
            y = block.train(&y)?;
        }
        let features = y.mean(D::Minus1)?.mean(D::Minus1)?;
        let loss = self.head.forward(&features)?.sqr()?.mean_all()?;
        self.sgd.backward_step(&loss)
    }
}

struct Ours {
    encoder: Encoder,
    gradient: Vec<f32>,
    velocity: Vec<f32>,
}

impl Ours {
    fn new() -> Self {
        let config = EncoderConfig {
            arch: Arch::Resnet18,
            stem: Stem::Cifar,
            width: WIDTH,
            head: Head::V1,
            dim: DIM,
            split_bn: 1,
        };
        let encoder = Encoder::new(config, 0);
        let gradient = vec![0.0; encoder.parameters().len()];
        Self {
            encoder,
            velocity: gradient.clone(),
            gradient,
        }
    }

    fn step(&mut self, images: Activation) {
        let sgd = Sgd {
            learning_rate: 1e-3,
            momentum: 0.9,
            weight_decay: 1e-4,
        };
        let (mut embedding, tape) = self.encoder.forward_train(images);
        let scale = 2.0 / embedding.len() as f32;
        embedding.iter_mut().for_each(|x| *x *= scale);
        self.encoder.backward(tape, &embedding, &mut self.gradient);
        sgd.step(
            self.encoder.parameters_mut(),
            &self.gradient,
            &mut self.velocity,
        );
    }
}

fn seconds(f: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    f();
    begun.elapsed().as_secs_f64()
}

fn main() -> Result<()> {
    // `cargo test --all-targets` runs benches too, without this word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let values: Vec<f32> = (0..BATCH * 3 * SIDE * SIDE)
        .map(|i| (i * 31 % 251) as f32 / 125.0 - 1.0)
        .collect();
    let tensor = Tensor::from_slice(&values, (BATCH, 3, SIDE, SIDE), &Device::Cpu)?;
    let (mut ours, mut peer) = (Ours::new(), Peer::new()?);
    let shape = protem_ops::Shape {
        height: SIDE,
        width: SIDE,
        batch: BATCH,
        channels: 3,
    };
    let pool = ours.encoder.pool().clone();
    let images = || Activation::from_nchw(&pool, Precision::F32, &values, shape);
    ours.step(images()); // the first fills the pool of buffers
    let mut totals = (0.0, 0.0);
    for pair in 1..=PAIRS {
        let of_ours = seconds(|| ours.step(images()));
        let mut outcome = Ok(());
        let of_peer = seconds(|| outcome = peer.step(&tensor));
        outcome?;
        println!("pair {pair}: protem {of_ours:.2} s, candle {of_peer:.2} s");
        totals = (totals.0 + of_ours, totals.1 + of_peer);
    }
    println!("candle takes {:.1} times as long", totals.1 / totals.0);
    Ok(())
}
