//! Owns PostgreSQL servers for tests: started in a temporary folder, and surely gone when the test process is, however it ends.

use super::certificate::{Certificate, Certificates};
use super::places::Places;
use super::ports::free_port;
use apono_connector::pg::{ConnectOptions, Session, SslMode};
use apono_connector::secret::Secret;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The password of `postgres` on every test server.
pub(crate) const SUPERUSER_PASSWORD: &str = "superuser-of-a-test-cluster";
/// A loopback address the server listens on and its certificate does not carry.
pub(crate) const UNNAMED_ADDRESS: &str = "127.0.0.2";

/// Members of the first groups are taken in one way only, those of the last two are asked for their password in the old ways;
/// a group exists only if a test makes it.
const ACCESS: &str = "local all all scram-sha-256\n\
     host replication all 127.0.0.0/8 scram-sha-256\n\
     hostnossl all +only_over_tls 127.0.0.0/8 reject\n\
     hostssl all +only_in_clear 127.0.0.0/8 reject\n\
     hostssl all +shows_a_certificate 127.0.0.0/8 scram-sha-256 clientcert=verify-ca\n\
     hostssl all +is_its_certificate 127.0.0.0/8 cert\n\
     host all +asked_in_clear 127.0.0.0/8 password\n\
     host all +asked_by_md5 127.0.0.0/8 md5\n\
     host all all 127.0.0.0/8 scram-sha-256\n";
/// Longest wait for a server to answer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A server the tests run on. Those behind the feature `every-server` are there for `make test-matrix` alone: `make test` has
/// no time for them, and a variant that was not asked for must not show up as a test that passed, so it is not even compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    #[cfg(feature = "every-server")]
    Pg13,
    #[cfg(feature = "every-server")]
    Pg14,
    Pg15,
    #[cfg(feature = "every-server")]
    Pg16,
    #[cfg(feature = "every-server")]
    Pg17,
    Pg18,
    /// The distribution's server, with messages in German: nothing may depend on a text.
    #[cfg(feature = "every-server")]
    German,
}

impl Version {
    const COUNT: usize = 7;

    /// Where `scripts/postgres.sh` says the programs are.
    fn key(self) -> &'static str {
        match self {
            #[cfg(feature = "every-server")]
            Self::Pg13 => "APONO_TEST_PG13_BIN",
            #[cfg(feature = "every-server")]
            Self::Pg14 => "APONO_TEST_PG14_BIN",
            Self::Pg15 => "APONO_TEST_PG15_BIN",
            #[cfg(feature = "every-server")]
            Self::Pg16 => "APONO_TEST_PG16_BIN",
            #[cfg(feature = "every-server")]
            Self::Pg17 => "APONO_TEST_PG17_BIN",
            Self::Pg18 => "APONO_TEST_PG18_BIN",
            #[cfg(feature = "every-server")]
            Self::German => "APONO_TEST_GERMAN_BIN",
        }
    }

    fn bin(self) -> &'static Path {
        place(self.key())
    }

    /// The locale of the server's messages, if it is not `C`.
    fn messages(self) -> Option<&'static str> {
        #[cfg(feature = "every-server")]
        if self == Self::German {
            return Some("de_DE.UTF-8");
        }
        None
    }
}

/// Runs the test body on every server: `name::pg15` and `name::pg18`, with feature `every-server` also `name::pg13`,
/// `name::pg14`, `name::pg16`, `name::pg17` and `name::pg_german`.
macro_rules! on_every_server {
    ($(#[$meta:meta])* async fn $name:ident($cluster:ident: &Cluster) $body:block) => {
        $(#[$meta])*
        #[cfg(test)]
        mod $name {
            use super::*;

            async fn body($cluster: &'static $crate::support::cluster::Cluster) $body

            #[cfg(feature = "every-server")]
            $crate::support::cluster::on_server!(pg13, Pg13);
            #[cfg(feature = "every-server")]
            $crate::support::cluster::on_server!(pg14, Pg14);
            $crate::support::cluster::on_server!(pg15, Pg15);
            #[cfg(feature = "every-server")]
            $crate::support::cluster::on_server!(pg16, Pg16);
            #[cfg(feature = "every-server")]
            $crate::support::cluster::on_server!(pg17, Pg17);
            $crate::support::cluster::on_server!(pg18, Pg18);
            #[cfg(feature = "every-server")]
            $crate::support::cluster::on_server!(pg_german, German);
        }
    };
}
/// One of them.
macro_rules! on_server {
    ($name:ident, $version:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            use $crate::support::cluster::{Cluster, Version};
            Box::pin(body(Cluster::shared(Version::$version))).await;
        }
    };
}
pub(crate) use on_every_server;
pub(crate) use on_server;

/// A running server.
pub(crate) struct Cluster {
    pub(crate) port: u16,
    pub(crate) certificates: Certificates,
    pub(crate) version: Version,
    pub(super) folder: PathBuf,
    keeper: Mutex<Keeper>,
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    Well,
    Killed,
}

/// What `psql` answered.
#[derive(Debug)]
pub(crate) struct Psql {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Cluster {
    /// Returns the server of a version that all tests of this process share.
    pub(crate) fn shared(version: Version) -> &'static Self {
        static SHARED: [OnceLock<Cluster>; Version::COUNT] =
            [const { OnceLock::new() }; Version::COUNT];
        let cell = &SHARED[version as usize];
        cell.get_or_init(|| Self::private(version, ""))
    }

    /// Starts a server for one test, with more lines for `postgresql.conf`.
    pub(crate) fn private(version: Version, extra_conf: &str) -> Self {
        Self::private_in(version, extra_conf, |_| Vec::new())
    }

    /// The same with an environment, which may depend on the server's folder.
    pub(super) fn private_in(
        version: Version,
        extra_conf: &str,
        environment: impl FnOnce(&Path) -> Vec<(&'static str, PathBuf)>,
    ) -> Self {
        let folder = new_folder();
        let mut keeper = Keeper::start_in(version, &folder, environment(&folder));
        let certificates = Certificates::for_names(&["localhost", "127.0.0.1"]);
        write_private(&folder.join("password"), SUPERUSER_PASSWORD);
        keeper.order("init", &folder);
        write_private(&folder.join("server.crt"), &certificates.server);
        write_private(&folder.join("server.key"), &certificates.key);
        let ca = folder.join("ca.crt");
        write_private(&ca, &certificates.ca);
        fs::set_permissions(&ca, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&folder.join("data/pg_hba.conf"), ACCESS);
        Self::begin(version, folder, keeper, certificates, extra_conf)
    }

    /// Starts a server on a data folder that is ready.
    pub(super) fn begin(
        version: Version,
        folder: PathBuf,
        mut keeper: Keeper,
        certificates: Certificates,
        extra_conf: &str,
    ) -> Self {
        // Another process may take the free port before the server does.
        for _ in 0..5 {
            let port = free_port();
            write_private(
                &folder.join("data/postgresql.auto.conf"),
                &configuration(&folder, port, extra_conf),
            );
            if start(&mut keeper, &folder, port) {
                if let Some(locale) = version.messages() {
                    speak(&mut keeper, &folder, port, extra_conf, locale);
                }
                return Self {
                    port,
                    certificates,
                    version,
                    folder,
                    keeper: Mutex::new(keeper),
                };
            }
        }
        panic!("the server does not start:\n{}", log_of(&folder));
    }

    /// Ends the server: well, or as `kill -9` would.
    pub(crate) fn halt(&self, how: Halt) {
        let order = match how {
            Halt::Well => "stop",
            Halt::Killed => "kill",
        };
        self.keeper.lock().unwrap().order(order, &self.folder);
    }

    /// Starts the server again, where it was.
    pub(crate) fn start_again(&self) {
        let mut keeper = self.keeper.lock().unwrap();
        assert!(start(&mut keeper, &self.folder, self.port));
    }

    /// Returns how to connect as a user, by TCP under `verify-full`.
    pub(crate) fn options(&self, user: &str, password: &str, database: &str) -> ConnectOptions {
        ConnectOptions {
            host: "localhost".to_owned(),
            port: self.port,
            database: database.to_owned(),
            user: user.to_owned(),
            password: Secret::new(password.to_owned()),
            ssl_mode: SslMode::VerifyFull,
            root_ca_pem: Some(Arc::clone(&self.certificates.ca)),
            client: None,
            application_name: "apono-connector test".to_owned(),
            pass_over_replicas: false,
            names: ConnectOptions::system_names(),
        }
    }

    /// Opens a session of the superuser.
    pub(crate) async fn superuser(&self, database: &str) -> Session {
        Session::connect(&self.options("postgres", SUPERUSER_PASSWORD, database))
            .await
            .unwrap()
    }

    /// Makes a database nobody else uses, owned by `owner`, and returns its name.
    pub(crate) async fn fresh_database(&self, owner: &str) -> String {
        let name = fresh("db");
        self.superuser("postgres")
            .await
            .batch(
                "make a database",
                &format!("CREATE DATABASE {name} OWNER \"{owner}\""),
            )
            .await
            .unwrap();
        name
    }

    /// Runs statements in `psql`, as a person would, over TLS.
    pub(crate) fn psql(&self, user: &str, password: &str, database: &str, sql: &str) -> Psql {
        let output = self
            .psql_command(user, password, database)
            .args(["-c", sql])
            .output()
            .unwrap();
        Psql {
            ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Returns `psql` as a person would start it, over TLS.
    pub(crate) fn psql_command(&self, user: &str, password: &str, database: &str) -> Command {
        let ca = self.ca_file();
        let mut command = Command::new(place("APONO_TEST_PSQL"));
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            // Errors carry their SQLSTATE: the text may be in any language.
            .args(["-v", "VERBOSITY=verbose"])
            .env("PGHOST", "localhost")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", user)
            .env("PGPASSWORD", password)
            .env("PGDATABASE", database)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", &ca)
            .env("PGCONNECT_TIMEOUT", "10");
        command
    }

    /// Returns a file with the certificate authority, which goes with the server.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// Starts the server again as a replica, which has no primary to follow.
    pub(crate) fn turn_into_a_replica(&mut self) {
        let keeper = self.keeper.get_mut().unwrap();
        keeper.order("stop", &self.folder);
        write_private(&self.folder.join("data/standby.signal"), "");
        assert!(start(keeper, &self.folder, self.port));
    }

    /// Gives the server another certificate, which it shows from its next reload on.
    pub(crate) fn replace_certificate(&self, certificate: &Certificate) {
        write_private(&self.folder.join("server.crt"), &certificate.pem);
        write_private(
            &self.folder.join("server.key"),
            &certificate.key.serialize_pem(),
        );
    }

    /// Puts lines in front of those that say how people are let in, which count from the next reload on.
    pub(crate) fn ask_first(&self, lines: &str) {
        let file = self.folder.join("data/pg_hba.conf");
        write_private(&file, &format!("{lines}{ACCESS}"));
    }

    /// Returns all the server has logged so far, every statement included.
    pub(crate) fn log(&self) -> String {
        log_of(&self.folder)
    }
}

/// Returns a name no other caller in this process gets.
pub(crate) fn fresh(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns one of the places `scripts/postgres.sh` prints.
pub(crate) fn place(key: &str) -> &'static Path {
    const EVERY: Option<&str> = if cfg!(feature = "every-server") {
        Some("every")
    } else {
        None
    };
    static PLACES: Places = Places::of("scripts/postgres.sh", EVERY);
    PLACES.get(key)
}

/// The server refuses to run as root; then everything of it belongs to user `postgres`.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(super) fn as_server_user(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

pub(super) fn new_folder() -> PathBuf {
    let folder = tempfile::Builder::new()
        .prefix("apono-pg-")
        .tempdir()
        .unwrap()
        .keep();
    give_to_server(&folder);
    // The socket and the CA are for everyone; the data folder has its own mode.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn give_to_server(path: &Path) {
    if is_root() {
        let done = Command::new("chown")
            .arg("postgres:postgres")
            .arg(path)
            .status()
            .unwrap();
        assert!(done.success(), "chown of {} failed", path.display());
    }
}

pub(super) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    give_to_server(path);
}

fn configuration(folder: &Path, port: u16, extra: &str) -> String {
    format!(
        "listen_addresses = '127.0.0.1,{UNNAMED_ADDRESS}'\n\
         port = {port}\n\
         unix_socket_directories = '{folder}'\n\
         ssl = on\n\
         ssl_cert_file = '{folder}/server.crt'\n\
         ssl_key_file = '{folder}/server.key'\n\
         ssl_ca_file = '{folder}/ca.crt'\n\
         password_encryption = 'scram-sha-256'\n\
         fsync = off\n\
         synchronous_commit = off\n\
         full_page_writes = off\n\
         shared_buffers = '32MB'\n\
         max_connections = 200\n\
         max_prepared_transactions = 10\n\
         shared_preload_libraries = 'pg_stat_statements'\n\
         log_statement = 'all'\n\
         log_line_prefix = '%m [%p] %u@%d '\n\
         lc_messages = 'C'\n\
         {extra}\n",
        folder = folder.display()
    )
}

/// Starts the server and waits until it answers. Says no if the port was taken.
fn start(keeper: &mut Keeper, folder: &Path, port: u16) -> bool {
    keeper.order("start", folder);
    let deadline = Instant::now() + START_LIMIT;
    while asked(folder, port, "SELECT 1").is_none() {
        let log = log_of(folder);
        if log.contains("could not create any TCP/IP sockets") {
            keeper.order("stop", folder);
            return false;
        }
        assert!(
            !has_given_up(&log) && Instant::now() < deadline,
            "the server does not start:\n{log}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Has the server speak another language from now on. While it starts it speaks English, which `start` understands.
fn speak(keeper: &mut Keeper, folder: &Path, port: u16, extra: &str, locale: &str) {
    let extra = format!("{extra}\nlc_messages = '{locale}'");
    write_private(
        &folder.join("data/postgresql.auto.conf"),
        &configuration(folder, port, &extra),
    );
    keeper.order("reload", folder);
    let deadline = Instant::now() + START_LIMIT;
    while asked(folder, port, "SHOW lc_messages").as_deref() != Some(locale) {
        assert!(Instant::now() < deadline, "the server speaks no `{locale}`");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A shell that makes, starts and stops the server by order, and stops it and removes its folder once orders end: which the
/// kernel sees to even when this process is killed.
pub(super) struct Keeper {
    shell: Child,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    pub(super) fn start(version: Version, folder: &Path) -> Self {
        Self::start_in(version, folder, Vec::new())
    }

    fn start_in(
        version: Version,
        folder: &Path,
        environment: Vec<(&'static str, PathBuf)>,
    ) -> Self {
        const SCRIPT: &str = r#"
            trap '' INT TERM HUP PIPE
            server=
            stop() {
                if [ -n "$server" ]; then kill -INT "$server"; wait "$server"; server=; fi
            }
            while read -r order; do
                case $order in
                init)
                    "$2/initdb" -D "$1/data" -U postgres -A scram-sha-256 --no-sync -E UTF8 \
                        --locale=C.UTF-8 --pwfile="$1/password" >"$1/log" 2>&1 </dev/null &&
                        rm -f "$1/password" "$1/log" && echo done || echo failed
                    ;;
                start) "$2/postgres" -D "$1/data" >>"$1/log" 2>&1 </dev/null & server=$!; echo done ;;
                reload) kill -HUP "$server"; echo done ;;
                stop) stop; rm -f "$1/log"; echo done ;;
                kill)
                    kill -KILL "$server"; wait "$server"; server=
                    # Its children end by themselves, and a new server wants them gone.
                    while ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -q " -> $1/data$"; do sleep 0.02; done
                    rm -f "$1/log"; echo done
                    ;;
                esac
            done
            stop
            rm -rf "$1"
        "#;
        let mut shell = as_server_user(Path::new("/bin/sh"))
            .args(["-c", SCRIPT, "keeper"])
            .arg(folder)
            .arg(version.bin())
            .envs(
                version
                    .messages()
                    .map(|_| ("LOCPATH", place("APONO_TEST_LOCALES"))),
            )
            .envs(environment)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C must not reach the server: its end comes by the pipe.
            .process_group(0)
            .spawn()
            .unwrap();
        let answers = BufReader::new(shell.stdout.take().unwrap());
        Self { shell, answers }
    }

    pub(super) fn order(&mut self, order: &str, folder: &Path) {
        writeln!(self.shell.stdin.as_mut().unwrap(), "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "{order}:\n{}", log_of(folder));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Keepers of shared clusters are never dropped: their orders end with the process.
        drop(self.shell.stdin.take());
        let _ended = self.shell.wait();
    }
}

/// A refused connection attempt of ours is logged as FATAL too, while the server is starting up; the server's own lines name no user.
fn has_given_up(log: &str) -> bool {
    log.lines().any(|line| line.contains(" @ FATAL:  "))
}

/// Returns what the superuser is told by way of the socket, if the server answers.
fn asked(folder: &Path, port: u16, sql: &str) -> Option<String> {
    let output = Command::new(place("APONO_TEST_PSQL"))
        .args(["-X", "-q", "-A", "-t", "-c", sql])
        .env("PGHOST", folder)
        .env("PGPORT", port.to_string())
        .env("PGUSER", "postgres")
        .env("PGPASSWORD", SUPERUSER_PASSWORD)
        .env("PGDATABASE", "postgres")
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let answer = String::from_utf8(output.stdout).unwrap();
    output
        .status
        .success()
        .then(|| answer.trim_end().to_owned())
}

fn log_of(folder: &Path) -> String {
    String::from_utf8_lossy(&fs::read(folder.join("log")).unwrap_or_default()).into_owned()
}
