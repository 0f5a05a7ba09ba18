//! `eval svm`: how well linear SVMs rank images for each class, having learnt from many or few.

use crate::args::SvmArgs;
use crate::console::{say, warn};
use crate::eval::{Pair, fit_bar, whole};
use crate::failure::{Failure, explain};
use crate::features::start;
use protem_data::ClassNames;
use protem_eval::{Classified, EvalError, POSITIVE_WEIGHT, SvmConfig, SvmResult};
use protem_report::counted;
use serde_json::{Value, json};

/// Draws there may be: the images of all are drawn beforehand.
const MOST_DRAWS: u32 = 1000;

/// `protem eval svm`.
pub fn run(args: SvmArgs) -> Result<(), Failure> {
    start(args.pair.threads)?;
    let config = checked(&args)?;
    let pair = Pair::<Vec<u32>>::of(&args.pair)?;
    let mut protocol = protocol(&pair, &args);
    let (images, classes) = (pair.images(), pair.classes);
    let of = |(features, labels)| {
        let set = Classified::new(features, labels, classes.len());
        set.map_err(|e| Failure::running(explain(&e)))
    };
    let (train, test) = (of(pair.train)?, of(pair.test)?);
    warn_of_few(&train, &classes, &args.shots);
    let samples = samples(&train, &args);
    let bar = fit_bar("SVM");
    let progress = |done: usize, fits: usize| {
        bar.set_length(fits as u64);
        bar.inc(done.min(1) as u64); // one more, whichever it is: threads may tell them in any order
        true
    };
    let measured = protem_eval::svm(train, test, &samples, &config, &progress);
    if let Err(e @ EvalError::NothingMeasured) = measured {
        return Err(Failure::usage(format!("{e}: name others")));
    }
    let results = whole(&bar, measured)?;
    let measured = warn_of_results(&results, &classes, &config);
    protocol["classes_measured"] = json!(measured);
    protocol["converged"] = json!(results.iter().all(|r| r.unconverged == 0));
    if args.pair.json {
        say(to_json(protocol, &results, &classes, &args));
        return Ok(());
    }
    let of = format!("{}, C {}", counted_classes(measured), args.cost);
    if args.shots.is_empty() {
        let percent = |measure: f64| format!("{:.2} %", 100.0 * measure);
        let top1 = results[0].top1.map(percent);
        let top1 = top1.map_or(String::new(), |top1| format!(", top-1 {top1}"));
        let map = percent(results[0].map);
        say(format!("SVM mAP {map}{top1} ({of}; {images})"));
        return Ok(());
    }
    let draws = counted(args.draws as usize, "draw");
    let seed = args.seed;
    say(format!(
        "SVM after learning from few images of each class, mean ± deviation of {draws} ({of}, seed {seed}; {images})"
    ));
    for (shots, results) in args.shots.iter().zip(by_shots(&results, &args)) {
        let (map, top1) = measures(results);
        let top1 = top1.map_or(String::new(), |top1| format!("  top-1 {}", percent(&top1)));
        say(format!("{shots:>5}  mAP {}{top1}", percent(&map)));
    }
    Ok(())
}

/// Whether the arguments can be followed.
fn checked(args: &SvmArgs) -> Result<SvmConfig, Failure> {
    let config = SvmConfig {
        cost: args.cost,
        ..SvmConfig::default()
    };
    config
        .check()
        .map_err(|e| Failure::usage(format!("--cost: {e}")))?;
    if args.shots.contains(&0) {
        return Err(Failure::usage("--shots must all be at least 1"));
    }
    match (1..=MOST_DRAWS).contains(&args.draws) {
        true => Ok(config),
        false => Err(Failure::usage(format!(
            "--draws {} must lie between 1 and {MOST_DRAWS}",
            args.draws
        ))),
    }
}

/// Images to learn from: all, or those of each draw, number by number.
fn samples(train: &Classified, args: &SvmArgs) -> Vec<Vec<usize>> {
    if args.shots.is_empty() {
        return vec![(0..train.images()).collect()];
    }
    let draws = |shots| (0..args.draws).map(move |draw| train.shots(shots, draw, args.seed));
    args.shots.iter().flat_map(|shots| draws(*shots)).collect()
}

/// The results of the draws of each number of shots.
fn by_shots<'a>(
    results: &'a [SvmResult],
    args: &SvmArgs,
) -> impl Iterator<Item = &'a [SvmResult]> + use<'a> {
    results.chunks(args.draws as usize)
}

/// What all of some results measured: mAP and, where each image has one class, top-1.
fn measures(results: &[SvmResult]) -> (Vec<f64>, Option<Vec<f64>>) {
    let map = results.iter().map(|result| result.map).collect();
    (map, results.iter().map(|result| result.top1).collect())
}

/// Mean, and deviation as numpy's: the root of the mean of the squares.
fn mean_and_deviation(all: &[f64]) -> (f64, f64) {
    let n = all.len() as f64;
    let mean = all.iter().sum::<f64>() / n;
    let squares = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    (mean, (squares / n).sqrt())
}

fn percent(all: &[f64]) -> String {
    let (mean, deviation) = mean_and_deviation(all);
    format!("{:.2} ± {:.2} %", 100.0 * mean, 100.0 * deviation)
}

fn counted_classes(count: usize) -> String {
    match count {
        1 => "1 class".into(),
        n => format!("{n} classes"),
    }
}

/// What is measured, and how.
fn protocol(pair: &Pair<Vec<u32>>, args: &SvmArgs) -> Value {
    let mut protocol = pair.protocol(
        "mean over the classes of the average precision of linear SVMs, one against all others: half the squares of weights and bias + cost times the class-weighted sum of squared hinge losses, by L-BFGS (scikit-learn's LinearSVC)",
    );
    protocol["normalisation"] = json!("divided by (length + 1e-5)");
    protocol["cost"] = json!(args.cost);
    protocol["class_weight"] = json!({"positive": POSITIVE_WEIGHT, "negative": 1});
    protocol["negatives"] = json!(
        "all images without the class, in training and test; of VOC's lists those with a 0 (difficult objects alone) too"
    );
    protocol["average_precision"] =
        json!("area under the envelope of precision over recall, equal scores ranked together");
    if !args.shots.is_empty() {
        protocol["learnt_from"] = json!({
            "shots": args.shots,
            "draws": args.draws,
            "seed": args.seed,
            "drawn": "for each class so many of the training images that have it, all where there are fewer; an image drawn for several classes counts as often, with all its classes",
            "deviation": "root of the mean square over the draws",
        });
    }
    protocol
}

fn to_json(protocol: Value, results: &[SvmResult], classes: &ClassNames, args: &SvmArgs) -> Value {
    if let ([one], true) = (results, args.shots.is_empty()) {
        let classes = classes.iter().zip(&one.ap);
        let ap = classes.map(|(class, ap)| json!({"class": class, "ap": ap}));
        let mut found = json!({"protocol": protocol, "map": one.map, "ap": ap.collect::<Vec<_>>()});
        if let Some(top1) = one.top1 {
            found["top1"] = json!(top1);
        }
        return found;
    }
    let of_draws = |all: Vec<f64>| {
        let (mean, deviation) = mean_and_deviation(&all);
        json!({"mean": mean, "deviation": deviation, "draws": all})
    };
    let row = |(shots, results): (&usize, &[SvmResult])| {
        let (map, top1) = measures(results);
        let mut row = json!({"shots": shots, "map": of_draws(map)});
        if let Some(top1) = top1 {
            row["top1"] = of_draws(top1);
        }
        row
    };
    let rows = args.shots.iter().zip(by_shots(results, args)).map(row);
    json!({"protocol": protocol, "low_shot": rows.collect::<Vec<_>>()})
}

/// Says which classes have fewer images than are to be drawn.
fn warn_of_few(train: &Classified, classes: &ClassNames, shots: &[usize]) {
    let Some(most) = shots.iter().max() else {
        return;
    };
    let members = train.members();
    let few = (0..members.len()).filter(|class| (1..*most).contains(&members[*class].len()));
    let few: Vec<usize> = few.collect();
    if let Some(fewest) = few.iter().min_by_key(|class| members[**class].len()) {
        let (count, most) = (counted_classes(few.len()), counted(*most, "image"));
        warn(format!(
            "{count} with fewer than {most} to learn from, {} with {}: all of theirs are in each draw",
            classes.get(*fewest).unwrap_or_default(),
            members[*fewest].len(),
        ));
    }
}

/// Says what a figure leaves out, and whether classifiers may be better; answers how many classes it is
/// of.
fn warn_of_results(results: &[SvmResult], classes: &ClassNames, config: &SvmConfig) -> usize {
    // In each draw every class has an image, if it has any.
    let ap = results.first().map_or(&[][..], |result| &result.ap);
    let left_out = classes.iter().zip(ap).filter(|(_, ap)| ap.is_none());
    let left_out: Vec<String> = left_out.map(|(class, _)| class.into_owned()).collect();
    let measured = ap.len() - left_out.len();
    if !left_out.is_empty() {
        warn(format!(
            "not measured, as no training image has it or no test image: {:?}",
            ClassNames::from(left_out)
        ));
    }
    let unconverged: usize = results.iter().map(|result| result.unconverged).sum();
    if unconverged > 0 {
        warn(format!(
            "{} not quite the best of their kind, in {} at most; a lower --cost is easier",
            counted(unconverged, "classifier"),
            counted(config.iterations, "iteration"),
        ));
    }
    measured
}
