//! What is missing or in the way, and what is said of it.

use super::*;
use crate::cuda::driver::{DRIVER, load};
use cudarc::driver::DriverError;
use cudarc::driver::sys::cudaError_enum::{CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_OUT_OF_MEMORY};

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
