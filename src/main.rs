//! The connector.

fn main() {}
