//! What memory is counted. Alone, for what is counted is that of the process.

#[test]
fn what_is_freed_again_counts_too() {
    let peak = protem_fuzz::peak(|| {
        drop(std::hint::black_box(vec![1u8; 3 << 20]));
        drop(std::hint::black_box(vec![0u8; 1 << 20]));
    });
    assert!((3 << 20..4 << 20).contains(&peak), "{peak}");
}
