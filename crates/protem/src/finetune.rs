//! `eval probe` and `eval finetune`: classifiers that are trained on images by SGD.

use crate::args::{FinetuneArgs, PairArgs, ProbeArgs, SgdArgs};
use crate::console::{counted, say, warn};
use crate::encoder::Trained;
use crate::export;
use crate::failure::{Failure, explain};
use crate::features::{outputs_of, start};
use crate::labelled::{Label, Labelled};
use indicatif::{ProgressBar, ProgressStyle};
use protem_data::{Decoded, Source, Subset, split_held_out};
use protem_em::Output;
use protem_eval::{FinetuneConfig, FinetuneError, Finetuned, top_k};
use serde_json::json;
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
        config.check().map_err(|e| Failure::usage(explain(&e)))?;
        let [train, test] = Labelled::pair::<u32>(self.args, &self.trained)?;
        let (of, all) = (self.part(&train, share), train.folder.len());
        let found = self.train(&of, &config)?;
        let (test_images, labels) = self.scores(&found, &test)?;
        let classes = train.folder.classes();
        let top = |k| top_k(test_images.features.values(), classes.len(), &labels, k);
        let (top1, top5) = (top(1), (classes.len() > 5).then(|| top(5)));
        if let Some(out) = &self.sgd.out {
            let mut metadata = export::metadata(&self.trained);
            let names: Vec<_> = classes.iter().collect();
            metadata.insert("classes".into(), json!(names).to_string());
            export::write(out, &found.encoder, true, &metadata)?;
        }
        if self.args.json {
            let mut protocol = self.protocol(&config, &found);
            protocol["classes"] = json!(classes.len());
            protocol["train"] = json!({"set": train.describe_all(), "share": share, "images": of.len(), "unreadable": found.unreadable.len()});
            protocol["test"] = test.describe(&test_images);
            let mut figure = json!({"protocol": protocol, "top1": top1, "loss": found.loss});
            if let Some(top5) = top5 {
                figure["top5"] = json!(top5);
            }
            say(figure);
            return Ok(());
        }
        let top5 = top5.map_or(String::new(), |top5| {
            format!(", top-5 {:.2} %", 100.0 * top5)
        });
        let images = match of.len() == all {
            true => format!("{all} training"),
            false => format!("{} of {all} training", of.len()),
        };
        say(format!(
            "{word} top-1 {:.2} %{top5} ({}, batch {}, {}, seed {}; {images} and {} test images)",
            100.0 * top1,
            counted(config.epochs, "epoch"),
            found.batch,
            rates(&config),
            config.seed,
            labels.len(),
        ));
        if let Some(out) = &self.sgd.out {
            say(format!("encoder and classifier in {}", out.display()));
        }
        Ok(())
    }

    /// The images to train on, decoded as the encoder's were.
    fn part(&self, train: &Labelled, share: f64) -> Arc<dyn Source> {
        let decoding = self.trained.decode_options();
        let all = Arc::new(Decoded::new(train.folder.clone(), decoding, 0));
        if share == 1.0 {
            return all;
        }
        let (_, taken) = split_held_out(&*all, share, self.sgd.seed);
        Arc::new(Subset::new(all, taken))
    }

    fn train(&self, of: &Arc<dyn Source>, config: &FinetuneConfig) -> Result<Finetuned, Failure> {
        let style =
            ProgressStyle::with_template("training [{bar:30}] {pos}/{len} steps, {eta} left");
        let bar =
            ProgressBar::new(1).with_style(style.expect("a fixed template").progress_chars("=> "));
        let mut progress = |done: usize, steps: usize| {
            bar.set_length(steps as u64);
            bar.set_position(done as u64);
            true
        };
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
                "there are {} to train on, which are a batch",
                counted(found.batch, "image")
            ));
        }
        for bad in &found.unreadable {
            warn(format!("skipped {}: {}", bad.name, bad.reason));
        }
        Ok(found)
    }

    /// Scores of the test images that can be read, and their classes.
    fn scores(
        &self,
        found: &Finetuned,
        test: &Labelled,
    ) -> Result<(crate::features::FolderFeatures, Vec<u32>), Failure> {
        let (path, folder) = (test.path(), test.folder.clone());
        let scores = outputs_of(
            &found.encoder,
            &self.trained,
            path,
            folder,
            Output::Embedding,
        )?;
        let label = |i: &u32| u32::of(&*test.folder, *i as usize);
        let labels = scores.indices.iter().filter_map(label).collect();
        Ok((scores, labels))
    }

    fn protocol(&self, config: &FinetuneConfig, found: &Finetuned) -> serde_json::Value {
        let trains = match config.trains {
            protem_eval::Trains::Classifier => {
                "the classifier alone, on the encoder in evaluation mode"
            }
            protem_eval::Trains::All => "encoder and classifier",
        };
        let mut settings = json!(config);
        settings["batch"] = json!(found.batch);
        settings
            .as_object_mut()
            .expect("a struct")
            .remove("workers");
        json!({
            "method": format!("softmax classifier from zero on the encoder output before the head, SGD on random crops and flips; trained: {trains}"),
            "settings": settings,
            "measured_on": self.trained.crop(),
            "encoder": self.trained.provenance(),
        })
    }
}

/// Learning rates in words.
fn rates(config: &FinetuneConfig) -> String {
    let (encoder, classifier) = (config.encoder_rate, config.classifier_rate);
    match config.trains {
        protem_eval::Trains::All if encoder != classifier => {
            format!("learning rates {encoder} and {classifier}")
        }
        _ => format!("learning rate {classifier}"),
    }
}
