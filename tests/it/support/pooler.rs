//! Owns PgBouncer in front of a test server, gone when the test process is.

use super::cluster::{Cluster, as_server_user, new_folder, place, write_private};
use super::ports::free_port;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for it to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running pooler; it shows the certificate of its server.
pub(crate) struct Pooler {
    pub(crate) port: u16,
    shell: Child,
}

impl Pooler {
    /// Starts a pooler that knows one user, with more lines for its configuration.
    pub(crate) fn start(cluster: &Cluster, user: &str, password: &str, conf: &str) -> Self {
        // Another process may take the free port before the pooler does.
        for _ in 0..5 {
            let port = free_port();
            let folder = new_folder();
            write_private(
                &folder.join("users"),
                &format!("\"{user}\" \"{password}\"\n"),
            );
            write_private(&folder.join("server.crt"), &cluster.certificates.server);
            write_private(&folder.join("server.key"), &cluster.certificates.key);
            write_private(
                &folder.join("pgbouncer.ini"),
                &configuration(&folder, port, cluster.port, conf),
            );
            let shell = keeper(&folder);
            if listens(&folder, port) {
                return Self { port, shell };
            }
            stop(shell);
        }
        panic!("the pooler does not start");
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ended = self.shell.wait();
    }
}

fn stop(mut shell: Child) {
    drop(shell.stdin.take());
    let _ended = shell.wait();
}

fn configuration(folder: &Path, port: u16, server: u16, extra: &str) -> String {
    let folder = folder.display();
    format!(
        "[databases]\n\
         * = host=127.0.0.1 port={server}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = {folder}/users\n\
         client_tls_sslmode = require\n\
         client_tls_cert_file = {folder}/server.crt\n\
         client_tls_key_file = {folder}/server.key\n\
         {extra}\n"
    )
}

/// A shell that stops the pooler and removes its folder once its input ends, which the kernel sees to even when this process is
/// killed.
fn keeper(folder: &Path) -> Child {
    const SCRIPT: &str = r#"
        trap '' INT TERM HUP PIPE
        "$2" "$1/pgbouncer.ini" >"$1/log" 2>&1 </dev/null & pooler=$!
        while read -r _; do :; done
        kill -INT "$pooler"; sleep 0.1; kill -KILL "$pooler"; wait "$pooler"
        rm -rf "$1"
    "#;
    as_server_user(Path::new("/bin/sh"))
        .args(["-c", SCRIPT, "keeper"])
        .arg(folder)
        .arg(place("APONO_TEST_PGBOUNCER"))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

fn listens(folder: &Path, port: u16) -> bool {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
        if log.contains(&format!("listening on 127.0.0.1:{port}")) {
            return true;
        }
        if log.contains("cannot listen") || log.contains("FATAL") {
            return false;
        }
        assert!(
            Instant::now() < deadline,
            "the pooler does not start:\n{log}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
