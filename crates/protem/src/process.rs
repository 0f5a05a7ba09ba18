//! What is set for the whole process, before it has threads.

/// Lets the allocator keep what is freed. A step frees and takes the same few megabytes again and
/// again (logits, queue, batches of images); given back to the system in between, their pages are
/// faulted in and zeroed anew each time, a seventh of a small network's step.
///
/// To be called before there are other threads.
pub fn keep_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The most that glibc takes from its heap instead of mapping it for itself.
        const LARGEST: i32 = 32 << 20;
        // SAFETY: `mallopt` sets two numbers of glibc's allocator, and no other thread allocates
        // meanwhile. Where it refuses one, the default stays.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        }
    }
}

/// Lets candle, which computes the losses, have no more threads than everything else: it would take
/// one for each core of the machine, which may be many more than this process has, and all of them
/// wait for each other in each of its operations.
///
/// To be called before there are other threads.
pub fn bound_candle(threads: usize) {
    const NAME: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(NAME).is_none() {
        // SAFETY: no other thread reads the environment meanwhile.
        unsafe { std::env::set_var(NAME, threads.to_string()) };
    }
}
