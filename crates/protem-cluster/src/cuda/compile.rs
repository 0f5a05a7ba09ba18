//! The kernels as an image for one architecture: compiled when first needed, then kept on disk.

use super::driver::{NVRTC, missing, present};
use crate::error::ClusterError;
use cudarc::nvrtc::{result, sys};
use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// One program, in this order.
const SOURCES: [&str; 8] = [
    include_str!("../../kernels/instructions.cu"),
    include_str!("../../kernels/pack.cu"),
    include_str!("../../kernels/pass.cu"),
    include_str!("../../kernels/candidates.cu"),
    include_str!("../../kernels/decide.cu"),
    include_str!("../../kernels/rows.cu"),
    include_str!("../../kernels/sort.cu"),
    include_str!("../../kernels/means.cu"),
];
/// Its continuation for compute capability 9.0.
const FOR_HOPPER: [&str; 2] = [
    include_str!("../../kernels/hopper.cu"),
    include_str!("../../kernels/pass_wgmma.cu"),
];
/// The architecture that these are for: its own instructions, which no other has.
pub(super) const HOPPER: &str = "sm_90a";
/// Products and sums are rounded one by one, as on the processor; the kernels fuse where they may.
const OPTIONS: [&str; 3] = ["--std=c++17", "--fmad=false", "--ptxas-options=-v"];

/// What the compiler made and said.
#[derive(Debug)]
pub(super) struct Compiled {
    pub image: Vec<u8>,
    /// With the registers, spills and shared memory of each kernel.
    #[cfg(test)]
    pub log: String,
}

/// The image for `architecture` (such as `sm_90a`), from the disk if it was compiled before.
///
/// Images lie in `protem/kernels` of the user's cache folder, one for each source and architecture,
/// and are written aside and renamed. Where that folder cannot be written, each process compiles.
pub(super) fn image(architecture: &str) -> Result<Vec<u8>, ClusterError> {
    image_in(cache().as_deref(), architecture)
}

/// The user's cache folder, if the environment names one.
fn cache() -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("protem").join("kernels"))
}

pub(super) fn image_in(folder: Option<&Path>, architecture: &str) -> Result<Vec<u8>, ClusterError> {
    let Some(folder) = folder else {
        return Ok(compile(architecture)?.image);
    };
    let file = place(folder, architecture);
    // What is no ELF file was not written here.
    if let Ok(image) = std::fs::read(&file)
        && image.starts_with(b"\x7fELF")
    {
        return Ok(image);
    }
    compile_and_keep(&file, architecture)
}

/// The image, compiled whatever lies on the disk, and kept in place of that.
pub(super) fn image_anew(architecture: &str) -> Result<Vec<u8>, ClusterError> {
    match cache() {
        Some(folder) => compile_and_keep(&place(&folder, architecture), architecture),
        None => Ok(compile(architecture)?.image),
    }
}

/// The file of an image.
fn place(folder: &Path, architecture: &str) -> PathBuf {
    folder.join(format!("{:016x}-{architecture}.cubin", hash()))
}

fn compile_and_keep(file: &Path, architecture: &str) -> Result<Vec<u8>, ClusterError> {
    let image = compile(architecture)?.image;
    // Without a cache the next process compiles again: no reason to fail.
    let _ = keep(file, &image);
    Ok(image)
}

fn keep(file: &Path, image: &[u8]) -> std::io::Result<()> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let aside = file.with_extension(format!("{}-{turn}", std::process::id()));
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let kept = std::fs::write(&aside, image).and_then(|()| std::fs::rename(&aside, file));
    if kept.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    kept
}

/// FNV-1a, 64 bits, of everything that makes an image beside its architecture.
fn hash() -> u64 {
    let all = SOURCES.iter().chain(&FOR_HOPPER).chain(&OPTIONS);
    let bytes = all.flat_map(|s| s.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Compiles the kernels with NVRTC.
pub(super) fn compile(architecture: &str) -> Result<Compiled, ClusterError> {
    if !present(&NVRTC) {
        return missing(&format!(
            "no NVRTC, CUDA's run-time compiler ({} and {} are not found): install that of CUDA 12 \
             or 13, from the CUDA toolkit or a package, with its library on the library path",
            NVRTC[0], NVRTC[1]
        ));
    }
    compile_source(&source(architecture), architecture, cubin)
}

/// The program for an architecture.
pub(super) fn source(architecture: &str) -> String {
    match architecture {
        HOPPER => SOURCES.concat() + &FOR_HOPPER.concat(),
        _ => SOURCES.concat(),
    }
}

/// What is taken from a program; see [`cubin`].
pub(super) type Take = unsafe fn(sys::nvrtcProgram) -> Result<Vec<u8>, result::NvrtcError>;

pub(super) fn compile_source(
    source: &str,
    architecture: &str,
    take: Take,
) -> Result<Compiled, ClusterError> {
    let refused = |e: &dyn std::fmt::Display| ClusterError::DeviceCompile { log: e.to_string() };
    let source = CString::new(source).map_err(|e| refused(&e))?;
    let program = result::create_program(&source, Some(c"protem.cu")).map_err(|e| refused(&e))?;
    let mut options: Vec<String> = OPTIONS.iter().map(|o| (*o).into()).collect();
    options.push(format!("--gpu-architecture={architecture}"));
    // SAFETY: the program was created above and is destroyed below, after its last use.
    let (compiled, log, image) = unsafe {
        let compiled = result::compile_program(program, &options);
        let log = result::get_program_log(program).unwrap_or_default();
        let image = compiled.is_ok().then(|| take(program)).transpose();
        // What is left of it would be a leak, nothing worse.
        let _ = result::destroy_program(program);
        (compiled, log, image)
    };
    let log = text(&log);
    compiled.map_err(|e| ClusterError::DeviceCompile {
        log: format!("{e}: {log}"),
    })?;
    let image = image.map_err(|e| refused(&e))?.unwrap_or_default();
    Ok(Compiled {
        image,
        #[cfg(test)]
        log,
    })
}

/// The image of a program.
///
/// # Safety
/// The program was compiled and is not destroyed.
pub(super) unsafe fn cubin(program: sys::nvrtcProgram) -> Result<Vec<u8>, result::NvrtcError> {
    let mut size = 0;
    // SAFETY: the program is alive; the buffer has the size that NVRTC names.
    unsafe {
        sys::nvrtcGetCUBINSize(program, &mut size).result()?;
        let mut image = vec![0u8; size];
        sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result()?;
        Ok(image)
    }
}

/// A log up to its zero.
fn text(log: &[c_char]) -> String {
    let bytes: Vec<u8> = log.iter().map(|c| *c as u8).collect();
    let text = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
    text.to_string_lossy().trim().to_owned()
}
