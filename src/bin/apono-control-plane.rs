//! The reference control plane.

fn main() -> std::process::ExitCode {
    apono_connector::reference_plane::run()
}
