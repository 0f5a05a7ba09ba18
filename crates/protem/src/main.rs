//! The protem command line.
fn main() {}
