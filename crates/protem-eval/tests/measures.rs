//! Measures against slow or other implementations.

use protem_eval::{
    Agreement, Classified, ClusterConfig, DECAYS, EvalError, Features, KnnConfig, KnnResult,
    LinearConfig, LinearResult, SvmConfig, SvmResult, ami, cluster_agreement, effective_rank, knn,
    linear, svm,
};

fn waves(rows: usize, dim: usize, from: usize) -> Features {
    let values = (0..rows * dim)
        .map(|i| ((from + i) as f64).sin() as f32)
        .collect();
    Features::new(values, dim).unwrap()
}

/// kNN that is not stopped.
fn classify(
    train: &Features,
    train_labels: &[u32],
    test: &Features,
    test_labels: &[u32],
    config: &KnnConfig,
) -> Result<KnnResult, EvalError> {
    let (train, test) = (train.clone(), test.clone());
    let found = knn(train, train_labels, test, test_labels, config, &mut |_| {
        true
    })?;
    Ok(found.expect("never asked to stop"))
}

#[test]
fn knn_equals_the_obvious_one() {
    let (train, test) = (waves(131, 7, 1), waves(71, 7, 5000));
    let labels: Vec<u32> = (0..131).map(|i| i * i % 5).collect();
    let config = KnnConfig {
        k: 9,
        temperature: 0.07,
    };
    let found = classify(&train, &labels, &test, &[0; 71], &config).unwrap();
    let (a, b) = (train.clone().normalised(), test.clone().normalised());
    for (x, prediction) in b.values().chunks_exact(7).zip(&found.predictions) {
        let dot = |y: &[f32]| {
            x.iter()
                .zip(y)
                .map(|(a, b)| *a as f64 * *b as f64)
                .sum::<f64>()
        };
        let mut near: Vec<(f64, u32)> = a
            .values()
            .chunks_exact(7)
            .map(dot)
            .zip(labels.iter().copied())
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut votes = [0.0; 5];
        near[..9]
            .iter()
            .for_each(|(s, l)| votes[*l as usize] += (s / 0.07).exp());
        let best = votes.iter().copied().fold(0.0, f64::max);
        assert!(votes[*prediction as usize] > best * (1.0 - 1e-4));
    }
    let right = found.predictions.iter().filter(|p| **p == 0).count();
    assert_eq!(found.top1, right as f64 / 71.0);
}

#[test]
fn knn_finds_itself_and_clamps_k() {
    let train = waves(3, 4, 1);
    let config = KnnConfig {
        k: 1,
        ..KnnConfig::default()
    };
    assert_eq!(
        classify(&train, &[0, 1, 2], &train, &[0, 1, 2], &config)
            .unwrap()
            .top1,
        1.0
    );
    assert_eq!(
        classify(
            &train,
            &[0, 1, 2],
            &train,
            &[0, 1, 2],
            &KnnConfig::default()
        )
        .unwrap()
        .k,
        3
    );
    assert!(classify(&train, &[0, 1], &train, &[0, 1, 2], &config).is_err());
    // Numbers of classes are any, and cost no room.
    let far = [u32::MAX, 7, u32::MAX - 1];
    assert_eq!(
        classify(&train, &far, &train, &far, &config)
            .unwrap()
            .predictions,
        far
    );
}

/// Many images with few similarities, so that neighbours are equally near within and across what is
/// compared at a time: the first of them vote, each image being a class of its own.
#[test]
fn of_equally_near_images_the_first_count() {
    let values = (0..2 * 5003).map(|i| [1.0, -2.0, 0.5][i * i % 7 % 3]);
    let train = Features::new(values.collect(), 2).unwrap();
    let test = waves(301, 2, 9);
    let labels: Vec<u32> = (0..5003).collect();
    for k in [1, 2, 40, 5003] {
        let config = KnnConfig {
            k,
            temperature: 1.0,
        };
        let found = classify(&train, &labels, &test, &[0; 301], &config).unwrap();
        let (a, b) = (train.clone().normalised(), test.clone().normalised());
        for (x, prediction) in b.values().chunks_exact(2).zip(&found.predictions) {
            let dot = |y: &[f32]| x[0].mul_add(y[0], x[1] * y[1]);
            let near: Vec<f32> = a.values().chunks_exact(2).map(dot).collect();
            let most = near.iter().copied().fold(f32::MIN, f32::max);
            let first = near.iter().position(|s| *s > most - 1e-6);
            assert_eq!(Some(*prediction as usize), first, "k = {k}");
        }
    }
}

/// As the temperature goes to zero, the nearest alone counts.
#[test]
fn a_temperature_near_zero_is_the_nearest_neighbour() {
    let (train, test) = (waves(131, 7, 1), waves(71, 7, 5000));
    let labels: Vec<u32> = (0..131).collect();
    let classify = |k, temperature| {
        let config = KnnConfig { k, temperature };
        classify(&train, &labels, &test, &[0; 71], &config).unwrap()
    };
    assert_eq!(
        classify(20, 1e-12).predictions,
        classify(1, 0.07).predictions
    );
}

#[test]
fn a_temperature_that_weighs_nothing_is_refused() {
    let (train, labels) = (waves(13, 7, 1), [3; 13]);
    for temperature in [0.0, -0.07, f64::NAN, f64::INFINITY] {
        let config = KnnConfig { k: 3, temperature };
        let found = classify(&train, &labels, &train, &labels, &config);
        assert!(
            matches!(found, Err(EvalError::Temperature { .. })),
            "{temperature}"
        );
    }
}

#[test]
fn knn_stops_when_it_is_told_to() {
    let (train, labels) = (waves(131, 7, 1), [3; 131]);
    let test = waves(5000, 7, 5000);
    let mut told = Vec::new();
    let stopped = knn(
        train.clone(),
        &labels,
        test.clone(),
        &[3; 5000],
        &KnnConfig::default(),
        &mut |done| {
            told.push(done);
            false
        },
    );
    assert_eq!(stopped, Ok(None));
    assert!(matches!(told[..], [1..=5000]), "{told:?}");
    let mut last = 0;
    let whole = knn(
        train.clone(),
        &labels,
        test.clone(),
        &[3; 5000],
        &KnnConfig::default(),
        &mut |done| {
            last = done;
            true
        },
    );
    assert_eq!((whole.unwrap().unwrap().top1, last), (1.0, 5000));
}

#[test]
fn effective_rank_of_known_spectra() {
    let identity: Vec<f32> = (0..36)
        .map(|i| if i % 7 == 0 { 1.0 } else { 0.0 })
        .collect();
    assert!((effective_rank(&Features::new(identity, 6).unwrap()).unwrap() - 6.0).abs() < 1e-9);
    let collapsed = Features::new([1.0, 2.0, 3.0].repeat(20), 3).unwrap();
    assert!((effective_rank(&collapsed).unwrap() - 1.0).abs() < 1e-5);
    // x = np.sin((np.arange(200) * 7919 % 10007).astype(np.float64)).astype(np.float32)
    // s = np.linalg.svd(x.astype(np.float64).reshape(5, 40), compute_uv=False); p = s / s.sum()
    // print(np.exp(-(p * np.log(p)).sum()))
    let values = (0..200).map(|i| f64::from(i * 7919 % 10_007).sin() as f32);
    let wide = Features::new(values.collect(), 40).unwrap();
    assert!((effective_rank(&wide).unwrap() - 4.632221579447785).abs() < 1e-9);
}

#[test]
fn agreement_equals_scikit_learns() {
    // from sklearn.metrics import adjusted_mutual_info_score as ami
    // from sklearn.metrics import normalized_mutual_info_score as nmi, adjusted_rand_score as ari
    // a = [i * i % 7 for i in range(60)]; b = [(i * i * i + i) % 5 for i in range(60)]
    // for x, y in (a, b), ([0, 0, 1, 1, 2, 2], [0, 0, 1, 2, 2, 2]), ([0] * 4, [0, 1, 2, 3]),
    //         ([0] * 4, [1] * 4), ([0, 1, 2, 3], [3, 1, 0, 2]), ([0, 1, 2], [4, 4, 5]):
    //     print(ami(x, y), nmi(x, y), ari(x, y))
    let a: Vec<u32> = (0..60).map(|i| i * i % 7).collect();
    let b: Vec<u32> = (0..60u32).map(|i| (i * i * i + i) % 5).collect();
    let cases: [(&[u32], &[u32], [f64; 3]); 6] = [
        (
            &a,
            &b,
            [
                -0.041712566703012544,
                0.008802369279535338,
                -0.022206309620813682,
            ],
        ),
        (
            &[0, 0, 1, 1, 2, 2],
            &[0, 0, 1, 2, 2, 2],
            [0.5023607027202738, 0.7396673768007592, 0.4444444444444444],
        ),
        (&[0; 4], &[0, 1, 2, 3], [0.0, 0.0, 0.0]),
        (&[0; 4], &[1; 4], [1.0, 1.0, 1.0]),
        (&[0, 1, 2, 3], &[3, 1, 0, 2], [1.0, 1.0, 1.0]),
        (
            &[0, 1, 2],
            &[4, 4, 5],
            [9.61027951144476e-16, 0.7336804366512112, 0.0],
        ),
    ];
    for (a, b, expected) in cases {
        let Agreement { ami, nmi, ari } = Agreement::of(a, b).unwrap();
        for (got, want) in [ami, nmi, ari].into_iter().zip(expected) {
            assert!((got - want).abs() < 1e-9, "{a:?} {b:?}: {got}, not {want}");
        }
    }
    assert_eq!(ami(&a, &a).unwrap(), 1.0);
    // Labels are any numbers, and cost no room.
    assert_eq!(ami(&[u32::MAX, 7, 7], &[0, 1, 1]).unwrap(), 1.0);
    assert!(Agreement::of(&a, &b[1..]).is_err() && Agreement::of(&[], &[]).is_err());
    // Of one image there are no pairs.
    assert_eq!(Agreement::of(&[3], &[5]).unwrap().ari, 1.0);
}

#[test]
fn clusters_of_separate_classes_match_them() {
    // Three classes on axes of their own, a little apart within each.
    let labels: Vec<u32> = (0..60).map(|i| i % 3).collect();
    let values = labels.iter().zip(0..).flat_map(|(class, i)| {
        let mut row = [0.01 * i as f32; 3];
        row[*class as usize] = 10.0;
        row
    });
    let features = Features::new(values.collect(), 3).unwrap();
    let matched = cluster_agreement(&features, &labels, &ClusterConfig::new(3, 0)).unwrap();
    for measure in [matched.ami, matched.nmi, matched.ari] {
        assert!((measure - 1.0).abs() < 1e-12, "{matched:?}");
    }
    let other: Vec<u32> = (0..60).map(|i| i / 20).collect();
    let unrelated = cluster_agreement(&features, &other, &ClusterConfig::new(3, 0)).unwrap();
    for measure in [unrelated.ami, unrelated.nmi, unrelated.ari] {
        assert!(measure.abs() < 0.05, "{unrelated:?}");
    }
    assert!(cluster_agreement(&features, &labels, &ClusterConfig::new(61, 0)).is_err());
}

/// Images of four classes, with arbitrary numbers; what tells them apart is small beside the noise.
fn noisy(rows: usize, from: usize) -> (Features, Vec<u32>) {
    let labels: Vec<u32> = (0..rows as u32).map(|i| 10 * (i * i % 13 % 4)).collect();
    let mut values = waves(rows, 9, from).values().to_vec();
    for (row, label) in values.chunks_exact_mut(9).zip(&labels) {
        row[*label as usize / 10] += 0.35;
        row[8] = 5.0; // tells nothing
    }
    (Features::new(values, 9).unwrap(), labels)
}

fn regress(decay: Option<f64>) -> LinearResult {
    let ((train, train_labels), (test, test_labels)) = (noisy(3000, 1), noisy(700, 50_000));
    let config = LinearConfig {
        decay,
        ..LinearConfig::default()
    };
    let found = linear(
        train,
        &train_labels,
        test,
        &test_labels,
        &config,
        &mut |_, _| true,
    );
    found.unwrap().expect("never asked to stop")
}

#[test]
fn a_linear_classifier_takes_the_penalty_that_does_best_on_images_held_out() {
    let found = regress(None);
    let decays: Vec<f64> = found.tried.iter().map(|(decay, _)| *decay).collect();
    assert_eq!(decays, DECAYS);
    let best = found
        .tried
        .iter()
        .map(|(_, top1)| *top1)
        .fold(0.0, f64::max);
    let first = found.tried.iter().find(|(_, top1)| *top1 == best).unwrap();
    assert_eq!(found.decay, first.0);
    assert!(found.converged && found.top1 > 0.5, "{found:?}");
    // The classifier is the one that the penalty gives by itself.
    let alone = regress(Some(found.decay));
    assert_eq!(alone.predictions, found.predictions);
    assert!(alone.tried.is_empty());
}

#[test]
fn a_linear_classifier_is_the_same_on_any_number_of_threads() {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| regress(Some(1e-3)))
    };
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(5));
}

#[test]
fn a_linear_classifier_of_what_cannot_be_is_refused() {
    let (x, labels) = noisy(8, 1);
    let of = |labels: &[u32], decay| {
        let config = LinearConfig {
            decay,
            iterations: 100,
        };
        linear(
            x.clone(),
            labels,
            x.clone(),
            &[0; 8],
            &config,
            &mut |_, _| true,
        )
    };
    assert_eq!(of(&labels, None), Err(EvalError::NothingHeldOut { of: 5 }));
    for value in [0.0, -1.0, 1e7, f64::INFINITY] {
        assert_eq!(of(&labels, Some(value)), Err(EvalError::Decay { value }));
    }
    assert!(matches!(
        of(&labels, Some(f64::NAN)),
        Err(EvalError::Decay { .. })
    ));
    assert!(matches!(
        of(&labels[1..], Some(1.0)),
        Err(EvalError::Count { .. })
    ));
    // One class is found, whatever the image; and a stop is a stop.
    let one = of(&[7; 8], None).unwrap().unwrap();
    assert_eq!(one.predictions, [7; 8]);
    let config = LinearConfig::default();
    let stopped = linear(
        x.clone(),
        &[7; 8],
        x.clone(),
        &[7; 8],
        &config,
        &mut |_, _| false,
    );
    assert_eq!(stopped, Ok(None));
}

/// Images of several classes each, or of one; class 3 only in every 17th.
fn classified(images: usize, from: usize, one: bool) -> Classified {
    let (values, labels) = parts(images, from, one);
    Classified::new(Features::new(values, 9).unwrap(), labels, 5).unwrap()
}

/// Features and classes of those.
fn parts(images: usize, from: usize, one: bool) -> (Vec<f32>, Vec<Vec<u32>>) {
    let labels = (0..images as u32).map(|i| {
        let first = if i % 17 == 5 { 3 } else { i * i % 13 % 3 };
        let second = (first + 1 + i % 2) % 3;
        match (one, i % 4) {
            (true, _) => vec![first],
            (_, 0) => vec![],
            (_, 1) => vec![second, first],
            _ => vec![first],
        }
    });
    let labels: Vec<Vec<u32>> = labels.collect();
    let mut values = waves(images, 9, from).values().to_vec();
    for (row, classes) in values.chunks_exact_mut(9).zip(&labels) {
        classes.iter().for_each(|class| row[*class as usize] += 0.6);
    }
    (values, labels)
}

fn machines(train: &Classified, samples: &[Vec<usize>]) -> Result<Vec<SvmResult>, EvalError> {
    let test = classified(301, 50_000, false);
    let config = SvmConfig::default();
    let found = svm(train.clone(), test, samples, &config, &|_, _| true)?;
    Ok(found.expect("never asked to stop"))
}

#[test]
fn machines_rank_images_of_several_classes_by_each() {
    let train = classified(801, 1, false);
    let all: Vec<usize> = (0..801).collect();
    let found = machines(&train, std::slice::from_ref(&all))
        .unwrap()
        .remove(0);
    assert_eq!(found.ap.len(), 5);
    assert_eq!(
        (found.ap[4], found.top1, found.unconverged),
        (None, None, 0)
    );
    let ap: Vec<f64> = found.ap.iter().copied().flatten().collect();
    assert_eq!(found.map, ap.iter().sum::<f64>() / 4.0);
    // Chance is the share of a class, from 1/17 to a half.
    assert!(found.map > 0.6, "{found:?}");
    // The order of the images does not count beyond rounding, nor does a sample beside others.
    let backwards: Vec<usize> = all.iter().rev().copied().collect();
    let both = machines(&train, &[backwards, all]).unwrap();
    assert!((both[0].map - found.map).abs() < 1e-6, "{both:?}");
    assert_eq!(both[1], found);
}

#[test]
fn machines_of_one_class_an_image_find_it_too() {
    let (train, test) = (classified(801, 1, true), classified(301, 50_000, true));
    let config = SvmConfig::default();
    let all = vec![(0..801).collect()];
    let found = svm(train, test, &all, &config, &|_, _| true);
    let found = found.unwrap().unwrap().remove(0);
    assert!(found.top1.is_some_and(|top1| top1 > 0.6), "{found:?}");
}

/// One image is enough of a class; and what only has, or lacks, a class is learnt from as well.
#[test]
fn machines_learn_from_few_images() {
    let train = classified(801, 1, false);
    let samples: Vec<Vec<usize>> = (0..5).map(|draw| train.shots(1, draw, 3)).collect();
    let found = machines(&train, &samples).unwrap();
    for one in &found {
        assert!(
            one.map > 0.2 && one.map < 0.9 && one.unconverged == 0,
            "{one:?}"
        );
    }
    assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
    let only = found_of(
        &train,
        (0..801).filter(|i| i % 4 == 2 && i * i % 13 % 3 == 0),
    );
    assert!(only.ap[0].is_some() && only.unconverged == 0, "{only:?}");
    // An image that is there three times counts as three.
    let (images, (values, labels)) = ([1, 2, 3, 3, 3], parts(801, 1, false));
    let values = images.map(|i| &values[i * 9..][..9]).concat();
    let labels = images.map(|i| labels[i].clone()).to_vec();
    let copies = Classified::new(Features::new(values, 9).unwrap(), labels, 5).unwrap();
    assert_eq!(found_of(&train, images), found_of(&copies, 0..5));
    assert_ne!(found_of(&train, images), found_of(&train, [1, 2, 3]));
}

fn found_of(train: &Classified, images: impl IntoIterator<Item = usize>) -> SvmResult {
    let sample: Vec<usize> = images.into_iter().collect();
    machines(train, &[sample]).unwrap().remove(0)
}

#[test]
fn machines_are_the_same_on_any_number_of_threads() {
    let train = classified(401, 1, false);
    let samples = [(0..401).collect(), train.shots(4, 0, 0)];
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap()
            .install(|| machines(&train, &samples).unwrap())
    };
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(5));
}

#[test]
fn machines_tell_how_far_they_are_and_stop_when_they_are_told() {
    let train = classified(401, 1, false);
    let samples = [(0..401).collect(), train.shots(1, 0, 0), vec![0, 2]];
    let told = std::sync::Mutex::new(Vec::new());
    // As long as no more fits are done than so many.
    let run = |most: Option<usize>| {
        let progress = |done, fits| {
            told.lock().unwrap().push((done, fits));
            most.is_some_and(|most| done < most)
        };
        let test = classified(301, 50_000, false);
        let config = SvmConfig::default();
        svm(train.clone(), test, &samples, &config, &progress).unwrap()
    };
    assert!(run(Some(usize::MAX)).is_some());
    let mut fits = std::mem::take(&mut *told.lock().unwrap());
    fits.sort_unstable();
    // Four classes, four, and those that the two images have.
    let expected = 4 + 4 + 1;
    let all: Vec<(usize, usize)> = (0..=expected).map(|done| (done, expected)).collect();
    assert_eq!(fits, all);
    assert_eq!(run(None), None);
    assert_eq!(told.lock().unwrap().len(), 1);
    // In the middle as well: fits under way come to their ends.
    told.lock().unwrap().clear();
    assert_eq!(run(Some(2)), None);
    assert!(told.lock().unwrap().len() <= 1 + 4);
}

#[test]
fn machines_of_what_cannot_be_are_refused() {
    let train = classified(41, 1, false);
    let outside = EvalError::Image {
        image: 41,
        images: 41,
    };
    assert_eq!(machines(&train, &[vec![0, 41]]), Err(outside));
    // Image 0 has no class, and without images there is none.
    for sample in [vec![0], vec![]] {
        assert_eq!(machines(&train, &[sample]), Err(EvalError::NothingMeasured));
    }
    let with = |test: Classified, cost| {
        let config = SvmConfig {
            cost,
            ..SvmConfig::default()
        };
        svm(train.clone(), test, &[vec![1, 2]], &config, &|_, _| true)
    };
    for value in [0.0, -1.0, 1e7, f64::INFINITY, f64::NAN] {
        let found = with(train.clone(), value);
        assert!(matches!(found, Err(EvalError::Cost { .. })), "{value}");
    }
    for (dim, classes) in [(8, 5), (9, 4)] {
        let other = Classified::new(waves(3, dim, 1), vec![vec![0]; 3], classes).unwrap();
        let found = with(other, 0.5);
        assert!(matches!(found, Err(EvalError::Count { .. })), "{found:?}");
    }
    // At either end there is a classifier, if not always in the iterations there are.
    for cost in [1e-300, 1e6] {
        let found = with(train.clone(), cost).unwrap().unwrap().remove(0);
        assert!(found.map.is_finite(), "{found:?}");
    }
}
