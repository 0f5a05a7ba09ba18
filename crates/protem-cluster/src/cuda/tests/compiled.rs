//! The kernels as NVRTC compiles them, and images that are kept.

use super::*;
use crate::cuda::compile::{compile, compile_source, cubin, image_in, source};
use cudarc::nvrtc::{result, sys};
use std::collections::BTreeSet;
use std::path::Path;

const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_89", "sm_90a"];

#[test]
fn kernels_compile_for_every_architecture_and_errors_keep_the_log() {
    if !compiler() {
        return;
    }
    for architecture in ARCHITECTURES {
        let compiled = compile(architecture).expect("an image");
        assert!(compiled.image.starts_with(b"\x7fELF"), "{architecture}");
        if let Some(folder) = std::env::var_os("PROTEM_CUDA_LOGS") {
            let file = Path::new(&folder).join(architecture);
            std::fs::write(file, &compiled.log).expect("a log");
        }
    }
    let error =
        compile_source("__global__ void broken() { absent(); }", "sm_80", cubin).unwrap_err();
    let ClusterError::DeviceCompile { log } = &error else {
        panic!("{error}");
    };
    assert!(log.contains("\"absent\" is undefined"), "{log}");
    let error = compile("sm_12").unwrap_err();
    assert!(error.to_string().contains("gpu-architecture"), "{error}");
}

/// The text of a program before registers are given out.
///
/// # Safety
/// As [`cubin`].
unsafe fn ptx(program: sys::nvrtcProgram) -> Result<Vec<u8>, result::NvrtcError> {
    // SAFETY: the program is alive.
    let text = unsafe { result::get_ptx(program) }?;
    Ok(text.into_iter().map(|c| c as u8).collect())
}

#[test]
fn products_are_fused_with_sums_in_decide_alone() {
    if !compiler() {
        return;
    }
    for (architecture, without_registers) in [("sm_80", "compute_80"), ("sm_90a", "compute_90a")] {
        let compiled = compile_source(&source(architecture), without_registers, ptx);
        let text = compiled.expect("a text").image;
        let text = String::from_utf8_lossy(&text);
        let kernels = text.split(".entry ").skip(1);
        let fused = kernels.filter(|kernel| kernel.contains("fma.rn"));
        let fused: BTreeSet<_> = fused
            .filter_map(|kernel| kernel.split('(').next())
            .collect();
        assert_eq!(fused, BTreeSet::from(["decide"]), "{architecture}");
        // Its scores are f32, its distances f64.
        assert!(!text.contains("fma.rn.f64"), "{architecture}");
    }
}

#[test]
fn images_are_kept_on_disk_and_what_is_none_is_made_again() {
    if !compiler() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let within = folder.path().join("deep").join("down");
    let image = image_in(Some(&within), "sm_80").expect("an image");
    let files = || -> Vec<_> {
        let files = std::fs::read_dir(&within).expect("a folder");
        files.map(|file| file.expect("a file").path()).collect()
    };
    assert_eq!(files().len(), 1, "nothing is left beside it");
    let file = files().remove(0);
    assert_eq!(std::fs::read(&file).expect("a file"), image);
    // What is there is taken as it is.
    std::fs::write(&file, b"\x7fELF of another").expect("a file");
    let kept = image_in(Some(&within), "sm_80").expect("an image");
    assert_eq!(kept, b"\x7fELF of another");
    std::fs::write(&file, b"half").expect("a file");
    assert_eq!(image_in(Some(&within), "sm_80").expect("an image"), image);
}
