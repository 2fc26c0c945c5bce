//! The reference control plane.

fn main() {}
