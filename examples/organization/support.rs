//! Owns nothing: the AWS of the tests, as far as it is needed here.

#[expect(dead_code, unused_imports, reason = "the tests use all of it")]
#[expect(clippy::unwrap_used, clippy::panic, reason = "code of tests")]
#[path = "../../tests/it/support/aws/mod.rs"]
pub(crate) mod aws;
#[expect(dead_code, reason = "the tests use all of it")]
#[expect(clippy::unwrap_used, reason = "code of tests")]
#[path = "../../tests/it/support/ldap.rs"]
pub(crate) mod ldap;
#[expect(clippy::unwrap_used, clippy::panic, reason = "code of tests")]
#[path = "../../tests/it/support/places.rs"]
pub(crate) mod places;
#[expect(clippy::unwrap_used, reason = "code of tests")]
#[path = "../../tests/it/support/ports.rs"]
pub(crate) mod ports;
