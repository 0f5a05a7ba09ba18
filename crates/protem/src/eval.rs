//! What a trained encoder is worth: `eval knn`, `eval linear` and `eval ami`; and what `eval svm` has in
//! common with them.

use crate::args::{AmiArgs, KnnArgs, LinearArgs, PairArgs};
use crate::console::{say, warn};
use crate::encoder::Trained;
use crate::failure::{Failure, explain};
use crate::features::{image_bar, start};
use crate::labelled::{Label, Labelled};
use crate::progress::style;
use indicatif::ProgressBar;
use protem_data::ClassNames;
use protem_em::Output;
use protem_eval::{
    Agreement, ClusterConfig, EvalError, Features, HELD_OUT, KnnConfig, LinearConfig, LinearResult,
};
use protem_report::counted;
use serde_json::json;

/// Features of two sets with the same classes: one to learn from, one to be measured on.
pub struct Pair<L> {
    trained: Trained,
    /// With the classes of each image.
    pub train: (Features, Vec<L>),
    /// Likewise.
    pub test: (Features, Vec<L>),
    /// The classes that both have.
    pub classes: ClassNames,
    /// What the sets are.
    described: [serde_json::Value; 2],
}

impl<L: Label> Pair<L> {
    /// Encodes the sets that are named, or those of the run.
    pub fn of(args: &PairArgs) -> Result<Self, Failure> {
        let trained = Trained::open(&args.encoder)?;
        let [train, test] = &Labelled::pair::<L>(args, &trained)?;
        let (of_train, train_labels) = train.features(&trained, Output::Features)?;
        let (of_test, test_labels) = test.features(&trained, Output::Features)?;
        Ok(Self {
            classes: train.folder.classes().clone(),
            described: [train.describe(&of_train), test.describe(&of_test)],
            train: (of_train.features, train_labels),
            test: (of_test.features, test_labels),
            trained,
        })
    }

    /// How many images there are, in words.
    pub fn images(&self) -> String {
        let (train, test) = (self.train.1.len(), self.test.1.len());
        format!("{train} training and {test} test images")
    }

    /// What a measure of them is a measure of.
    pub fn protocol(&self, method: &str) -> serde_json::Value {
        let [train, test] = &self.described;
        json!({
            "method": method,
            "features": format!("encoder output before the head, evaluation mode, {}", self.trained.crop()),
            "feature_dim": self.train.0.dim(),
            "classes": self.classes.len(),
            "encoder": self.trained.provenance(),
            "train": train,
            "test": test,
        })
    }
}

/// A measure that was not asked to stop.
pub fn whole<T>(bar: &ProgressBar, measured: Result<Option<T>, EvalError>) -> Result<T, Failure> {
    bar.finish_and_clear();
    let measured = measured.map_err(|e| Failure::running(explain(&e)))?;
    Ok(measured.expect("never asked to stop"))
}

/// `protem eval knn`.
pub fn knn(args: KnnArgs) -> Result<(), Failure> {
    start(args.pair.threads)?;
    let positive = args.temperature.is_finite() && args.temperature > 0.0;
    if args.k == 0 || !positive {
        return Err(Failure::usage(
            "--k must be at least 1 and --temperature above 0",
        ));
    }
    let pair = Pair::of(&args.pair)?;
    let mut protocol = pair.protocol("weighted kNN, cosine similarity");
    let (images, bar) = (pair.images(), image_bar(pair.test.1.len(), "kNN".into()));
    let config = KnnConfig {
        k: args.k,
        temperature: args.temperature,
    };
    let ((train, train_labels), (test, test_labels)) = (pair.train, pair.test);
    let mut progress = |done| {
        bar.set_position(done as u64);
        true
    };
    let measured = protem_eval::knn(
        train,
        &train_labels,
        test,
        &test_labels,
        &config,
        &mut progress,
    );
    let result = whole(&bar, measured)?;
    if result.k < args.k {
        warn(format!(
            "there are {} training images, all of which vote",
            result.k
        ));
    }
    if !args.pair.json {
        say(format!(
            "kNN top-1 {:.2} % ({}, cosine, temperature {}; {images})",
            100.0 * result.top1,
            counted(result.k, "neighbour"),
            args.temperature,
        ));
        return Ok(());
    }
    protocol["k"] = json!(result.k);
    protocol["temperature"] = json!(args.temperature);
    say(json!({"protocol": protocol, "top1": result.top1}));
    Ok(())
}

/// `protem eval linear`.
pub fn linear(args: LinearArgs) -> Result<(), Failure> {
    start(args.pair.threads)?;
    let config = LinearConfig {
        decay: args.decay,
        ..LinearConfig::default()
    };
    config
        .check()
        .map_err(|e| Failure::usage(format!("--decay: {e}")))?;
    let pair = Pair::of(&args.pair)?;
    let mut protocol = pair.protocol(
        "multinomial logistic regression on standardised features: mean cross-entropy + decay/2 of the weights' squares over all training images, by L-BFGS",
    );
    let (images, bar) = (pair.images(), fit_bar("linear"));
    let ((train, train_labels), (test, test_labels)) = (pair.train, pair.test);
    let mut progress = |done: usize, fits: usize| {
        bar.set_length(fits as u64);
        bar.set_position(done as u64);
        true
    };
    let measured = protem_eval::linear(
        train,
        &train_labels,
        test,
        &test_labels,
        &config,
        &mut progress,
    );
    if let Err(EvalError::NothingHeldOut { of }) = measured {
        return Err(Failure::usage(format!(
            "no class to learn from has {of} images, so that none can be held out to choose a decay by: give one with --decay"
        )));
    }
    let result = whole(&bar, measured)?;
    warn_of_fit(&result, &config);
    let among = match result.tried.len() {
        0 => String::new(),
        n => format!(", the best of {n} for one in {HELD_OUT} training images held out"),
    };
    if !args.pair.json {
        say(format!(
            "linear top-1 {:.2} % (logistic regression, decay {}{among}; {images})",
            100.0 * result.top1,
            result.decay,
        ));
        return Ok(());
    }
    protocol["decay"] = json!(result.decay);
    if !result.tried.is_empty() {
        let row = |(decay, top1): &(f64, f64)| json!({"decay": decay, "top1": top1});
        protocol["chosen_by"] = json!({
            "held_out": format!("every {HELD_OUT}th training image of a class"),
            "tried": result.tried.iter().map(row).collect::<Vec<_>>(),
        });
    }
    protocol["iterations"] = json!(result.iterations);
    protocol["converged"] = json!(result.converged);
    say(json!({"protocol": protocol, "top1": result.top1}));
    Ok(())
}

/// Says what may be better than the classifier.
fn warn_of_fit(found: &LinearResult, config: &LinearConfig) {
    if !found.converged {
        let iterations = counted(found.iterations, "iteration");
        let why = match found.iterations < config.iterations {
            true => format!("after {iterations} rounding hides what is left to gain"),
            false => format!("{iterations} were not enough"),
        };
        warn(format!(
            "the classifier is not quite the best of its kind: {why}"
        ));
    }
    let is_best = |tried: Option<&(f64, f64)>| tried.is_some_and(|tried| tried.0 == found.decay);
    let end = match (is_best(found.tried.first()), is_best(found.tried.last())) {
        (true, _) => "strongest",
        (_, true) => "weakest",
        _ => return,
    };
    warn(format!(
        "of the decays tried the {end} did best: another beyond it may do better, and --decay takes it"
    ));
}

/// A bar of fits done.
pub fn fit_bar(what: &'static str) -> ProgressBar {
    ProgressBar::new(1)
        .with_style(style("{msg} [{bar:30}] {pos}/{len} fits, {elapsed}"))
        .with_message(what)
}

/// `protem eval ami`.
pub fn cluster_agreement(args: AmiArgs) -> Result<(), Failure> {
    start(args.threads)?;
    let trained = Trained::open(&args.encoder)?;
    let output = args.what.output();
    trained.check(output)?;
    let (clustered, in_protocol) = match output {
        Output::Features => ("features", "encoder output before the head"),
        Output::Embedding => ("embeddings", "embedding"),
    };
    let data = Labelled::open::<u32>(&args.data)?;
    let images = data.folder.len();
    if args.k < 2 || args.k > images {
        return Err(Failure::usage(format!(
            "--k {} must lie between 2 and the {images} images",
            args.k
        )));
    }
    let config = ClusterConfig::new(args.k, args.seed);
    let (found, labels) = data.features(&trained, output)?;
    if args.k > labels.len() {
        return Err(Failure::running(format!(
            "{} of the {images} images can be read, fewer than --k {}: ask for fewer clusters",
            labels.len(),
            args.k
        )));
    }
    let Agreement { ami, nmi, ari } =
        protem_eval::cluster_agreement(&found.features, &labels, &config)
            .map_err(|e| Failure::running(explain(&e)))?;
    if !args.json {
        // What is 0 but for rounding has no sign.
        let [ami, nmi, ari] = [ami, nmi, ari].map(|x| if x.abs() < 5e-5 { 0.0 } else { x });
        say(format!(
            "AMI {ami:.4}, NMI {nmi:.4}, ARI {ari:.4} of {} clusters (k-means of normalised {clustered}, {}, seed {}) with {} classes ({} images)",
            args.k,
            counted(config.restarts, "restart"),
            args.seed,
            data.folder.classes().len(),
            labels.len()
        ));
        return Ok(());
    }
    let protocol = json!({
        "method": "AMI, NMI (both over the arithmetic mean of the entropies) and ARI of k-means clusters with the classes",
        "features": format!("L2-normalised {in_protocol}, evaluation mode, {}", trained.crop()),
        "classes": data.folder.classes().len(),
        "encoder": trained.provenance(),
        "k": args.k,
        "iterations": config.iterations,
        "restarts": config.restarts,
        "seed": args.seed,
        "data": data.describe(&found),
    });
    say(json!({"protocol": protocol, "ami": ami, "nmi": nmi, "ari": ari}));
    Ok(())
}
