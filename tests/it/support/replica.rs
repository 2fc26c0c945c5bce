//! Owns copies of a running server: a streaming replica, or what a restore of an older backup would bring back. And the one address
//! a fail-over moves from one server to another.

use super::cluster::{Cluster, Keeper, SUPERUSER_PASSWORD, Version, new_folder, write_private};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// What a primary of these tests is set to: a commit that was answered is on disk, and what a copy needs is kept.
pub(crate) const PRIMARY: &str = "synchronous_commit = on\nwal_keep_size = '256MB'";
/// Variants of [`Version`]: 13 to 18, and one that speaks German.
const VERSIONS: usize = 7;

/// A primary and its replica, which tests take in turns.
pub(crate) struct Pair {
    pub(crate) primary: &'static Cluster,
    pub(crate) replica: &'static Cluster,
}

impl Pair {
    /// Returns the pair of a version that all tests of this process share, once it is free.
    pub(crate) async fn shared(version: Version) -> MutexGuard<'static, Self> {
        static PAIRS: [OnceCell<Mutex<Pair>>; VERSIONS] =
            [const { OnceCell::const_new() }; VERSIONS];
        let make = || async {
            let primary: &'static Cluster = Box::leak(Box::new(Cluster::private(version, PRIMARY)));
            let replica: &'static Cluster = Box::leak(Box::new(primary.replica().await));
            Mutex::new(Self { primary, replica })
        };
        PAIRS[version as usize].get_or_init(make).await.lock().await
    }
}

/// Longest wait for a replica to catch up.
const PATIENCE: Duration = Duration::from_secs(20);

impl Cluster {
    /// Starts a streaming replica of this server.
    pub(crate) async fn replica(&self) -> Self {
        self.copied("", |folder| {
            write_private(&folder.join("data/standby.signal"), "");
            format!(
                "wal_retrieve_retry_interval = '100ms'\nprimary_conninfo = 'host=localhost port={} user=postgres password={SUPERUSER_PASSWORD}'",
                self.port
            )
        })
        .await
    }

    /// Starts a server from a physical copy of this one as it is now, as a restored backup would be.
    pub(crate) async fn clone_of_now(&self) -> Self {
        self.copied(PRIMARY, |_| String::new()).await
    }

    /// Takes a base backup and starts a server from it.
    async fn copied(&self, conf: &str, prepare: impl FnOnce(&Path) -> String) -> Self {
        let folder = new_folder();
        let keeper = Keeper::start(self.version, &folder);
        let session = self.superuser("postgres").await;
        let (begin, end) = match session.server().major() {
            ..15 => (
                "SELECT pg_start_backup('copy', true, false)",
                "SELECT labelfile FROM pg_stop_backup(false, false)",
            ),
            15.. => (
                "SELECT pg_backup_start('copy', true)",
                "SELECT labelfile FROM pg_backup_stop(false)",
            ),
        };
        session.batch("begin a backup", begin).await.unwrap();
        copy(&self.folder.join("data"), &folder);
        let label = session.batch("end the backup", end).await.unwrap();
        // All that the copy needs to become consistent.
        copy(&self.folder.join("data/pg_wal"), &folder.join("data"));
        for file in ["server.crt", "server.key", "ca.crt"] {
            copy(&self.folder.join(file), &folder);
        }
        for left in ["postmaster.pid", "postmaster.opts"] {
            std::fs::remove_file(folder.join("data").join(left)).unwrap();
        }
        write_private(&folder.join("data/backup_label"), label.text().unwrap());
        let more = prepare(&folder);
        Self::begin(
            self.version,
            folder,
            keeper,
            self.certificates.clone(),
            &format!("{conf}\n{more}"),
        )
    }

    /// Returns how far this server has written, or replayed.
    pub(crate) async fn position(&self) -> String {
        let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END";
        let answer = self
            .superuser("postgres")
            .await
            .batch("read the position", sql)
            .await;
        answer.unwrap().text().unwrap_or_default().to_owned()
    }

    /// Waits until this replica has replayed all that `primary` has written up to now.
    pub(crate) async fn caught_up_with(&self, primary: &Self) {
        let wanted = primary.position().await;
        self.until_true(&format!("SELECT pg_last_wal_replay_lsn() >= '{wanted}'"))
            .await;
    }

    /// Stops or resumes the replay of this replica.
    pub(crate) async fn pause_replay(&self, paused: bool) {
        let verb = if paused { "pause" } else { "resume" };
        self.tell(&format!("SELECT pg_wal_replay_{verb}()")).await;
        if paused && self.version_num().await >= 140_000 {
            self.until_true("SELECT pg_get_wal_replay_pause_state() = 'paused'")
                .await;
        }
    }

    /// Lets this replica hear no more of its primary.
    pub(crate) async fn cut_stream(&self) {
        self.tell("ALTER SYSTEM SET primary_conninfo = ''").await;
        self.tell("SELECT pg_reload_conf()").await;
        self.until_true("SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")
            .await;
    }

    /// Makes this replica the primary.
    pub(crate) async fn promote(&self) {
        self.tell("SELECT pg_promote()").await;
        self.until_true("SELECT NOT pg_is_in_recovery()").await;
    }

    /// Runs a statement as the superuser.
    pub(crate) async fn tell(&self, sql: &str) {
        self.superuser("postgres")
            .await
            .batch("tell the server", sql)
            .await
            .unwrap();
    }

    async fn version_num(&self) -> u32 {
        self.superuser("postgres").await.server().version_num
    }

    /// Waits until the server answers yes.
    #[track_caller]
    pub(crate) fn until_true(&self, question: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let session = self.superuser("postgres").await;
            let deadline = Instant::now() + PATIENCE;
            while session.batch("ask", question).await.unwrap().text() != Some("t") {
                assert!(
                    Instant::now() < deadline,
                    "{caller}: never true: {question}"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn copy(from: &Path, into: &Path) {
    // Files may vanish while a running server is copied; what matters is in the log.
    let output = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(into)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let serious = complaints
        .lines()
        .find(|line| !line.contains("No such file"));
    assert_eq!(serious, None);
}

/// A port that leads to one server now and to another one later, as a name does that a fail-over moves.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) port: u16,
    upstream: Arc<AtomicU16>,
}

impl Address {
    /// Leads to a server until [`Address::leads_to`] says otherwise.
    pub(crate) async fn of(server: &Cluster) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = Self {
            port: listener.local_addr().unwrap().port(),
            upstream: Arc::new(AtomicU16::new(server.port)),
        };
        let upstream = Arc::clone(&address.upstream);
        #[expect(
            clippy::disallowed_methods,
            reason = "the task ends with the test's runtime"
        )]
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let port = upstream.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    // A server that is gone refuses, and so does its address.
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        address
    }

    /// New connections go to this server.
    pub(crate) fn leads_to(&self, server: &Cluster) {
        self.upstream.store(server.port, Ordering::Relaxed);
    }
}
