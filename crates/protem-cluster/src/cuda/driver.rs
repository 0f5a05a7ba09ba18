//! Whether CUDA is here, and a device of it that is ready for work.
//!
//! The libraries are looked for before cudarc is asked for anything: cudarc panics where they are
//! missing.

use super::compile::{HOPPER, image};
use super::kernels::Kernels;
use crate::error::ClusterError;
use cudarc::driver::sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY;
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};
use cudarc::nvrtc::Ptx;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Names of the driver's library; cudarc knows them too.
const DRIVER: [&str; 3] = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];
/// Names of the compiler's library.
pub(super) const NVRTC: [&str; 4] = [
    "libnvrtc.so.13",
    "libnvrtc.so.12",
    "libnvrtc.so",
    "nvrtc64_130_0.dll",
];
/// Tensor cores multiply bf16 from this compute capability on.
const LEAST: (i32, i32) = (8, 0);

/// A device with its kernels.
#[derive(Clone)]
pub(crate) struct Card {
    pub stream: Arc<CudaStream>,
    pub kernels: Arc<Kernels>,
}

impl Card {
    /// Device `ordinal`, opened once per process; what failed is tried again.
    pub fn open(ordinal: usize) -> Result<Self, ClusterError> {
        static OPEN: OnceLock<Mutex<BTreeMap<usize, Card>>> = OnceLock::new();
        let open = OPEN.get_or_init(Mutex::default);
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(card) = open.get(&ordinal) {
            return Ok(card.clone());
        }
        let card = Self::new(ordinal)?;
        open.insert(ordinal, card.clone());
        Ok(card)
    }

    fn new(ordinal: usize) -> Result<Self, ClusterError> {
        if !present(&DRIVER) {
            return missing("no CUDA driver");
        }
        if let Err(e) = result::init() {
            return missing(&format!("the CUDA driver does not start: {e:?}"));
        }
        let devices = result::device::get_count().unwrap_or(0);
        if i32::try_from(ordinal).map_or(true, |ordinal| ordinal >= devices) {
            return missing(&format!("no device {ordinal} among {devices}"));
        }
        let context = CudaContext::new(ordinal)?;
        let capability = context.compute_capability()?;
        if capability < LEAST {
            let (major, minor) = capability;
            return missing(&format!(
                "device {ordinal} has compute capability {major}.{minor}, below 8.0"
            ));
        }
        let architecture = architecture(capability);
        let module = context.load_module(Ptx::from_binary(image(&architecture)?))?;
        let stream = context.default_stream();
        let wgmma = architecture == HOPPER && !only_mma();
        Ok(Self {
            kernels: Arc::new(Kernels::load(&module, &stream, wgmma)?),
            stream,
        })
    }

    /// Free bytes of its memory, once what was freed is given back.
    pub fn free(&self) -> Result<usize, ClusterError> {
        self.stream.synchronize()?;
        Ok(self.stream.context().mem_get_info()?.0)
    }
}

/// What was made, or nothing where memory was too little.
pub(super) fn room<T>(made: Result<T, DriverError>) -> Result<Option<T>, ClusterError> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(e) if e.0 == CUDA_ERROR_OUT_OF_MEMORY => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Whether the environment asks for the pass that every device has (`PROTEM_CUDA_PASS=mma`).
fn only_mma() -> bool {
    std::env::var_os("PROTEM_CUDA_PASS").is_some_and(|pass| pass == "mma")
}

/// The name that the compiler has for a compute capability.
fn architecture((major, minor): (i32, i32)) -> String {
    let special = if (major, minor) == (9, 0) { "a" } else { "" };
    format!("sm_{major}{minor}{special}")
}

fn missing<T>(reason: &str) -> Result<T, ClusterError> {
    Err(ClusterError::DeviceMissing {
        reason: reason.into(),
    })
}

/// Whether a library of one of these names can be loaded.
pub(super) fn present(names: &[&str]) -> bool {
    // SAFETY: NVIDIA's libraries, which cudarc would load by the same names right after; their
    // initialisers ask nothing of who loads them.
    names
        .iter()
        .any(|name| unsafe { libloading::Library::new(*name) }.is_ok_and(keep))
}

/// A library that stays loaded: initialised once, not for every question.
fn keep(library: libloading::Library) -> bool {
    std::mem::forget(library);
    true
}

impl From<DriverError> for ClusterError {
    fn from(error: DriverError) -> Self {
        Self::DeviceFailed {
            reason: format!("{error:?}"),
        }
    }
}
