//! What ranks of threads come to together, held against what one process computes.

use protem_comm::{CommError, Ranks};
use std::thread;

/// What `act` comes to on each of `world` ranks.
fn on_all<T: Send>(world: usize, act: impl Fn(&mut Ranks) -> T + Sync) -> Vec<T> {
    let ranks = Ranks::within_process(world).expect("ports of this machine");
    thread::scope(|scope| {
        let threads = ranks.into_iter().map(|mut ranks| {
            let act = &act;
            scope.spawn(move || act(&mut ranks))
        });
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .collect()
    })
}

/// Values whose sum depends on its order.
fn values(rank: usize, n: usize) -> Vec<f32> {
    let value =
        |i: usize| ((i * 7919 + rank * 104_729) % 1009) as f32 * 1.1f32.powi(rank as i32 * 9 - 20);
    (0..n).map(value).collect()
}

#[test]
fn sums_are_those_in_the_order_of_the_ranks() {
    for world in 1..=5 {
        for n in [0, 1, 2, 3, 7, 1000, 300_001] {
            let mut expected = values(0, n);
            for rank in 1..world {
                let next = values(rank, n);
                expected.iter_mut().zip(next).for_each(|(sum, x)| *sum += x);
            }
            let sums = on_all(world, |ranks| {
                let mut values = values(ranks.rank(), n);
                ranks.sum(&mut values).map(|()| values)
            });
            for sum in sums {
                assert_eq!(
                    sum.expect("all are there"),
                    expected,
                    "{world} ranks, {n} values"
                );
            }
        }
    }
}

#[test]
fn what_is_gathered_lies_in_the_order_of_the_ranks() {
    for world in 1..=4 {
        let gathered = on_all(world, |ranks| {
            let own = vec![ranks.rank() as u8; 3 * ranks.rank()];
            let bytes = ranks.gather(&own)?;
            let numbers: Vec<u32> = (0..ranks.rank() as u32 * 100_000).collect();
            Ok::<_, CommError>((bytes, ranks.gather_values(&numbers)?))
        });
        let bytes: Vec<Vec<u8>> = (0..world).map(|rank| vec![rank as u8; 3 * rank]).collect();
        let numbers: Vec<u32> = (0..world as u32)
            .flat_map(|rank| 0..rank * 100_000)
            .collect();
        for result in gathered {
            assert_eq!(
                result.expect("all are there"),
                (bytes.clone(), numbers.clone())
            );
        }
    }
}

#[test]
fn everyone_gets_what_one_has() {
    for (world, from) in [(1, 0), (2, 0), (3, 2)] {
        let got = on_all(world, |ranks| {
            let own = vec![ranks.rank() as u8 + 1; 5_000_000];
            let bytes = ranks.broadcast(from, own)?;
            let values = ranks.broadcast_values(from, vec![ranks.rank() as f32; 3])?;
            Ok::<_, CommError>((bytes, values))
        });
        for result in got {
            let (bytes, values) = result.expect("all are there");
            assert_eq!((bytes.len(), bytes[0]), (5_000_000, from as u8 + 1));
            assert_eq!(values, [from as f32; 3]);
        }
    }
}

#[test]
fn one_is_enough_for_any() {
    for which in [Some(0), Some(2), None] {
        let any = on_all(3, |ranks| ranks.any(which == Some(ranks.rank())));
        assert!(
            any.into_iter()
                .all(|any| any.expect("all are there") == which.is_some())
        );
    }
}

#[test]
fn shares_cover_everything_once() {
    for world in 1..=5 {
        for n in [0, 1, 4, 5, 1001] {
            let shares = on_all(world, |ranks| ranks.share(n));
            let all: Vec<usize> = shares.iter().cloned().flatten().collect();
            assert!(all.into_iter().eq(0..n));
            let lens = shares.iter().map(ExactSizeIterator::len);
            assert!(lens.clone().max() <= lens.min().map(|least| least + 1));
        }
    }
}

#[test]
fn what_differs_is_named() {
    let agreed = on_all(3, |ranks| ranks.agree("settings", "the same"));
    assert!(agreed.iter().all(Result::is_ok));
    let differ = on_all(3, |ranks| {
        let own = if ranks.rank() == 2 { "odd" } else { "even" };
        (ranks.agree("settings", own), ranks.any(false))
    });
    for (differ, after) in differ {
        assert_eq!(
            differ.expect_err("rank 2 differs").to_string(),
            "ranks differ in settings: rank 2 has odd, and rank 0 has even"
        );
        assert!(after.is_err(), "nothing goes on");
    }
}

/// Nobody waits for a rank that went, whatever they do and however much is under way.
#[test]
fn a_rank_that_goes_is_missed() {
    let found = on_all(3, |ranks| {
        let mut values = vec![1.0; 10_000_000];
        if ranks.rank() == 1 {
            return Ok(()); // and its connections end
        }
        ranks.sum(&mut values)
    });
    assert!(found[1].is_ok());
    for rank in [0, 2] {
        let lost = matches!(found[rank], Err(CommError::Lost { .. }));
        assert!(lost, "rank {rank}: {:?}", found[rank]);
    }
}

#[test]
fn ranks_out_of_step_are_told_so() {
    let found = on_all(2, |ranks| match ranks.rank() {
        0 => ranks.any(true).err(),
        _ => ranks.sum(&mut [1.0; 8]).err(),
    });
    let told = found
        .iter()
        .flatten()
        .filter(|error| matches!(error, CommError::OutOfStep { .. }));
    assert!(told.count() > 0, "{found:?}");
    let other_lengths = on_all(2, |ranks| ranks.sum(&mut vec![1.0; 8 + 2 * ranks.rank()]));
    assert!(
        other_lengths.iter().all(Result::is_err),
        "{other_lengths:?}"
    );
}

#[test]
fn data_comes_over_as_it_is() {
    let numbers = [0.1f64, 1.0 / 3.0, f64::MIN_POSITIVE];
    let came = on_all(3, |ranks| {
        let all = ranks.gather_data((ranks.rank(), numbers.to_vec(), Some("ä".to_owned())))?;
        let of_last = ranks.broadcast_data(2, (ranks.rank() == 2).then_some(7u64))?;
        Ok::<_, CommError>((all, of_last))
    });
    for came in came {
        let (all, of_last) = came.expect("all are there");
        assert_eq!(of_last, 7);
        for (rank, of) in all.into_iter().enumerate() {
            assert_eq!(of, (rank, numbers.to_vec(), Some("ä".to_owned())));
        }
    }
}
