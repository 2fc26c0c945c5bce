//! Behaviour of the whole product.

mod reference_plane;
