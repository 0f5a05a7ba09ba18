//! What the compiler says of each kernel, as a page.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// In the order of the page.
const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_89", "sm_90a"];

const HEAD: &str = "# The CUDA kernels of protem-cluster\n\n\
    Written by `cargo xtask kernels` from what NVRTC 13.0 says: registers of a thread / bytes of \
    spills stored and loaded by a thread / bytes of shared memory of a block that are known when it \
    is compiled. `best_of_groups_wgmma` is for sm_90a alone and asks for up to 227 KiB more when it \
    is launched (`src/cuda/kernels/wgmma.rs`). None of these kernels has run on a GPU yet; their logic is \
    tested on the processor (see `xtask/kernels`), and their speed is not known.\n\n";

/// What a kernel takes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Needs {
    registers: u32,
    spills: u32,
    shared: u32,
}

/// The page, from a log per architecture in `folder`.
pub fn of(folder: &Path) -> Result<String, String> {
    let mut kernels: BTreeMap<String, [Option<Needs>; ARCHITECTURES.len()]> = BTreeMap::new();
    for (place, architecture) in ARCHITECTURES.iter().enumerate() {
        let file = folder.join(architecture);
        let log = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        // A product that waits for the one before it is as good as a spill.
        if let Some(line) = log.lines().find(|line| line.contains("serialized")) {
            return Err(format!("{architecture}: {line}"));
        }
        for (kernel, needs) in parsed(&log) {
            kernels.entry(kernel).or_default()[place] = Some(needs);
        }
    }
    if kernels.is_empty() {
        return Err("the compiler's logs name no kernel".into());
    }
    let mut page = String::from(HEAD);
    let columns = ARCHITECTURES.join(" | ");
    page += &format!("| kernel | {columns} |\n|---|---|---|---|\n");
    for (kernel, needs) in kernels {
        let _ = write!(page, "| `{kernel}` |");
        for needs in needs {
            let _ = match needs {
                Some(needs) => write!(
                    page,
                    " {} / {} / {} |",
                    needs.registers, needs.spills, needs.shared
                ),
                None => write!(page, " – |"),
            };
        }
        page.push('\n');
    }
    Ok(page)
}

/// Kernels and their needs, from lines such as `Compiling entry function 'decide' for 'sm_80'`,
/// `8 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads` and `Used 40 registers, used 1
/// barriers, 1024 bytes smem`.
fn parsed(log: &str) -> Vec<(String, Needs)> {
    let mut found: Vec<(String, Needs)> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("entry function '") {
            let name = rest.split('\'').next().unwrap_or_default();
            found.push((name.into(), Needs::default()));
        }
        let Some((_, needs)) = found.last_mut() else {
            continue;
        };
        needs.spills += before(line, " bytes spill stores") + before(line, " bytes spill loads");
        needs.registers += before(line, " registers");
        needs.shared += before(line, " bytes smem");
    }
    found
}

/// The number before these words, 0 without them.
fn before(line: &str, words: &str) -> u32 {
    let number = line
        .split_once(words)
        .and_then(|(before, _)| before.rsplit([' ', '\t']).next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_read_from_the_compilers_words() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'decide' for 'sm_90a'\n\
            ptxas info    : Function properties for decide\n\
            ptxas         .     8 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads\n\
            ptxas info    : Used 40 registers, used 1 barriers, 9216 bytes smem, 408 bytes cmem[0]\n\
            ptxas info    : Compiling entry function 'other' for 'sm_90a'\n\
            ptxas info    : Used 19 registers, used 0 barriers\n";
        let needs = |registers, spills, shared| Needs {
            registers,
            spills,
            shared,
        };
        let expected = [
            ("decide".into(), needs(40, 24, 9216)),
            ("other".into(), needs(19, 0, 0)),
        ];
        assert_eq!(parsed(log), expected);
    }
}
