//! What can be learned of a device: what it is, and how long its kernels take.

use super::driver::{Card, DRIVER, present};
use crate::error::ClusterError;
use cudarc::driver::sys::CUevent_flags_enum::CU_EVENT_DEFAULT;
use cudarc::driver::{CudaEvent, CudaStream, DriverError, sys};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A CUDA device that can compute iterations.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CudaDevice {
    /// The maker's name for it.
    pub name: String,
    /// Compute capability: major, minor.
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub memory: usize,
    /// The kernel of the pass: `best_of_groups_wgmma` on capability 9.0 unless
    /// `PROTEM_CUDA_PASS=mma`, else `best_of_groups`.
    pub pass: &'static str,
}

/// Opens device `ordinal`, which compiles its kernels where no image of them is kept.
///
/// # Errors
/// [`ClusterError::DeviceMissing`], [`ClusterError::DeviceCompile`], [`ClusterError::DeviceFull`],
/// [`ClusterError::DeviceFailed`].
pub fn cuda_device(ordinal: usize) -> Result<CudaDevice, ClusterError> {
    let card = Card::open(ordinal)?;
    let context = card.stream.context();
    Ok(CudaDevice {
        name: context.name()?,
        capability: context.compute_capability()?,
        memory: context.total_mem()?,
        pass: card.kernels.pass(),
    })
}

/// How long a kernel took, by CUDA events around its launches.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KernelTime {
    /// Its name in `kernels/*.cu`.
    pub kernel: &'static str,
    /// How often it was launched.
    pub launches: usize,
    /// Of all launches together.
    pub seconds: f64,
}

/// A launch, from one event to the other.
struct Span {
    kernel: &'static str,
    events: [CudaEvent; 2],
}

thread_local! {
    /// Launches of this thread, while they are timed.
    static SPANS: RefCell<Option<Vec<Span>>> = const { RefCell::new(None) };
}

/// While it lives, launches of this thread are timed; a panic of the work ends that too.
struct Timing;

impl Drop for Timing {
    fn drop(&mut self) {
        SPANS.set(None);
    }
}

/// The driver's version, as it counts, from which on times of events can be read: CUDA 12.8 brought the
/// function that cudarc is bound to, which panics where that is missing.
const TIMES: i32 = 12_080;

/// Does some work and times the kernels that this thread launches meanwhile, such as those of
/// [`KMeans::fit`](crate::KMeans::fit) on a device; kernels in the order of their names.
///
/// # Errors
/// [`ClusterError::DeviceFailed`] if events cannot be read, and before any work if the driver is older
/// than that of CUDA 12.8.
pub fn time_kernels<T>(work: impl FnOnce() -> T) -> Result<(T, Vec<KernelTime>), ClusterError> {
    // Without a driver nothing is launched.
    if present(&DRIVER) {
        check_version(version()?)?;
    }
    SPANS.set(Some(Vec::new()));
    let _timing = Timing;
    let done = work();
    let spans = SPANS.take().unwrap_or_default();
    let mut times: BTreeMap<&'static str, KernelTime> = BTreeMap::new();
    for Span { kernel, events } in spans {
        events[1].synchronize()?;
        let time = times.entry(kernel).or_insert(KernelTime {
            kernel,
            launches: 0,
            seconds: 0.0,
        });
        time.launches += 1;
        time.seconds += f64::from(events[0].elapsed_ms(&events[1])?) / 1e3;
    }
    Ok((done, times.into_values().collect()))
}

/// The driver's version: 12080 is that of CUDA 12.8.
fn version() -> Result<i32, ClusterError> {
    let mut version = 0;
    // SAFETY: the library is there, and writes a number to where it is told.
    unsafe { sys::cuDriverGetVersion(&mut version).result()? };
    Ok(version)
}

fn check_version(version: i32) -> Result<(), ClusterError> {
    if version >= TIMES {
        return Ok(());
    }
    let text = |version: i32| format!("{}.{}", version / 1000, version % 1000 / 10);
    Err(ClusterError::DeviceFailed {
        reason: format!(
            "kernels are timed by a driver of CUDA {} or later, this one is of {}: update the driver",
            text(TIMES),
            text(version)
        ),
    })
}

/// Launches what is held in field `function`, named like the kernel, with events around it if this
/// thread's launches are timed.
pub(super) fn timed<T>(
    stream: &CudaStream,
    function: &'static str,
    launch: impl FnOnce() -> Result<T, DriverError>,
) -> Result<(), DriverError> {
    if SPANS.with_borrow(Option::is_none) {
        return launch().map(|_| ());
    }
    let event = || stream.record_event(Some(CU_EVENT_DEFAULT));
    let before = event()?;
    launch()?;
    let events = [before, event()?];
    let kernel = function.trim_start_matches("self.");
    SPANS.with_borrow_mut(|spans| {
        if let Some(spans) = spans {
            spans.push(Span { kernel, events });
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_are_no_longer_timed_after_a_panic() {
        let timed = || SPANS.with_borrow(Option::is_some);
        let panicked = std::panic::catch_unwind(|| {
            let _ = time_kernels(|| assert!(!timed(), "timed"));
        });
        assert!(panicked.is_err() && !timed());
        assert_eq!(time_kernels(timed), Ok((true, Vec::new())));
        assert!(!timed());
    }

    #[test]
    fn an_old_driver_is_told_which_one_times_kernels() {
        assert_eq!(check_version(12_080), Ok(()));
        assert_eq!(check_version(13_000), Ok(()));
        let said = check_version(12_040).unwrap_err().to_string();
        let both = said.contains("CUDA 12.8 or later, this one is of 12.4");
        assert!(both, "{said}");
    }
}
