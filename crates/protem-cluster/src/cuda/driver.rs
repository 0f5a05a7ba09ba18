//! Whether CUDA is here, and a device of it that is ready for work.
//!
//! The libraries are looked for before cudarc is asked for anything: cudarc panics where they are
//! missing.

use super::compile::{HOPPER, image, image_anew};
use super::kernels::Kernels;
use crate::error::ClusterError;
use cudarc::driver::sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY;
use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, DriverError, result,
};
use cudarc::nvrtc::Ptx;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Names of the driver's library; cudarc knows them too.
pub(super) const DRIVER: [&str; 3] = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];
/// Names of the compiler's library.
pub(super) const NVRTC: [&str; 4] = [
    "libnvrtc.so.13",
    "libnvrtc.so.12",
    "libnvrtc.so",
    "nvrtc64_130_0.dll",
];
/// Memory of a device that is left to the driver, which puts the code of kernels there when they
/// are first launched, and to what it rounds sizes up to: a part of what is free, up to so much.
pub(super) const LEFT_PART: usize = 32;
const LEFT_MOST: usize = 256 << 20;
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

    /// The first device, for who can do without: what failed is not tried again, as each try may
    /// make a context.
    pub fn first() -> Result<Self, ClusterError> {
        static FAILED: OnceLock<ClusterError> = OnceLock::new();
        if let Some(failed) = FAILED.get() {
            return Err(failed.clone());
        }
        Self::open(0).map_err(|e| FAILED.get_or_init(|| e).clone())
    }

    fn new(ordinal: usize) -> Result<Self, ClusterError> {
        if !present(&DRIVER) {
            return missing(&format!(
                "no CUDA driver ({} is not found): install the NVIDIA driver, with its library on \
                 the library path",
                DRIVER[0]
            ));
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
        let module = load(
            image(&architecture)?,
            || image_anew(&architecture),
            |image| context.load_module(Ptx::from_binary(image)),
        )?;
        let stream = context.default_stream();
        let wgmma = architecture == HOPPER && !only_mma();
        Ok(Self {
            kernels: Arc::new(Kernels::load(&module, &stream, wgmma)?),
            stream,
        })
    }

    /// Bytes of its memory that may be taken, once what was freed is given back.
    pub fn free(&self) -> Result<usize, ClusterError> {
        self.stream.synchronize()?;
        let free = self.stream.context().mem_get_info()?.0;
        Ok(free - (free / LEFT_PART).min(LEFT_MOST))
    }

    /// Makes the device this thread's, before memory of it is freed: cudarc frees in the context
    /// that a thread has, and who called may have gone to another device meanwhile.
    pub fn bind(&self) {
        // What is wrong with the device was told by the call that met it.
        let _ = self.stream.context().bind_to_thread();
    }

    /// Copies values to the host, where they are when this returns: that a copy to memory that is
    /// not pinned has ended by then, CUDA does not promise.
    pub fn read<T: DeviceRepr>(
        &self,
        from: &impl DevicePtr<T>,
        to: &mut [T],
    ) -> Result<(), ClusterError> {
        self.stream.memcpy_dtoh(from, to)?;
        Ok(self.stream.synchronize()?)
    }

    /// Copies all values to the host.
    pub fn read_all<T: DeviceRepr + Clone + Default>(
        &self,
        from: &impl DevicePtr<T>,
    ) -> Result<Vec<T>, ClusterError> {
        let mut values = vec![T::default(); from.len()];
        self.read(from, &mut values)?;
        Ok(values)
    }

    /// Copies values from the host, which may be freed when this returns.
    pub fn write<T: DeviceRepr>(
        &self,
        from: &[T],
        to: &mut impl DevicePtrMut<T>,
    ) -> Result<(), ClusterError> {
        self.stream.memcpy_htod(from, to)?;
        Ok(self.stream.synchronize()?)
    }

    /// Copies values from the host to memory of their own.
    pub fn put<T: DeviceRepr>(&self, from: &[T]) -> Result<CudaSlice<T>, ClusterError> {
        let slice = self.stream.clone_htod(from)?;
        self.stream.synchronize()?;
        Ok(slice)
    }
}

/// Loads the kernels. An image from the disk that the driver refuses, written by a newer compiler
/// than it knows or torn, is compiled once more and replaced.
pub(super) fn load<T>(
    image: Vec<u8>,
    image_anew: impl FnOnce() -> Result<Vec<u8>, ClusterError>,
    load: impl Fn(Vec<u8>) -> Result<T, DriverError>,
) -> Result<T, ClusterError> {
    let refused = match load(image) {
        Ok(module) => return Ok(module),
        Err(e) if e.0 == CUDA_ERROR_OUT_OF_MEMORY => return Err(e.into()),
        Err(e) => e,
    };
    let (refused, anew) = match image_anew() {
        Ok(image) => match load(image) {
            Ok(module) => return Ok(module),
            Err(e) => (e, String::new()),
        },
        Err(e) => (refused, format!("; compiled anew: {e}")),
    };
    Err(ClusterError::DeviceFailed {
        reason: format!(
            "its driver refuses the image of the kernels ({:?}): update the driver, or install \
             NVRTC of its CUDA version{anew}",
            refused.0
        ),
    })
}

/// What was made, or nothing where memory was too little.
pub(super) fn room<T>(made: Result<T, impl Into<ClusterError>>) -> Result<Option<T>, ClusterError> {
    match made.map_err(Into::into) {
        Ok(made) => Ok(Some(made)),
        Err(ClusterError::DeviceFull) => Ok(None),
        Err(e) => Err(e),
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

pub(super) fn missing<T>(reason: &str) -> Result<T, ClusterError> {
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

// No part of what is promised: the version of cudarc is not either.
#[doc(hidden)]
impl From<DriverError> for ClusterError {
    fn from(error: DriverError) -> Self {
        match error.0 {
            CUDA_ERROR_OUT_OF_MEMORY => Self::DeviceFull,
            _ => Self::DeviceFailed {
                reason: format!("{error:?}"),
            },
        }
    }
}
