//! Damaged bytes of every kind that is one file: refused or read in part, never the end of the
//! process.

mod made;

use flate2::read::GzDecoder;
use made::{fixture, header, photo, tar};
use protem_data::{Kind, open_memory};
use std::fs;
use std::io::Read;
use std::path::Path;

/// Fixed pseudo-random numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Opens damaged copies and reads the first images of those that open; how many did.
fn survives(kind: Kind, whole: &[u8], rounds: usize, mend: impl Fn(&mut [u8])) -> usize {
    let mut random = Numbers(whole.len() as u64);
    let mut opened = 0;
    for _ in 0..rounds {
        let mut bytes = whole.to_vec();
        for _ in 0..1 + random.below(6) {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
        mend(&mut bytes);
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len() + 1));
        }
        if let Ok(set) = open_memory(kind, bytes, Path::new("x")) {
            opened += 1;
            for i in 0..set.len().min(20) {
                drop((set.encoded(i), set.label(i), set.name(i)));
            }
        }
    }
    opened
}

#[test]
fn whatever_the_bytes_the_process_goes_on() {
    let key = "long".repeat(40);
    let (long, said) = (format!("{key}.png"), format!("{key}.json"));
    let image = photo(1);
    let archive = tar(&[
        ("a/1.png", &image),
        ("a/1.cls", b"3"),
        (&long, &image),
        (&said, b"{\"label\": 1}"),
    ]);
    // With sums that are right again, so that what the headers say is believed.
    let sums = |bytes: &mut [u8]| {
        for block in bytes
            .chunks_exact_mut(512)
            .filter(|b| b[257..262] == *b"ustar")
        {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    };
    assert!(survives(Kind::Tar, &archive, 4000, sums) > 100);
    for way in [
        "gzip-dictionary-2",
        "none-plain-1",
        "snappy-dictionary-1",
        "lz4-plain-2",
    ] {
        let whole = fs::read(fixture(&format!("parquet-ways/{way}.parquet"))).unwrap();
        assert!(survives(Kind::Parquet, &whole, 1000, |_| ()) > 100, "{way}");
    }
    let list = b"# mine\na.png 1\nb/c d.jpg\t2\n\n/absolute.bmp 3\n".repeat(5);
    assert!(survives(Kind::List, &list, 2000, |_| ()) > 100);
    let packed = fs::read(fixture("mnist/train-images-idx3-ubyte.gz")).unwrap();
    survives(Kind::Idx, &packed, 500, |_| ()); // its checksum refuses nearly all
    let mut idx = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut idx).unwrap();
    let raw = |file| fs::read(fixture(file)).unwrap();
    for (kind, whole) in [
        (Kind::Idx, idx),
        (Kind::Cifar10, raw("cifar10/test_batch.bin")),
        (Kind::Cifar100, raw("cifar100/train.bin")),
        (Kind::Stl10, raw("stl10/unlabeled_X.bin")),
    ] {
        assert!(survives(kind, &whole, 500, |_| ()) > 0, "{kind:?}");
    }
    assert!(open_memory(Kind::Folder, Vec::new(), Path::new("x")).is_err());
}

/// Gigabytes that are only declared.
#[test]
fn more_than_the_file_is_refused() {
    let mut archive = header("huge.png", 7 << 30).as_bytes().to_vec();
    archive.extend([0; 1024]);
    let mut idx = vec![0, 0, 8, 3];
    for size in [u32::MAX, 8000, 8000] {
        idx.extend(size.to_be_bytes());
    }
    for (kind, bytes) in [(Kind::Tar, archive), (Kind::Idx, idx)] {
        assert!(open_memory(kind, bytes, Path::new("x")).is_err());
    }
}
