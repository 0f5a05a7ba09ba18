//! libFuzzer on the target that `PROTEM_FUZZ_TARGET` names, for `PROTEM_FUZZ_SECONDS` of CPU
//! time. `cargo xtask fuzz` builds and starts it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protem_fuzz::Target;
use rustix::process::{Signal, getpid, kill_process};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

static TARGET: OnceLock<&Target> = OnceLock::new();
/// Inputs begun.
static INPUTS: AtomicU64 = AtomicU64::new(0);

fuzz_target!(init: start(), |bytes: &[u8]| {
    INPUTS.fetch_add(1, Relaxed);
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
    let limit = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        let seconds = text.and_then(|t| t.parse().ok()).unwrap_or(otherwise);
        Duration::from_secs(seconds)
    };
    let all = limit("PROTEM_FUZZ_SECONDS", u64::MAX);
    let one = limit("PROTEM_FUZZ_INPUT_SECONDS", 10);
    std::thread::spawn(move || watch(all, one));
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

/// Asks libFuzzer to end when the process has had `all` its CPU time; aborts, which makes the input
/// a finding, when one input takes more than `one`. (libFuzzer's own limits are of time on the
/// clock, which on a busy machine says little.)
fn watch(all: Duration, one: Duration) {
    let (mut input, mut begun, mut told) = (0, Duration::ZERO, Duration::ZERO);
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used = Duration::new(used.tv_sec as u64, used.tv_nsec as u32);
        let tell = || eprintln!("CPU time: {:.1} s", used.as_secs_f64());
        let latest = INPUTS.load(Relaxed);
        if latest != input {
            (input, begun) = (latest, used);
        } else if input > 0 && used - begun > one {
            tell();
            eprintln!("SLOW: input {input} took more than {one:?}");
            std::process::abort();
        }
        if used >= all {
            tell();
            kill_process(getpid(), Signal::USR1).expect("a process may signal itself");
            return;
        }
        if used - told > Duration::from_secs(60) {
            told = used;
            tell();
        }
    }
}
