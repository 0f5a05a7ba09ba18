//! What is missing or in the way, and what is said of it.

use super::*;
use crate::Warning;
use crate::cuda::compile::compile;
use crate::cuda::driver::{DRIVER, load};
use cudarc::driver::DriverError;
use cudarc::driver::sys::cudaError_enum::{CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_OUT_OF_MEMORY};
use std::process::Command;

#[test]
fn an_image_that_the_driver_refuses_is_made_again_or_said_to_be_refused() {
    let refuse = |image: Vec<u8>| match image[..] == *b"good" {
        true => Ok(()),
        false => Err(DriverError(CUDA_ERROR_INVALID_IMAGE)),
    };
    let (good, torn) = (|| Ok(b"good".to_vec()), || b"torn".to_vec());
    assert_eq!(load(b"good".to_vec(), || panic!("once"), refuse), Ok(()));
    assert_eq!(load(torn(), good, refuse), Ok(()));
    let advice = "update the driver, or install NVRTC of its CUDA version";
    let newer = load(torn(), || Ok(torn()), refuse).unwrap_err().to_string();
    assert!(newer.contains("CUDA_ERROR_INVALID_IMAGE"), "{newer}");
    assert!(newer.ends_with(advice), "{newer}");
    let log = "no such option".to_owned();
    let compiled = || Err(ClusterError::DeviceCompile { log });
    let both = load(torn(), compiled, refuse).unwrap_err().to_string();
    assert!(both.contains(advice), "{both}");
    assert!(both.ends_with("no such option"), "{both}");
    let full = |_| Err::<(), _>(DriverError(CUDA_ERROR_OUT_OF_MEMORY));
    let full = load(torn(), || panic!("in vain"), full);
    assert_eq!(full, Err(ClusterError::DeviceFull));
}

#[test]
fn too_little_memory_says_how_many_clusters_fit_or_why_that_does_not_help() {
    let said = |fitting| {
        let error = ClusterError::DeviceMemory {
            clusters: 40,
            points: 256,
            needed: 900,
            free: 100,
            fitting,
        };
        error.to_string()
    };
    assert!(said(39).ends_with("100 are free: 39 clusters would fit"));
    let none = said(0);
    assert!(none.contains("not one") && none.ends_with("(`Device::Cpu`)"));
    let all = said(40);
    assert!(all.contains("meanwhile") && all.contains("try again"));
    assert!(!all.contains("40 clusters would fit"));
}

#[test]
fn what_is_missing_is_named_with_what_to_install() {
    let said = |error: ClusterError, install: &str| {
        let missing = matches!(error, ClusterError::DeviceMissing { .. });
        assert!(missing && error.to_string().contains(install), "{error}");
    };
    if !present(&DRIVER) {
        let error = cuda_device(0).unwrap_err();
        said(error, "install the NVIDIA driver");
    }
    if !present(&NVRTC) {
        let error = compile("sm_80").unwrap_err();
        said(error, "install that of CUDA 12 or 13");
    }
}

/// Warnings of two fits that are worth a device and did without.
pub(super) fn without_a_device() -> Vec<Warning> {
    let values = numbers(1 << 16, 1);
    let rows = Matrix::new(&values, 1 << 16, 1).expect("the right length");
    let kmeans = KMeans::builder(2).iterations(1).min_points_per_centroid(0);
    let kmeans = kmeans.device(crate::Device::Auto).build();
    let fits = kmeans
        .expect("settings")
        .fit_many(rows, &[1 << 10, 1 << 11]);
    let fits = fits.expect("fits");
    assert!(fits.iter().all(|fit| fit.device == crate::Device::Cpu));
    let warnings = fits.into_iter().flat_map(|fit| fit.warnings);
    warnings
        .filter(|said| !matches!(said, Warning::Empty { .. }))
        .collect()
}

#[test]
fn a_device_that_cannot_be_used_is_a_warning_and_is_tried_once() {
    const SELF: &str =
        "cuda::tests::errors::a_device_that_cannot_be_used_is_a_warning_and_is_tried_once";
    if !present(&DRIVER) {
        assert_eq!(without_a_device(), []);
        return;
    }
    if std::env::var_os("PROTEM_DRIVER_LOG").is_none() {
        eprintln!("skipped: this driver's device is what it is");
        return;
    }
    if std::env::var_os("PROTEM_DRIVER_CAPABILITY").is_some_and(|it| it == "75") {
        let warnings = without_a_device();
        assert_eq!(warnings.len(), 2);
        for warning in warnings {
            let said = warning.to_string();
            assert!(said.contains("capability 7.5, below 8.0"), "{said}");
        }
        return;
    }
    // In a process of its own, which has not yet opened the device.
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("driver.log");
    let test = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", SELF])
        .env("PROTEM_DRIVER_CAPABILITY", "75")
        .env("PROTEM_DRIVER_LOG", &log)
        .output();
    let said = String::from_utf8(test.expect("a process").stdout).expect("text");
    assert!(said.contains("1 passed"), "{said}");
    let log = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(
        log.lines()
            .filter(|line| line.starts_with("context"))
            .count(),
        1
    );
}
