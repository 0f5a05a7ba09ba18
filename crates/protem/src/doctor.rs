//! `protem doctor`: what this machine has, and which kernels run on it.

use crate::console::say;
use crate::failure::Failure;
use crate::system::{free_bytes, memory_bytes, processor, size};
use protem_ops::Isa;
use std::path::Path;

/// Prints the report.
pub fn report(json: bool) -> Result<(), Failure> {
    let isa = Isa::current();
    let available: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
    let forced = std::env::var("PROTEM_ISA").ok();
    let bf16 = match isa {
        Isa::Amx => "tiles of bf16",
        Isa::Avx512Bf16 => "dot products of bf16",
        _ => "stored as bf16, computed in f32 (slower than f32 here, half its memory)",
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (memory, disk) = (memory_bytes(), free_bytes(Path::new(".")));
    if json {
        say(serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "processor": processor(),
            "threads": threads,
            "memory_bytes": memory,
            "free_disk_bytes": disk,
            "isa": isa.name(),
            "isa_available": available,
            "isa_forced": forced,
            "bf16": bf16,
        }));
        return Ok(());
    }
    let unknown = || "unknown".to_owned();
    say(format!("protem      {}", env!("CARGO_PKG_VERSION")));
    say(format!(
        "processor   {}",
        processor().unwrap_or_else(unknown)
    ));
    say(format!("threads     {threads}"));
    say(format!("memory      {}", memory.map_or_else(unknown, size)));
    say(format!(
        "free disk   {} here",
        disk.map_or_else(unknown, size)
    ));
    let why = match forced {
        Some(_) => "as PROTEM_ISA says",
        None => "the best there is",
    };
    say(format!(
        "kernels     {}, {why}; there are {}",
        isa.name(),
        available.join(", ")
    ));
    say(format!("bf16        {bf16}"));
    Ok(())
}
