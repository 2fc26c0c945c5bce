//! Owns the tests of what people install with: templates beside the code.

mod permissions;
mod template;
