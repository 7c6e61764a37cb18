//! The chatplane binary.

fn main() {}
