//! The rules that settle what is not given, and every way settings can be wrong.

use super::{Mode, Note, Plan, Schedule, Settings, Violation};
use protem_data::{Part, Recipe};
use protem_encoder::Head;

fn with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    settings.optim.batch = 128;
    change(&mut settings);
    settings
}

fn violations(images: usize, change: impl FnOnce(&mut Settings)) -> Vec<Violation> {
    Plan::check(&with(change), images).expect_err("must be refused")
}

#[test]
fn what_is_not_given_follows_from_the_number_of_images() {
    let small = Plan::check(&with(|_| ()), 5000).unwrap();
    assert_eq!(
        (small.queue, small.clusters, small.negatives),
        (4992, vec![100, 250, 500], 500)
    );
    let imagenet = Plan::check(&with(|s| s.optim.batch = 256), 1_281_167).unwrap();
    assert_eq!((imagenet.queue, imagenet.negatives), (16_384, 16_384));
    assert_eq!(imagenet.clusters, [25_623, 64_058, 128_116]);
    let odd = Plan::check(&with(|s| s.optim.batch = 96), 1_000_000).unwrap();
    assert_eq!(odd.queue, 16_320);
    let tiny = Plan::check(&with(|s| s.optim.batch = 8), 30).unwrap();
    assert_eq!((tiny.queue, tiny.clusters), (24, vec![2, 3]));
    let large = Plan::check(&with(|s| s.optim.batch = 20_000), 50_000).unwrap();
    assert_eq!(large.queue, 20_000);
}

#[test]
fn a_mode_brings_its_head_recipe_and_schedule() {
    let v1 = Plan::check(&with(|s| s.mode = Mode::PclV1), 5000).unwrap();
    assert_eq!(
        (
            v1.encoder.head,
            v1.settings.augment.recipe,
            v1.optim.schedule
        ),
        (Head::V1, Some(Recipe::V1), Schedule::Step)
    );
    let moco = Plan::check(&with(|s| s.mode = Mode::MocoV2), 5000).unwrap();
    assert_eq!(
        (
            moco.encoder.head,
            moco.settings.augment.recipe,
            moco.optim.schedule
        ),
        (Head::V2, Some(Recipe::V2), Schedule::Cosine)
    );
    let blurs = |plan: &Plan| plan.settings.augment.blur == Some(true);
    assert!(moco.clusters.is_empty() && blurs(&moco) && !blurs(&v1));
}

#[test]
fn parts_stand_for_a_recipe() {
    let parts = vec![Part::Flip { p: 0.5 }, Part::Grayscale { p: 0.2 }];
    let own = with(|s| s.augment.parts = Some(parts.clone()));
    let plan = Plan::check(&own, 5000).unwrap();
    assert_eq!(plan.augment.config().parts, parts);
    assert_eq!(plan.augment.config().crop.scale, [0.2, 1.0]);
    let again = Plan::check(&plan.settings, 5000).unwrap();
    assert_eq!(again.augment, plan.augment);
    let both = with(|s| {
        s.augment.parts = Some(parts.clone());
        s.augment.blur = Some(false);
    });
    let violations = Plan::check(&both, 5000).unwrap_err();
    assert_eq!(violations, [Violation::PartsAndRecipe]);
    let never = with(|s| s.augment.parts = Some(vec![Part::Flip { p: 1.5 }]));
    let violations = Plan::check(&never, 5000).unwrap_err();
    assert!(
        matches!(violations[..], [Violation::View(_)]),
        "{violations:?}"
    );
}

#[test]
fn a_resolved_plan_checks_to_itself() {
    for mode in [Mode::PclV1, Mode::PclV2, Mode::MocoV1, Mode::MocoV2] {
        let first = Plan::check(&with(|s| s.mode = mode), 1234).unwrap();
        let again = Plan::check(&first.settings, 1234).unwrap();
        let differing = |plan: &Plan| Plan {
            notes: Vec::new(),
            ..plan.clone()
        };
        assert_eq!(differing(&first), differing(&again));
        let text = toml::to_string(&first.settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), first.settings);
    }
}

#[test]
fn what_works_but_not_as_asked_is_said() {
    let plan = Plan::check(
        &with(|s| {
            s.method.queue = Some(12_800);
            s.method.clusters = Some(vec![50, 500]);
            s.method.negatives = Some(300);
            s.optim.epochs = 20;
        }),
        1000,
    )
    .unwrap();
    assert_eq!((plan.queue, plan.negatives), (896, 300));
    let expected = [
        Note::QueueClamped {
            asked: 12_800,
            queue: 896,
            images: 1000,
        },
        Note::FewClusters { k: 50, batch: 128 },
        Note::FewerNegatives {
            asked: 300,
            k: 50,
            batch: 128,
        },
        Note::NoPrototypes {
            warmup_epochs: 20,
            epochs: 20,
        },
    ];
    assert_eq!(plan.notes, expected);
}

#[test]
fn settings_that_do_nothing_are_said() {
    let notes = |change: fn(&mut Settings)| {
        let notes = Plan::check(&with(change), 5000).unwrap().notes;
        let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        notes.join("\n")
    };
    let moco: fn(&mut Settings) = |s| {
        s.mode = Mode::MocoV2;
        s.method.negatives = Some(100);
        s.e_step.restarts = 2;
    };
    assert!(notes(moco).contains("method.negatives, e_step of the settings are not used"));
    assert!(notes(|s| s.optim.gamma = 0.5).contains("falls along a cosine"));
    assert!(notes(|s| (s.mode, s.optim.epochs) = (Mode::PclV1, 100)).contains("never falls"));
    assert!(notes(|s| s.encoder.shuffle_bn = true).contains("changes nothing"));
    let quiet = notes(|s| s.mode = Mode::PclV1);
    for word in ["never falls", "cosine", "not used", "changes nothing"] {
        assert!(!quiet.contains(word), "{quiet}");
    }
}

#[test]
fn the_learning_rate_follows_the_images_of_a_step_when_asked() {
    let change = |s: &mut Settings| (s.optim.accumulate, s.optim.scale_lr) = (4, true);
    let plan = Plan::check(&with(change), 5000).unwrap();
    assert!((plan.optim.lr - 0.06).abs() < 1e-12, "{}", plan.optim.lr);
    assert_eq!((plan.batches_per_epoch(), plan.steps_per_epoch()), (39, 10));
    assert_eq!(Plan::check(&with(|_| ()), 5000).unwrap().optim.lr, 0.03);
}

#[test]
fn bounds_themselves_are_allowed() {
    let change = |s: &mut Settings| {
        s.method.clusters = Some(vec![2, 256]);
        s.method.queue = Some(256);
        s.method.momentum = 0.0;
        s.encoder.split_bn = 64;
        s.optim.accumulate = 2;
    };
    assert!(Plan::check(&with(change), 256).is_ok());
}

#[test]
fn each_violation_has_its_value_and_what_would_work() {
    type Change = fn(&mut Settings);
    let cases: [(usize, Change, &str, &str); 17] = [
        (1, |_| (), "to learn from: 1,", "at least 4"),
        (100, |_| (), "optim.batch = 128", "64 say"),
        (5000, |s| s.optim.batch = 1, "optim.batch = 1", "256"),
        (
            5000,
            |s| s.optim.accumulate = 40,
            "optim.accumulate = 40",
            "1 to 39",
        ),
        (
            5000,
            |s| s.method.queue = Some(1000),
            "method.queue = 1000",
            "896 or 1024",
        ),
        (
            5000,
            |s| s.method.queue = Some(0),
            "method.queue = 0",
            "128",
        ),
        (
            5000,
            |s| s.encoder.split_bn = 3,
            "encoder.split_bn = 3",
            "1, 2, 4, 8, 16",
        ),
        (
            5000,
            |s| s.method.clusters = Some(vec![]),
            "method.clusters is empty",
            "moco-v2",
        ),
        (5000, |s| s.method.clusters = Some(vec![1]), "K = 1", "500"),
        (
            5000,
            |s| s.method.clusters = Some(vec![5001]),
            "K = 5001",
            "2 to 5000",
        ),
        (
            5000,
            |s| s.method.temperature = 0.0,
            "method.temperature = 0",
            "0.2",
        ),
        (
            5000,
            |s| s.method.momentum = 1.0,
            "method.momentum = 1",
            "0.999",
        ),
        (5000, |s| s.optim.lr = f64::NAN, "optim.lr = NaN", "0.03"),
        (
            5000,
            |s| s.e_step.percentiles = [90.0, 10.0],
            "[90, 10]",
            "[10, 90]",
        ),
        (
            5000,
            |s| s.checkpoint.every_minutes = Some(0.0),
            "checkpoint.every_minutes = 0",
            "30",
        ),
        (
            5000,
            |s| s.checkpoint.keep_every = Some(0),
            "checkpoint.keep_every = 0",
            "10",
        ),
        (
            5000,
            |s| s.checkpoint.keep_last = 0,
            "checkpoint.keep_last = 0",
            "1",
        ),
    ];
    for (images, change, value, works) in cases {
        let all = violations(images, change);
        assert_eq!(all.len(), 1, "{all:?}");
        let text = all[0].to_string();
        assert!(text.contains(value) && text.contains(works), "{text}");
    }
}

#[test]
fn all_violations_are_named_at_once() {
    let all = violations(5000, |s| {
        s.method.temperature = -1.0;
        s.method.queue = Some(7);
        s.optim.epochs = 0;
    });
    assert_eq!(all.len(), 3, "{all:?}");
}

#[test]
fn unknown_keys_and_values_are_refused() {
    assert!(toml::from_str::<Settings>("optim.learning_rate = 1").is_err());
    assert!(toml::from_str::<Settings>("precision = \"f16\"").is_err());
    assert!(toml::from_str::<Settings>("optim.batch = -1").is_err());
    assert_eq!(toml::from_str::<Settings>("").unwrap(), Settings::default());
}
