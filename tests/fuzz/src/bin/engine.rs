//! libFuzzer on the target that `PROTEM_FUZZ_TARGET` names, for `PROTEM_FUZZ_SECONDS` of CPU
//! time. `cargo xtask fuzz` builds and starts it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protem_fuzz::Target;
use rustix::process::{Signal, getpid, kill_process};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

static TARGET: OnceLock<&Target> = OnceLock::new();

fuzz_target!(init: start(), |bytes: &[u8]| {
    TARGET.get().expect("it was started").check(bytes);
});

fn start() {
    let name = std::env::var("PROTEM_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = Target::named(&name) else {
        let names: Vec<_> = protem_fuzz::TARGETS.iter().map(|t| t.name).collect();
        eprintln!("no target {name:?}, there are {}", names.join(", "));
        std::process::exit(2);
    };
    TARGET.get_or_init(|| target);
    tell_panics();
    if let Some(seconds) = std::env::var("PROTEM_FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
    {
        std::thread::spawn(move || stop_after(seconds));
    }
}

/// A panic that a reader catches is its business, and only told, once for each place; one that
/// leaves it ends the process at the edge of `fuzz_target`. The library's own hook would end it
/// for both.
fn tell_panics() {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let mut told = TOLD.lock().unwrap_or_else(|e| e.into_inner());
        if told.insert(place) {
            eprintln!("PANIC: {panic}");
        }
    }));
}

/// Asks libFuzzer to end when the process has had its CPU time.
fn stop_after(seconds: i64) {
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let used = clock_gettime(ClockId::ProcessCPUTime);
        if used.tv_sec >= seconds {
            eprintln!(
                "CPU time: {}.{:03} s",
                used.tv_sec,
                used.tv_nsec / 1_000_000
            );
            kill_process(getpid(), Signal::USR1).expect("a process may signal itself");
            return;
        }
    }
}
