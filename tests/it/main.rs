//! Behaviour of the whole product.

#[test]
fn a() {}
