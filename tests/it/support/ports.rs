//! Owns the choice of ports.

use std::net::TcpListener;

/// Returns a port of this machine nobody listens on; somebody may before it is used.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
