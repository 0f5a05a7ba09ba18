//! The ring of keys and the drawing of negatives.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use protem_loss::{LossError, NegativeStream, Queue, sample_negatives};

fn stream(seed: u64, step: u64, clustering: u64) -> NegativeStream {
    NegativeStream {
        seed,
        step,
        clustering,
    }
}

fn constant(value: f32, rows: usize, dim: usize) -> Tensor {
    Tensor::full(value, (rows, dim), &Device::Cpu).unwrap()
}

fn first_column(queue: &Queue) -> Vec<f32> {
    let column = queue.tensor().narrow(1, 0, 1).unwrap();
    column.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn initial_rows_are_isotropic_unit_vectors() {
    let queue = Queue::new(4000, 8, 1, 5).unwrap();
    let rows = queue.tensor().to_vec2::<f32>().unwrap();
    let mut mean = [0f64; 8];
    for row in &rows {
        let norm: f32 = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((norm - 1.0).abs() < 1e-6);
        for (m, x) in mean.iter_mut().zip(row) {
            *m += f64::from(*x) / 4000.0;
        }
    }
    // A coordinate has variance 1/8, its mean over 4000 rows a deviation of 0.0056.
    assert!(mean.iter().all(|m| m.abs() < 5.0 * 0.0056), "{mean:?}");
    let again = Queue::new(4000, 8, 1, 5).unwrap();
    assert_eq!(rows, again.tensor().to_vec2::<f32>().unwrap());
    let other = Queue::new(4000, 8, 1, 6).unwrap();
    assert_ne!(rows, other.tensor().to_vec2::<f32>().unwrap());
}

#[test]
fn a_push_overwrites_the_oldest_and_wraps() {
    let mut queue = Queue::new(6, 3, 1, 1).unwrap();
    assert_eq!((queue.pointer(), queue.filled(), queue.len()), (0, 0, 6));
    for (push, pointer, filled) in [(1, 2, 2), (2, 4, 4), (3, 0, 6), (4, 2, 6)] {
        queue.push(&constant(push as f32, 2, 3)).unwrap();
        assert_eq!((queue.pointer(), queue.filled()), (pointer, filled));
    }
    assert_eq!(first_column(&queue), [4.0, 4.0, 2.0, 2.0, 3.0, 3.0]);
}

#[test]
fn a_push_may_straddle_the_end() {
    let mut queue = Queue::from_parts(vec![0.0; 12], 2, 5, 5).unwrap();
    let keys = Tensor::new(&[[1f32, 1.0], [2.0, 2.0], [3.0, 3.0]], &Device::Cpu).unwrap();
    queue.push(&keys).unwrap();
    assert_eq!(first_column(&queue), [2.0, 3.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!((queue.pointer(), queue.filled()), (2, 6));
}

#[test]
fn keys_cut_from_the_queue_may_be_pushed() {
    let mut queue = Queue::new(4, 2, 1, 1).unwrap();
    let before = first_column(&queue);
    let keys = queue.tensor().narrow(0, 2, 2).unwrap();
    queue.push(&keys).unwrap();
    assert_eq!(
        first_column(&queue),
        [before[2], before[3], before[2], before[3]]
    );
}

#[test]
fn parts_are_a_copy_and_lead_back() {
    let mut queue = Queue::new(6, 3, 1, 1).unwrap();
    queue.push(&constant(1.0, 2, 3)).unwrap();
    let (values, pointer, filled) = queue.parts().unwrap();
    let mut resumed = Queue::from_parts(values.clone(), 3, pointer, filled).unwrap();
    for q in [&mut queue, &mut resumed] {
        q.push(&constant(2.0, 3, 3)).unwrap();
    }
    assert_eq!(values[..6], [1.0; 6]);
    assert_eq!(queue.parts().unwrap(), resumed.parts().unwrap());
    assert_eq!((queue.pointer(), queue.filled()), (5, 5));
}

#[test]
fn queues_that_cannot_work_are_refused() {
    let divided = |batch| Queue::new(6, 3, batch, 1);
    let error = divided(4).unwrap_err();
    assert!(matches!(
        error,
        LossError::BatchDoesNotDivide { batch: 4, len: 6 }
    ));
    assert!(error.to_string().contains("8 would be"), "{error}");
    assert!(divided(0).is_err() && divided(12).is_err());
    let mut queue = divided(2).unwrap();
    let error = queue.push(&constant(1.0, 4, 3)).unwrap_err();
    assert!(matches!(
        error,
        LossError::BatchDoesNotDivide { batch: 4, len: 6 }
    ));
    assert!(matches!(
        queue.push(&constant(1.0, 2, 4)).unwrap_err(),
        LossError::SizeMismatch { .. }
    ));
    assert_eq!((queue.pointer(), queue.filled()), (0, 0));
    assert!(matches!(
        Queue::new(0, 3, 1, 1).unwrap_err(),
        LossError::Empty { .. }
    ));
    for (pointer, filled, what) in [(6, 0, "pointer"), (0, 7, "filled count")] {
        match Queue::from_parts(vec![0.0; 18], 3, pointer, filled).unwrap_err() {
            LossError::QueueCounter { what: got, .. } => assert_eq!(got, what),
            other => panic!("{other}"),
        }
    }
    assert!(matches!(
        Queue::from_parts(vec![0.0; 17], 3, 0, 0).unwrap_err(),
        LossError::SizeMismatch { .. }
    ));
    assert!(matches!(
        Queue::from_parts(vec![0.0; 17], 0, 0, 0).unwrap_err(),
        LossError::Empty { .. }
    ));
}

proptest! {
    #[test]
    fn negatives_are_distinct_and_no_positives(
        k in 1usize..200, positives in prop::collection::vec(0u32..220, 0..40), n in 0usize..220, seed: u64,
    ) {
        let drawn = sample_negatives(k, &positives, n, stream(seed, 3, 1));
        let allowed = (0..k as u32).filter(|id| !positives.contains(id)).count();
        prop_assert_eq!(drawn.len(), n.min(allowed));
        let mut sorted = drawn.clone();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), drawn.len());
        prop_assert!(drawn.iter().all(|&id| (id as usize) < k && !positives.contains(&id)));
        // A shorter draw is the beginning of a longer one.
        let shorter = sample_negatives(k, &positives, n / 2, stream(seed, 3, 1));
        prop_assert_eq!(&drawn[..shorter.len()], &shorter[..]);
    }
}

#[test]
fn every_word_of_the_stream_matters() {
    let draw = |s| sample_negatives(1000, &[1, 2], 50, s);
    let base = draw(stream(7, 8, 9));
    assert_eq!(base, draw(stream(7, 8, 9)));
    for other in [
        stream(6, 8, 9),
        stream(7, 9, 9),
        stream(7, 8, 8),
        stream(8, 7, 9),
    ] {
        assert_ne!(base, draw(other));
    }
}

#[test]
fn negatives_are_uniform() {
    // 20 ids, 2 of them positives, 6 drawn: each other id appears in a third of the draws.
    let mut counts = [0u32; 20];
    for step in 0..6000 {
        for id in sample_negatives(20, &[4, 11, 4], 6, stream(0, step, 0)) {
            counts[id as usize] += 1;
        }
    }
    // Binomial(6000, 1/3): deviation 36.5.
    for (id, &count) in counts.iter().enumerate() {
        let expected = if id == 4 || id == 11 { 0.0 } else { 2000.0 };
        assert!(
            (f64::from(count) - expected).abs() < 5.0 * 36.5,
            "id {id}: {count}"
        );
    }
    assert_eq!((counts[4], counts[11]), (0, 0));
}
