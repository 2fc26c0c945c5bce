//! The checker catches what is planted: each kind of fault, by its name.
