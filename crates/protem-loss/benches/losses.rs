//! Time of the losses, forward and backward: `cargo bench -p protem-loss`.

fn main() {}
