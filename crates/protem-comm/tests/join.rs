//! Ranks find each other by a port, whoever else calls there.

use protem_comm::{CommError, Launch, Ranks};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}

fn launch(rank: usize, world: usize, port: u16) -> Launch {
    Launch {
        rank,
        world,
        address: "127.0.0.1".into(),
        port,
        told_by: ["RANK", "WORLD_SIZE"],
    }
}

fn join(launch: &Launch, patience: Duration) -> Result<Ranks, CommError> {
    Ranks::join(launch, patience, &mut |_| {})
}

#[test]
fn ranks_find_each_other_in_any_order() {
    let (port, world) = (free_port(), 4);
    let ranks = [3, 1, 0, 2].map(|rank| {
        thread::sleep(Duration::from_millis(30));
        thread::spawn(move || {
            let mut ranks = join(&launch(rank, world, port), LONG)?;
            ranks.gather_values(&[ranks.rank() as u32])
        })
    });
    for found in ranks {
        let all = found.join().expect("no panic").expect("all come");
        assert_eq!(all, [0, 1, 2, 3]);
    }
}

#[test]
fn others_who_call_are_passed_over() {
    let port = free_port();
    let first = thread::spawn(move || join(&launch(0, 2, port), LONG).map(|ranks| ranks.world()));
    let call = || loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => return stream,
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    };
    call()
        .write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        .expect("heard");
    drop(call());
    let mut half = call();
    half.write_all(b"protem").expect("heard");
    let silent: Vec<TcpStream> = (0..20).map(|_| call()).collect();
    let begun = Instant::now();
    let second = join(&launch(1, 2, port), LONG).map(|ranks| ranks.rank());
    assert_eq!(second.expect("found"), 1);
    assert_eq!(first.join().expect("no panic").expect("found"), 2);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "they are not waited for");
    drop((half, silent));
}

/// A machine's name may mean 127.0.0.1 to itself. Who called at rank 0 by that is found by others all the same.
#[test]
fn names_may_mean_another_address_on_rank_0s_machine() {
    let outside = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?; // sends nothing
        socket.local_addr()
    });
    // Without a network all is within the machine.
    let outside = outside.map_or("127.0.0.1".into(), |at| at.ip().to_string());
    for last in [1, 2] {
        let (port, world) = (free_port(), 3);
        let ranks = [0, 1, 2].map(|rank| {
            let of = Launch {
                // A name to Rust, and 127.0.0.1 to the system.
                address: if rank == last { &*outside } else { "127.1" }.into(),
                ..launch(rank, world, port)
            };
            thread::spawn(move || join(&of, LONG)?.gather_values(&[rank as u32]))
        });
        for found in ranks {
            let all = found.join().expect("no panic").expect("all come");
            assert_eq!(all, [0, 1, 2]);
        }
    }
}

#[test]
fn those_of_another_run_are_refused() {
    for (rank, world, reason) in [
        (1, 3, "there are not as many here"),
        (0, 2, "there is no such rank to come"),
    ] {
        let port = free_port();
        let first = thread::spawn(move || join(&launch(0, 2, port), LONG));
        let mut other = launch(1, world, port);
        let found = thread::spawn(move || {
            if rank == 0 {
                other.rank = 5; // one of more than it knows of
            }
            join(&other, LONG)
        });
        let refused = first.join().expect("no panic").expect_err("a stranger");
        assert!(refused.to_string().contains(reason), "{refused}");
        let lost = found.join().expect("no panic");
        assert!(
            matches!(lost, Err(CommError::Lost { rank: 0, .. })),
            "{lost:?}"
        );
    }
}

#[test]
fn patience_ends() {
    let port = free_port();
    let short = Duration::from_millis(300);
    let missing = join(&launch(0, 3, port), short).expect_err("nobody comes");
    assert_eq!(
        missing.to_string(),
        "2 of 3 ranks did not come within 0 s: 1, 2"
    );
    let alone = join(&launch(1, 2, port), short).expect_err("nobody listens");
    assert!(matches!(alone, CommError::NoLeader { .. }), "{alone}");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("free again");
    let refused = join(&launch(0, 2, port), short).expect_err("taken");
    assert!(matches!(refused, CommError::Listen { .. }), "{refused}");
    drop(taken);
}
