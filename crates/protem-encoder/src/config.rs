//! What an encoder is made of.

use crate::error::EncoderError;
use crate::parameters::Layout;
use crate::resnet::ResNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Depth of the residual network (He et al. 2016).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// Two-convolution blocks, 2-2-2-2.
    Resnet18,
    /// Two-convolution blocks, 3-4-6-3.
    Resnet34,
    /// Bottleneck blocks, 3-4-6-3.
    Resnet50,
    /// Bottleneck blocks, 3-4-23-3.
    Resnet101,
    /// Bottleneck blocks, 3-8-36-3.
    Resnet152,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Resnet18,
        Self::Resnet34,
        Self::Resnet50,
        Self::Resnet101,
        Self::Resnet152,
    ];

    /// As it stands in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Resnet50 => "resnet50",
            Self::Resnet101 => "resnet101",
            Self::Resnet152 => "resnet152",
        }
    }

    /// Blocks per stage.
    pub fn blocks(self) -> [usize; 4] {
        match self {
            Self::Resnet18 => [2, 2, 2, 2],
            Self::Resnet34 | Self::Resnet50 => [3, 4, 6, 3],
            Self::Resnet101 => [3, 4, 23, 3],
            Self::Resnet152 => [3, 8, 36, 3],
        }
    }

    /// Channels out of a block over channels inside it.
    pub fn expansion(self) -> usize {
        match self {
            Self::Resnet18 | Self::Resnet34 => 1,
            Self::Resnet50 | Self::Resnet101 | Self::Resnet152 => 4,
        }
    }
}

/// What comes before the first stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// 3×3 convolution at full resolution, for images of about 32 pixels.
    Cifar,
    /// 7×7 convolution at stride 2 and 3×3 max-pool at stride 2.
    Imagenet,
}

impl Stem {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cifar, Self::Imagenet];

    /// As it stands in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar => "cifar",
            Self::Imagenet => "imagenet",
        }
    }

    /// Side of the images it is for.
    pub fn usual_side(self) -> u32 {
        match self {
            Self::Cifar => 32,
            Self::Imagenet => 224,
        }
    }
}

/// What maps the pooled features to the embedding that the losses see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// One linear layer (PCL v1, MoCo v1).
    V1,
    /// Linear, ReLU, linear (PCL v2, MoCo v2).
    V2,
}

/// An encoder's structure; equal configs have interchangeable weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Depth and kind of blocks.
    pub arch: Arch,
    /// What comes before the first stage.
    pub stem: Stem,
    /// Channels of the first stage; 64 is the published network.
    pub width: usize,
    /// Projection head.
    pub head: Head,
    /// Values of the embedding.
    pub dim: usize,
    /// Equal parts of a batch with batch-norm statistics of their own; 1 is plain batch norm.
    pub split_bn: usize,
}

impl EncoderConfig {
    /// Whether there can be such an encoder.
    ///
    /// # Errors
    /// A width beyond 1 to 1,024, a dim beyond 1 to 65,536, no part of a batch.
    pub fn check(&self) -> Result<(), EncoderError> {
        let rules = [
            ("width", self.width, 1..=1024),
            ("dim", self.dim, 1..=65_536),
            ("split_bn", self.split_bn, 1..=usize::MAX),
        ];
        for (key, value, allowed) in rules {
            if !allowed.contains(&value) {
                return Err(EncoderError::Config {
                    key,
                    value,
                    least: *allowed.start(),
                    most: *allowed.end(),
                });
            }
        }
        Ok(())
    }

    /// What comes before the head, in words.
    pub fn backbone(&self) -> String {
        let (arch, stem) = (self.arch.name(), self.stem.name());
        format!("{arch} with the {stem} stem and width {}", self.width)
    }

    /// The network, and where its parameters and running statistics are; no values.
    pub(crate) fn build(&self) -> (ResNet, Layout, Layout) {
        let (mut parameters, mut running) = (Layout::default(), Layout::default());
        let net = ResNet::new(self, &mut parameters, &mut running);
        (net, parameters, running)
    }

    /// Name and shape of every tensor, by torchvision.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (_, parameters, running) = self.build();
        parameters.shapes().chain(running.shapes()).collect()
    }

    /// Values per image of the pooled features, before the head.
    pub fn feature_dim(&self) -> usize {
        8 * self.width * self.arch.expansion()
    }

    /// Values of feature maps that a training step keeps of an image of `side × side` pixels, at
    /// least.
    ///
    /// # Panics
    /// If `side` or the width is zero.
    pub fn kept_values(&self, side: usize) -> usize {
        self.build().0.kept(side)
    }

    /// Multiply-adds of the convolutions, which the features of an image of `side × side` pixels take.
    ///
    /// # Panics
    /// If `side` or the width is zero.
    pub fn multiply_adds(&self, side: usize) -> u64 {
        self.build().0.multiply_adds(side)
    }

    /// Values that are trained before the head.
    pub fn trained_before_head(&self) -> usize {
        let (_, parameters, _) = self.build();
        let before = parameters
            .shapes()
            .filter(|(name, _)| !name.starts_with("fc."));
        before
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Values that are trained, and running statistics, of such an encoder; takes no memory for
    /// them.
    pub fn values(&self) -> (usize, usize) {
        let (_, parameters, running) = self.build();
        (parameters.len(), running.len())
    }
}
