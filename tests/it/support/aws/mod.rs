//! Owns the AWS side of the tests: two emulators we did not write, a strict front for what they get wrong, and a proxy that breaks things.

pub(crate) mod emulators;
pub(crate) mod front;
mod letter;
pub(crate) mod proxy;
mod wire;
