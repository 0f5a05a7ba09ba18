//! What the fuzzer drives: each reader of bytes from outside as a function of those bytes.
//!
//! `cargo xtask fuzz TARGET` looks for inputs that break one, `cargo test -p protem-fuzz` reads
//! again the inputs it kept. A new reader is a function and a line of [`TARGETS`], files to start
//! from in `seeds/TARGET` and, where the format has words, `dictionaries/TARGET.dict`.

mod memory;
mod readers;

pub use memory::peak;

/// A reader, and what it may take.
#[derive(Debug)]
pub struct Target {
    /// What `cargo xtask fuzz` calls it.
    pub name: &'static str,
    /// Reads everything that the bytes hold. A panic is a finding.
    read: fn(&[u8]),
    /// Bytes that reading may allocate, at the highest, whatever the input.
    memory: usize,
}

/// Every reader.
pub const TARGETS: &[Target] = &[
    Target {
        name: "npy",
        read: readers::npy,
        memory: 1 << 20,
    },
    Target {
        name: "image",
        read: readers::image,
        memory: readers::IMAGE_MEMORY,
    },
    Target {
        name: "tar",
        read: readers::tar,
        memory: 256 << 20,
    },
    Target {
        name: "parquet",
        read: readers::parquet,
        memory: readers::PARQUET_MEMORY,
    },
    Target {
        name: "features",
        read: |bytes| _ = readers::features(bytes),
        memory: readers::PARQUET_MEMORY,
    },
    Target {
        name: "list",
        read: readers::list,
        memory: 16 << 20,
    },
    Target {
        name: "idx",
        read: readers::idx,
        memory: 256 << 20,
    },
    Target {
        name: "cifar10",
        read: readers::cifar10,
        memory: 1 << 20,
    },
    Target {
        name: "cifar100",
        read: readers::cifar100,
        memory: 1 << 20,
    },
    Target {
        name: "stl10",
        read: readers::stl10,
        memory: 1 << 20,
    },
    Target {
        name: "idx_labels",
        read: |bytes| _ = readers::idx_labels(bytes),
        memory: 256 << 20,
    },
    Target {
        name: "voc",
        read: |bytes| _ = readers::voc(bytes),
        memory: 16 << 20,
    },
    Target {
        name: "imagenet",
        read: |bytes| _ = readers::imagenet(bytes),
        memory: 16 << 20,
    },
    Target {
        name: "imagenet_train",
        read: |bytes| _ = readers::imagenet_train(bytes),
        memory: 16 << 20,
    },
    Target {
        name: "devkit",
        read: |bytes| _ = readers::devkit(bytes),
        memory: 256 << 20,
    },
    Target {
        name: "places",
        read: |bytes| _ = readers::places(bytes),
        memory: 16 << 20,
    },
    Target {
        name: "checkpoint",
        read: readers::checkpoint,
        memory: 64 << 20,
    },
    Target {
        name: "weights",
        read: readers::weights,
        memory: 64 << 20,
    },
    Target {
        name: "onnx",
        read: readers::onnx,
        memory: 1 << 20,
    },
];

impl Target {
    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Reads `bytes`. The memory measured is the whole process's: nothing else should run.
    ///
    /// # Panics
    /// Where the reader panics, breaks a property, or allocates more than it may.
    pub fn check(&self, bytes: &[u8]) {
        let peak = peak(|| (self.read)(bytes));
        let (name, allowed) = (self.name, self.memory);
        assert!(
            peak <= allowed,
            "{name} allocated {peak} bytes, {allowed} are allowed"
        );
    }
}
