//! What can be wrong with settings: the value, the rule, and what would work.

use protem_data::InvalidView;

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Violation {
    /// Nothing to contrast with.
    #[error(
        "images to learn from: {images}, and contrastive learning needs at least 4; name a folder with more, or keep fewer out of training (data.held_out)"
    )]
    TooFewImages {
        /// Images of the training set.
        images: usize,
    },
    /// Not one whole batch.
    #[error(
        "optim.batch = {batch} is more than the {images} training images: an epoch needs one whole batch; \
         {images} or less would work, {suggestion} say"
    )]
    BatchExceedsImages {
        /// Images of a batch.
        batch: usize,
        /// Images of the training set.
        images: usize,
        /// Largest power of two that fits.
        suggestion: usize,
    },
    /// A batch of one, or none.
    #[error(
        "optim.batch = {batch}: a batch needs at least 2 images for batch norm and contrast; 256 is the reference's"
    )]
    BatchTooSmall {
        /// Images of a batch.
        batch: usize,
    },
    /// Not one whole step.
    #[error(
        "optim.accumulate = {accumulate}: a step takes that many batches, and an epoch of {images} images has {batches} of {batch}; \
         1 to {batches} would work"
    )]
    AccumulateExceedsEpoch {
        /// Batches of a step.
        accumulate: usize,
        /// Images of the training set.
        images: usize,
        /// Images of a batch.
        batch: usize,
        /// Whole batches of an epoch.
        batches: usize,
    },
    /// A queue that whole batches do not fill.
    #[error(
        "method.queue = {queue} is not a positive multiple of optim.batch = {batch}: keys enter by whole batches; \
         {} would work",
        neighbours(*queue, *batch)
    )]
    QueueNotMultiple {
        /// Keys asked for.
        queue: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// Parts of unequal size.
    #[error(
        "encoder.split_bn = {split_bn} does not divide optim.batch = {batch} into equal parts of at least 2; \
         {} would work",
        divisors(*batch)
    )]
    SplitBn {
        /// Parts asked for.
        split_bn: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// Parts of a batch that cannot be divided among ranks.
    #[error(
        "encoder.split_bn = {split_bn}, and there are {ranks} ranks: each normalises images of its own, so the parts must be a multiple \
         of the ranks; {} of optim.batch = {batch} would work",
        of_ranks(*ranks, *batch)
    )]
    Ranks {
        /// Parts asked for.
        split_bn: usize,
        /// Ranks there are.
        ranks: usize,
        /// Images of a batch.
        batch: usize,
    },
    /// A prototype method without prototypes.
    #[error(
        "method.clusters is empty, and mode {mode} needs at least one clustering; leave the key out for the default, \
         or take mode moco-v2"
    )]
    NoClusters {
        /// The mode.
        mode: &'static str,
    },
    /// Nothing to tell apart.
    #[error(
        "method.clusters has K = {k}: prototypes need at least 2; {suggestion} would over-cluster {images} images well"
    )]
    TooFewClusters {
        /// Prototypes asked for.
        k: usize,
        /// Images of the training set.
        images: usize,
        /// A tenth of the images.
        suggestion: usize,
    },
    /// More prototypes than images.
    #[error(
        "method.clusters has K = {k}, more than the {images} training images: a prototype needs an image; \
         2 to {images} would work, {suggestion} say"
    )]
    TooManyClusters {
        /// Prototypes asked for.
        k: usize,
        /// Images of the training set.
        images: usize,
        /// A tenth of the images.
        suggestion: usize,
    },
    /// A temperature that divides by nothing or turns the contrast round.
    #[error("{key} = {value}: a temperature must lie between 1e-30 and 1e30; {works} is usual")]
    Temperature {
        /// Which.
        key: &'static str,
        /// The value.
        value: f64,
        /// What works.
        works: f64,
    },
    /// Momentum outside `[0, 1)`.
    #[error("{key} = {value}: momentum must be at least 0 and below 1; {works} is usual")]
    Momentum {
        /// Which.
        key: &'static str,
        /// The value.
        value: f64,
        /// What works.
        works: f64,
    },
    /// A learning rate that does not learn.
    #[error(
        "optim.lr = {value}: the learning rate must be finite and above 0; 0.03 is the reference's for batches of 256"
    )]
    LearningRate {
        /// The value.
        value: f64,
    },
    /// Percentiles that clip to nothing.
    #[error(
        "e_step.percentiles = [{low}, {high}]: they must ascend within 0 to 100; [10, 90] is the reference's"
    )]
    Percentiles {
        /// The lower.
        low: f64,
        /// The upper.
        high: f64,
    },
    /// Milestones out of order.
    #[error(
        "optim.milestones = {milestones:?}: epochs must ascend, each once; [120, 160] is the reference's for 200 epochs"
    )]
    Milestones {
        /// As given.
        milestones: Vec<usize>,
    },
    /// Blur asked of a recipe without it.
    #[error(
        "augment.blur = true: recipe v1 does not blur; leave the key out, or set augment.recipe = \"v2\""
    )]
    BlurOfV1,
    /// Parts and a recipe.
    #[error(
        "augment.parts stands for a recipe: leave out augment.recipe and augment.blur, or augment.parts"
    )]
    PartsAndRecipe,
    /// Views that cannot be made.
    #[error("augment: {0}")]
    View(InvalidView),
    /// Any other number outside its range.
    #[error("{key} = {value}: must be {rule}; {works} would work")]
    OutOfRange {
        /// Which.
        key: &'static str,
        /// The value.
        value: f64,
        /// What holds of values that work.
        rule: &'static str,
        /// One of them.
        works: f64,
    },
}

fn neighbours(queue: usize, batch: usize) -> String {
    let below = queue / batch.max(1) * batch;
    let above = below + batch;
    if below == 0 {
        above.to_string()
    } else {
        format!("{below} or {above}")
    }
}

/// Parts of a batch that `ranks` can have between them.
fn of_ranks(ranks: usize, batch: usize) -> String {
    let parts = divisors_of(batch).filter(|parts| ranks > 0 && parts.is_multiple_of(ranks));
    let some: Vec<String> = parts.take(3).map(|parts| parts.to_string()).collect();
    match some.is_empty() {
        true => "no number".into(),
        false => some.join(" or "),
    }
}

fn divisors(batch: usize) -> String {
    let all: Vec<String> = divisors_of(batch)
        .take(5)
        .map(|parts| parts.to_string())
        .collect();
    all.join(", ")
}

/// Numbers of equal parts of at least 2.
fn divisors_of(batch: usize) -> impl Iterator<Item = usize> {
    // Of a batch that fits a memory, these are all that matter.
    const MOST: usize = 1 << 20;
    (1..=(batch / 2).min(MOST)).filter(move |parts| batch.is_multiple_of(*parts))
}
