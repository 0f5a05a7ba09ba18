//! `eval probe` and `eval finetune`: classifiers that are trained on images by SGD.

use crate::args::{FinetuneArgs, PairArgs, ProbeArgs, SgdArgs};
use crate::console::{say, warn};
use crate::encoder::Trained;
use crate::export;
use crate::failure::{Failure, explain};
use crate::features::{outputs_of, start};
use crate::labelled::{Label, Labelled};
use crate::outputs;
use crate::progress::style;
use indicatif::ProgressBar;
use protem_data::{Decoded, Source, Subset, draw_share};
use protem_em::Output;
use protem_encoder::{EncoderConfig, Head, OnnxHead};
use protem_eval::{FinetuneConfig, FinetuneError, Finetuned, Trains, top_k};
use protem_report::counted;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// `protem eval probe`.
pub fn probe(args: ProbeArgs) -> Result<(), Failure> {
    let job = Job::new(&args.pair, &args.sgd)?;
    let config = FinetuneConfig::linear(job.trained.image_size(), args.epochs, args.lr);
    job.run(config, 1.0, "probe")
}

/// `protem eval finetune`.
pub fn finetune(args: FinetuneArgs) -> Result<(), Failure> {
    if !(args.share > 0.0 && args.share <= 1.0) {
        return Err(Failure::usage(format!(
            "--share {} must be above 0 and at most 1",
            args.share
        )));
    }
    let job = Job::new(&args.pair, &args.sgd)?;
    let size = job.trained.image_size();
    let classifier = args.classifier_lr.unwrap_or(args.lr);
    let config = FinetuneConfig::semi_supervised(size, args.epochs, args.lr, classifier);
    job.run(config, args.share, "fine-tuned")
}

/// An encoder, images, and what is common to both commands.
struct Job<'a> {
    args: &'a PairArgs,
    sgd: &'a SgdArgs,
    trained: Trained,
}

impl<'a> Job<'a> {
    fn new(args: &'a PairArgs, sgd: &'a SgdArgs) -> Result<Self, Failure> {
        start(args.threads)?;
        if let Some(out) = &sgd.out {
            export::check_target(out, &args.encoder.checkpoint)?; // before the work
        }
        let trained = Trained::open(&args.encoder)?;
        Ok(Self { args, sgd, trained })
    }

    fn run(self, config: FinetuneConfig, share: f64, word: &str) -> Result<(), Failure> {
        let config = FinetuneConfig {
            batch: self.sgd.batch,
            min_scale: self.sgd.min_scale,
            seed: self.sgd.seed,
            workers: rayon::current_num_threads(),
            ..config
        };
        config.check().map_err(|e| of_options(&e, &config))?;
        let [train, test] = Labelled::pair::<u32>(self.args, &self.trained)?;
        if let Some(out) = &self.sgd.out {
            self.check_room(out, train.folder.classes().len())?;
        }
        self.check_readable(&test)?;
        let of = self.part(&train, share);
        let found = self.train(&of, &config)?;
        let used = Used {
            all: train.folder.len(),
            images: of.len(),
            of_epoch: of.len() / found.batch * found.batch,
            share,
        };
        let protocol = self.protocol(&config, &found, &used, &train);
        // At once: what measuring may fail of must not cost it. That it was not written is told behind
        // the figure.
        let written = self.sgd.out.as_ref().map(|out| {
            let mut metadata = export::metadata(&self.trained);
            metadata.insert("image_size".into(), config.image_size.to_string());
            metadata.insert("classes".into(), names(&test).to_string());
            metadata.insert("classifier".into(), protocol.to_string());
            export::write(out, &found.encoder, Some(OnnxHead::Logits), metadata).map(|()| out)
        });
        let figure = self.measure(&found, &test).inspect_err(|_| {
            if let Some(Err(lost)) = &written {
                warn(lost);
            }
        })?;
        match self.args.json {
            true => say(figure.to_json(&protocol, found.loss)),
            false => say(format!(
                "{word} {}",
                figure.in_words(&config, &found, &used)
            )),
        }
        if let Some(out) = written.transpose()?
            && !self.args.json
        {
            say(format!("encoder and classifier in {}", out.display()));
        }
        Ok(())
    }

    /// Whether there is a test image that can be read, which would else be known behind all epochs.
    fn check_readable(&self, test: &Labelled) -> Result<(), Failure> {
        let decoded = Decoded::new(test.folder.clone(), self.trained.decode_options(), 0);
        let mut reason = None;
        for i in 0..decoded.len() {
            match decoded.read(i) {
                Ok(_) => return Ok(()),
                Err(error) => reason.get_or_insert((decoded.name(i), error)),
            };
        }
        let reason = reason.map(|(name, error)| format!(": {name} {error}"));
        Err(Failure::running(format!(
            "no image of {} can be read{}",
            test.path().display(),
            reason.unwrap_or_default()
        )))
    }

    /// Whether format and disk hold what is to be written.
    fn check_room(&self, out: &Path, classes: usize) -> Result<(), Failure> {
        let config = EncoderConfig {
            head: Head::V1,
            dim: classes,
            ..*self.trained.config()
        };
        export::check_size(out, &config, true)?;
        let (trained, running) = config.values();
        outputs::check_room(out, 4 * (trained + running) as u64)
    }

    /// The images to train on, decoded as the encoder's were.
    fn part(&self, train: &Labelled, share: f64) -> Arc<dyn Source> {
        let decoding = self.trained.decode_options();
        let all = Arc::new(Decoded::new(train.folder.clone(), decoding, 0));
        if share == 1.0 {
            return all;
        }
        let taken = draw_share(&*all, share, self.sgd.seed);
        Arc::new(Subset::new(all, taken))
    }

    fn train(&self, of: &Arc<dyn Source>, config: &FinetuneConfig) -> Result<Finetuned, Failure> {
        let bar = ProgressBar::new(1);
        bar.set_style(style("training [{bar:30}] {pos}/{len} steps, {eta} left"));
        let mut progress = |done: usize, steps: usize| {
            bar.set_length(steps as u64);
            bar.set_position(done as u64);
            true
        };
        let left_out = of.len() % config.batch.min(of.len()).max(1);
        if 10 * left_out > of.len() {
            warn(format!(
                "each epoch leaves out {left_out} of {}, which do not fill a batch; a smaller --batch leaves out fewer",
                counted(of.len(), "image")
            ));
        }
        let encoder = self.trained.encoder()?;
        let found = protem_eval::finetune(&encoder, of, config, &mut progress);
        bar.finish_and_clear();
        let found = found.map_err(|error| match &error {
            FinetuneError::NotFinite { .. } => Failure::running(format!(
                "{}: lower the learning rate with --lr",
                explain(&error)
            )),
            _ => Failure::running(explain(&error)),
        })?;
        let found = found.expect("never asked to stop");
        if found.batch < config.batch {
            warn(format!(
                "a batch has all {} that are named, fewer than --batch {}: the learning rates are for that",
                counted(found.batch, "image"),
                config.batch
            ));
        }
        for bad in &found.unreadable {
            warn(format!("skipped {}: {}", bad.name, bad.reason));
        }
        Ok(found)
    }

    /// How well the classifier does on the test images that can be read.
    fn measure(&self, found: &Finetuned, test: &Labelled) -> Result<Figure, Failure> {
        let (path, folder) = (test.path(), test.folder.clone());
        let scores = outputs_of(
            &found.encoder,
            &self.trained,
            path,
            folder,
            Output::Embedding,
        )?;
        let label = |i: &u32| u32::of(&*test.folder, *i as usize);
        let labels: Vec<u32> = scores.indices.iter().filter_map(label).collect();
        let classes = test.folder.classes();
        let top = |k| top_k(scores.features.values(), classes.len(), &labels, k);
        Ok(Figure {
            top1: top(1),
            top5: (classes.len() > 5).then(|| top(5)),
            images: labels.len(),
            test: test.describe(&scores),
        })
    }

    fn protocol(
        &self,
        config: &FinetuneConfig,
        found: &Finetuned,
        used: &Used,
        train: &Labelled,
    ) -> Value {
        let trains = match config.trains {
            Trains::Classifier => "the classifier alone, on the encoder in evaluation mode",
            Trains::All => "encoder and classifier",
        };
        let mut settings = json!(config);
        settings["batch"] = json!(found.batch);
        let settings_of = settings.as_object_mut().expect("a struct");
        settings_of.remove("workers");
        json!({
            "method": format!("softmax classifier from zero on the encoder output before the head, SGD on random crops and flips; trained: {trains}"),
            "settings": settings,
            "classes": train.folder.classes().len(),
            "train": {
                "set": train.describe_all(),
                "share": used.share,
                "images": used.images,
                "images_of_an_epoch": used.of_epoch,
                "unreadable": found.unreadable.len(),
            },
            "measured_on": self.trained.crop(),
            "encoder": self.trained.provenance(),
        })
    }
}

/// A setting that cannot be, by the option it is of.
fn of_options(error: &FinetuneError, config: &FinetuneConfig) -> Failure {
    let FinetuneError::Range {
        what,
        value,
        least,
        most,
    } = error
    else {
        return Failure::usage(explain(error));
    };
    let option = match (*what, config.trains) {
        ("encoder rate", _) | ("classifier rate", Trains::Classifier) => "lr",
        ("classifier rate", Trains::All) => "classifier-lr",
        (what, _) => what,
    };
    Failure::usage(format!(
        "--{option} {value} must lie between {least} and {most}"
    ))
}

/// Names of the classes, as JSON.
fn names(of: &Labelled) -> Value {
    json!(of.folder.classes().iter().collect::<Vec<_>>())
}

/// Images that were trained on.
struct Used {
    /// Of the whole set.
    all: usize,
    /// Of the share; in the place of one that cannot be read comes the next.
    images: usize,
    /// In whole batches.
    of_epoch: usize,
    share: f64,
}

/// What was measured.
struct Figure {
    top1: f64,
    top5: Option<f64>,
    images: usize,
    /// What the test set is.
    test: Value,
}

impl Figure {
    fn to_json(&self, protocol: &Value, loss: f64) -> Value {
        let mut protocol = protocol.clone();
        protocol["test"] = self.test.clone();
        let mut figure = json!({"protocol": protocol, "top1": self.top1, "loss": loss});
        if let Some(top5) = self.top5 {
            figure["top5"] = json!(top5);
        }
        figure
    }

    fn in_words(&self, config: &FinetuneConfig, found: &Finetuned, used: &Used) -> String {
        let top5 = self
            .top5
            .map(|top5| format!(", top-5 {:.2} %", 100.0 * top5));
        let images = match used.images == used.all {
            true => format!("{} training", used.all),
            false => format!("{} of {} training", used.images, used.all),
        };
        format!(
            "top-1 {:.2} %{} ({}, batch {}, {}, seed {}; {images} and {} test images)",
            100.0 * self.top1,
            top5.unwrap_or_default(),
            counted(config.epochs, "epoch"),
            found.batch,
            rates(config),
            config.seed,
            self.images,
        )
    }
}

/// Learning rates in words.
fn rates(config: &FinetuneConfig) -> String {
    let (encoder, classifier) = (config.encoder_rate, config.classifier_rate);
    match config.trains {
        Trains::All if encoder != classifier => {
            format!("learning rates {encoder} and {classifier}")
        }
        _ => format!("learning rate {classifier}"),
    }
}
