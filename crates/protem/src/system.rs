//! What the machine has left, and what the system tells.

use crate::console::warn;
use crate::failure::Failure;
use crate::process;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Threads that a command may have.
pub const THREADS: RangeInclusive<usize> = 1..=4096;

/// Bytes that can be written below a folder, which need not exist yet; none where the system
/// does not tell.
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let folder = std::path::absolute(folder).ok()?;
    let there = folder.ancestors().find(|p| p.exists())?;
    let status = rustix::fs::statvfs(there).ok()?;
    Some(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Bytes of memory of the machine or of this process's group, whichever is less; none where the
/// system does not tell.
pub fn memory_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| {
        let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
        let kib = line.trim().trim_end_matches("kB").trim();
        kib.parse::<u64>().ok().map(|kib| kib * 1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min()
}

/// Memory of this process now, and the most it had since [`forget_peak`]; none where the system
/// does not tell.
pub fn own_memory() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// Makes the present the highest that [`own_memory`] knows of, where the system can.
pub fn forget_peak() {
    // Linux: 5 resets the peak. Without it the peak of all the process's life is told.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Pages this process has been given so far, without reading a disk; none where the system does
/// not tell.
pub fn page_faults() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; the count is the eighth field behind it.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(7)?
        .parse()
        .ok()
}

/// Seconds of processor time of this process, all threads together.
pub fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The processor's name, where the system tells it.
pub fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            let digits = if value < 10.0 && unit != "B" { 1 } else { 0 };
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// A time for people.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// Makes a write beyond a limit on the size of files fail, as one to a full disk does; the system would
/// end the program without a word.
pub fn fail_at_limits() {
    // Where it cannot be had, the program ends as it would have.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Starts the threads that a setting or an option, `what`, asks for, before anything runs on some; when
/// none does there are as many as the machine lets this process have, or the environment says. The one
/// that calls is one of them: what it has others do, it need not wait for them to wake for. So while it
/// waits for another thread, that one must not leave work to them: they may be none but it.
pub fn start_threads(what: &str, threads: Option<usize>) -> Result<(), Failure> {
    if let Some(threads) = threads.filter(|threads| !THREADS.contains(threads)) {
        let (least, most) = (THREADS.start(), THREADS.end());
        return Err(Failure::usage(format!(
            "{what} {threads} must lie between {least} and {most}"
        )));
    }
    let machine = || std::thread::available_parallelism().ok().map(usize::from);
    let told = || std::env::var_os("RAYON_NUM_THREADS").is_some();
    if let Some(threads) = threads.or_else(|| machine().filter(|_| !told())) {
        process::bound_candle(threads);
    }
    let pool = rayon::ThreadPoolBuilder::new().use_current_thread();
    pool.num_threads(threads.unwrap_or(0))
        .build_global()
        .map_err(|e| {
            let number = threads.map_or(String::new(), |threads| format!("{threads} "));
            Failure::running(format!("cannot start {number}threads: {e}"))
        })
}

/// Requests to stop that come within this are one: `timeout` tells a program and then its group.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// What Ctrl-C, a polite kill and a terminal that closes set; what is `said` of it is printed at once.
/// Another one later ends the program where it is.
pub fn stop_flag(said: Option<&'static str>) -> Result<Arc<AtomicBool>, Failure> {
    let cannot = |e| Failure::running(format!("cannot listen for signals: {e}"));
    let mut kinds = vec![SIGINT, SIGTERM];
    if !hang_up_is_ignored() {
        kinds.push(SIGHUP);
    }
    let mut signals = Signals::new(kinds).map_err(cannot)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let listen = move || {
        let mut asked: Option<Instant> = None;
        for _ in signals.forever() {
            match asked {
                None => {
                    asked = Some(Instant::now());
                    flag.store(true, Ordering::Relaxed);
                    said.iter().for_each(warn);
                }
                Some(at) if at.elapsed() > ONE_REQUEST => signal_hook::low_level::exit(130),
                Some(_) => {}
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(listen)
        .map_err(cannot)?;
    Ok(stop)
}

/// Whether the program was begun to outlive its terminal, as by `nohup`; or it cannot be told.
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_none_or(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_readable() {
        assert_eq!(size(950), "950 B");
        assert_eq!(size(1_500_000), "1.5 MB");
        assert_eq!(size(23_400_000_000), "23 GB");
        assert_eq!(time(0.0042), "4.2 ms");
        assert_eq!(time(90.0), "90.0 s");
        assert_eq!(time(600.0), "10 min");
        assert_eq!(time(7200.0), "2.0 h");
    }
}
