//! An encoder with its weights, and the momentum pair of two of them.

use crate::config::EncoderConfig;
use crate::error::EncoderError;
use crate::layers::{TrainWeights, Weights};
use crate::parameters::{Layout, NamedTensor};
use crate::resnet::{ResNet, Tape};
use protem_ops::{Activation, Pool, Precision, optim};
use std::borrow::Cow;
use std::sync::Arc;

/// A residual network with a projection head, and its weights.
#[derive(Debug, Clone)]
pub struct Encoder {
    config: EncoderConfig,
    precision: Precision,
    structure: Arc<Structure>,
    pool: Pool,
    parameters: Vec<f32>,
    running: Vec<f32>,
    /// Ranks that have a batch between them.
    ranks: usize,
}

#[derive(Debug)]
struct Structure {
    net: ResNet,
    parameters: Layout,
    running: Layout,
}

impl Encoder {
    /// An untrained encoder: convolutions as torchvision's ResNet (normal, fan-out), linear layers
    /// as PyTorch's default, all from `seed`.
    ///
    /// # Panics
    /// If the config fails its [`EncoderConfig::check`].
    pub fn new(config: EncoderConfig, seed: u64) -> Self {
        if let Err(error) = config.check() {
            panic!("{error}");
        }
        let (net, parameters, running) = config.build();
        let values = parameters.initialise(seed);
        let statistics = running.initialise(seed);
        Self {
            config,
            precision: Precision::default(),
            structure: Arc::new(Structure {
                net,
                parameters,
                running,
            }),
            pool: Pool::default(),
            parameters: values,
            running: statistics,
            ranks: 1,
        }
    }

    /// The same weights, computing in `precision`, in which its images are to be (as of
    /// [`Self::images`]). A new encoder computes in f32.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The precision of its feature maps. Weights, pooled features and embeddings are f32 in any.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// 8-bit images, `batch × height × width × 3`, as the encoder takes them: scaled to
    /// `(x/255 − mean)/std` by channel, in its precision and its memory.
    ///
    /// # Panics
    /// If `bytes` does not hold `batch·height·width·3` of them.
    pub fn images(
        &self,
        bytes: &[u8],
        shape: (usize, usize, usize),
        mean: [f32; 3],
        std: [f32; 3],
    ) -> Activation {
        Activation::from_images(&self.pool, self.precision, bytes, shape, mean, std)
    }

    /// What the encoder is made of.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The store its activations come from: what is made for it is best made with it.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// All trained values, in the order of [`Self::tensors`].
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// All trained values, for an optimizer.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.parameters
    }

    /// Where each trained tensor lies in [`Self::parameters`], for [`optim::Lars`].
    pub fn places(&self) -> Vec<optim::Place> {
        let tensors = self.structure.parameters.tensors(&self.parameters);
        tensors
            .map(|t| optim::Place {
                len: t.values.len(),
                vector: t.shape.len() == 1,
            })
            .collect()
    }

    /// Every tensor by torchvision's name: trained ones, then running statistics.
    pub fn tensors(&self) -> impl Iterator<Item = NamedTensor<'_>> {
        let trained = self.structure.parameters.tensors(&self.parameters);
        trained.chain(self.structure.running.tensors(&self.running))
    }

    /// Takes every tensor from `find`, by torchvision's name. On an error nothing has changed.
    ///
    /// # Errors
    /// A tensor that is missing or has another number of values.
    pub fn load<'a>(
        &mut self,
        find: impl Fn(&str) -> Option<Cow<'a, [f32]>>,
    ) -> Result<(), EncoderError> {
        let (mut parameters, mut running) = (self.parameters.clone(), self.running.clone());
        self.structure.parameters.load(&mut parameters, &find)?;
        self.structure.running.load(&mut running, &find)?;
        (self.parameters, self.running) = (parameters, running);
        Ok(())
    }

    /// The running statistics, in [`Self::tensors`]' order.
    pub fn statistics_mut(&mut self) -> &mut [f32] {
        &mut self.running
    }

    /// What it is trained on are equal parts of batches from here on, of which `ranks` ranks have one each, and so as many of the
    /// batch's [`EncoderConfig::split_bn`] parts.
    ///
    /// # Panics
    /// If `ranks` does not divide the number of parts.
    pub fn set_ranks(&mut self, ranks: usize) {
        let parts = self.config.split_bn;
        assert!(
            ranks > 0 && parts.is_multiple_of(ranks),
            "{ranks} ranks, {parts} parts"
        );
        self.ranks = ranks;
    }

    /// Embeddings (`batch × dim`, row-major, not normalised) in training mode, and the tape for
    /// [`Self::backward`]. Moves the running statistics.
    ///
    /// # Panics
    /// If `split_bn` does not divide the batch, a part of it has no more than one value of a channel
    /// (one image whose last maps are one pixel), or the images do not have three channels or no pixel.
    pub fn forward_train(&mut self, images: Activation) -> (Vec<f32>, Tape) {
        let (embedding, tape) = self.train(images, true);
        (embedding, tape.expect("recorded"))
    }

    /// The same without a tape: the key encoder's forward pass.
    ///
    /// # Panics
    /// As [`Self::forward_train`].
    pub fn forward_key(&mut self, images: Activation) -> Vec<f32> {
        self.train(images, false).0
    }

    fn train(&mut self, images: Activation, record: bool) -> (Vec<f32>, Option<Tape>) {
        let mut weights = TrainWeights {
            pool: &self.pool,
            parameters: &self.parameters,
            running: &mut self.running,
            split_bn: self.config.split_bn / self.ranks,
        };
        let (embedding, tape) = self.structure.net.train(&mut weights, images, record);
        (matrix(&embedding), tape)
    }

    /// Writes `∂L/∂parameters` over `gradient`, from `∂L/∂embedding` (`batch × dim`, row-major).
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn backward(&self, tape: Tape, embedding: &[f32], gradient: &mut [f32]) {
        assert_eq!(
            gradient.len(),
            self.parameters.len(),
            "length of the gradient"
        );
        let dim = self.config.dim;
        let dy = Activation::from_matrix(&self.pool, embedding, embedding.len() / dim, dim);
        self.structure
            .net
            .backward(&self.weights(), tape, dy, gradient);
    }

    /// Pooled features before the head (`batch × feature_dim`, row-major) in evaluation mode.
    ///
    /// # Panics
    /// If the images do not have three channels or no pixel.
    pub fn features(&self, images: Activation) -> Vec<f32> {
        matrix(&self.structure.net.features(&self.weights(), images))
    }

    /// Embeddings (`batch × dim`, row-major, not normalised) in evaluation mode.
    ///
    /// # Panics
    /// As [`Self::features`].
    pub fn embed(&self, images: Activation) -> Vec<f32> {
        let weights = self.weights();
        let features = self.structure.net.features(&weights, images);
        matrix(&self.structure.net.project(&weights, features))
    }

    /// The head's embeddings (`batch × dim`, row-major) of pooled features.
    ///
    /// # Panics
    /// If `features` are not rows of [`EncoderConfig::feature_dim`] values.
    pub fn project(&self, features: &[f32]) -> Vec<f32> {
        let dim = self.config.feature_dim();
        let rows = Activation::from_matrix(&self.pool, features, features.len() / dim, dim);
        matrix(&self.structure.net.project(&self.weights(), rows))
    }

    /// Its layers.
    pub(crate) fn net(&self) -> &ResNet {
        &self.structure.net
    }

    pub(crate) fn weights(&self) -> Weights<'_> {
        Weights {
            pool: &self.pool,
            parameters: &self.parameters,
            running: &self.running,
        }
    }
}

fn matrix(one_pixel: &Activation) -> Vec<f32> {
    one_pixel
        .as_matrix()
        .expect("the mean has one pixel")
        .to_vec()
}

/// A query encoder that is trained, and a key encoder that follows it slowly (He et al. 2020).
#[derive(Debug, Clone)]
pub struct MomentumPair {
    /// Trained by the loss.
    pub query: Encoder,
    /// Follows the query encoder; no gradient reaches it.
    pub key: Encoder,
    momentum: f32,
}

impl MomentumPair {
    /// Two equal encoders from `seed`.
    ///
    /// # Panics
    /// As [`Encoder::new`].
    pub fn new(config: EncoderConfig, precision: Precision, seed: u64, momentum: f32) -> Self {
        let query = Encoder::new(config, seed).with_precision(precision);
        Self {
            key: query.clone(),
            query,
            momentum,
        }
    }

    /// `k ← m·k + (1 − m)·q` for every trained value; running statistics are not averaged.
    pub fn follow(&mut self) {
        optim::momentum_update(
            &mut self.key.parameters,
            &self.query.parameters,
            self.momentum,
        );
    }
}
