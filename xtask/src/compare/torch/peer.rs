//! PyTorch without what only a GPU needs.

use std::path::{Path, PathBuf};

use super::cuda_stubs;
use crate::compare::Outcome;
use crate::compare::python::{Peer, printed};

pub const TORCH: Peer = Peer {
    name: "PyTorch",
    module: "torch",
    pinned: "2.15.0",
};
/// What torch imports, less what only a GPU needs (a few gigabytes).
const NEEDS: [&str; 8] = [
    "filelock",
    "fsspec",
    "jinja2",
    "networkx",
    "numpy",
    "setuptools",
    "sympy",
    "typing-extensions",
];

pub const TORCHVISION: Peer = Peer {
    name: "torchvision",
    module: "torchvision",
    pinned: "0.29.2",
};
/// What torchvision reads and makes images with.
const PILLOW: Peer = Peer {
    name: "Pillow",
    module: "PIL",
    pinned: "13.0.0",
};

/// A Python with torchvision, in the environment of torch.
pub fn set_up_torchvision(folder: &Path) -> Outcome<PathBuf> {
    let python = set_up(folder)?;
    for peer in [PILLOW, TORCHVISION] {
        if !peer.is_in(&python) {
            let pinned = format!("{}=={}", peer.name, peer.pinned);
            peer.pip(&python, &["--no-deps", &pinned])?;
        }
    }
    Ok(python)
}

/// A Python with torch in `folder`, put there unless it is there already.
pub fn set_up(folder: &Path) -> Outcome<PathBuf> {
    TORCH.set_up(&folder.join("venv"), "about 1.5 GB", |python| {
        TORCH.pip(python, &NEEDS)?;
        // Without what it asks for: on Linux that is the CUDA libraries, and only the CPU is measured.
        let torch = format!("torch=={}", TORCH.pinned);
        TORCH.pip(python, &["--no-deps", &torch])?;
        match TORCH.version(python) {
            Ok(_) => Ok(()),
            Err(_) => cuda_stubs::put_into(&libraries(python)?),
        }
    })
}

/// The folder of torch's shared libraries, which is found without loading them.
fn libraries(python: &Path) -> Outcome<PathBuf> {
    let script = "from importlib.util import find_spec\n\
                  print(find_spec('torch').submodule_search_locations[0])";
    Ok(Path::new(&printed(python, script)?).join("lib"))
}
