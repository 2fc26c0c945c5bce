//! The whole product as separate processes: a server, the reference control plane, the connector, and people at a terminal.

use super::cluster::{Cluster, Psql};
use super::road::{Road, set_up_admin_road};
use apono_connector::clock::{Clock, SystemClock};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const CONNECTOR: &str = env!("CARGO_BIN_EXE_apono-connector");
const CONTROL_PLANE: &str = env!("CARGO_BIN_EXE_apono-control-plane");
/// Longest time a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns a client that keeps to no proxy.
pub(crate) fn http_client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Returns the time of the machine.
pub(crate) fn now() -> jiff::Timestamp {
    SystemClock.now()
}

/// A process that is gone when the test is.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills as `kill -9` would.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks to stop, and goes on at once.
    pub(crate) fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Asks to stop, and returns whether it ended well within the time.
    pub(crate) fn terminate(mut self, within: Duration) -> bool {
        self.ask_to_stop();
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Tells how the process ended, if it has.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits until the process has ended by itself; returns whether it did.
    pub(crate) fn ended(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

pub(crate) struct World {
    pub(crate) cluster: &'static Cluster,
    pub(crate) road: Road,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) plane: Option<Process>,
    pub(crate) connector: Option<Process>,
    address: String,
    /// More environment for the connector.
    pub(crate) environment: Vec<(String, String)>,
    /// More options for the control plane.
    pub(crate) plane_options: Vec<String>,
    pace: Pace,
}

/// How fast the connector looks after what ended, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) drift_every: u32,
    pub(crate) clean_up_every: u32,
    pub(crate) clean_up_delay: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            drift_every: 5,
            clean_up_every: 5,
            clean_up_delay: 1,
        }
    }
}

/// A credential as the requester has it.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) grant: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
}

impl World {
    /// Starts everything and registers the database as integration `orders`.
    pub(crate) async fn start(cluster: &'static Cluster) -> Self {
        Self::start_with(cluster, &[], &[]).await
    }

    /// Starts everything with a connector of another pace.
    pub(crate) async fn start_paced(cluster: &'static Cluster, pace: Pace) -> Self {
        Self::start_all(cluster, &[], &[], pace).await
    }

    pub(crate) async fn start_with(
        cluster: &'static Cluster,
        environment: &[(&str, &str)],
        plane_options: &[&str],
    ) -> Self {
        Self::start_all(cluster, environment, plane_options, Pace::default()).await
    }

    async fn start_all(
        cluster: &'static Cluster,
        environment: &[(&str, &str)],
        plane_options: &[&str],
        pace: Pace,
    ) -> Self {
        let mut world = Self::prepare_paced(cluster, environment, plane_options, pace).await;
        world.begin();
        world
    }

    /// Starts all but the connector, so that a test can change what it will find.
    pub(crate) async fn prepare(
        cluster: &'static Cluster,
        environment: &[(&str, &str)],
        plane_options: &[&str],
    ) -> Self {
        Self::prepare_paced(cluster, environment, plane_options, Pace::default()).await
    }

    async fn prepare_paced(
        cluster: &'static Cluster,
        environment: &[(&str, &str)],
        plane_options: &[&str],
        pace: Pace,
    ) -> Self {
        let world = Self::bare(cluster, environment, plane_options, pace).await;
        world.add_integration("orders");
        world
    }

    /// Starts the control plane alone.
    async fn bare(
        cluster: &'static Cluster,
        environment: &[(&str, &str)],
        plane_options: &[&str],
        pace: Pace,
    ) -> Self {
        let road = set_up_admin_road(cluster).await;
        let folder = tempfile::tempdir().unwrap();
        let own = |text: &&str| (*text).to_owned();
        let mut world = Self {
            cluster,
            road,
            folder,
            plane: None,
            connector: None,
            address: "127.0.0.1:0".to_owned(),
            environment: environment
                .iter()
                .map(|(key, value)| (own(key), own(value)))
                .collect(),
            plane_options: plane_options.iter().map(own).collect(),
            pace,
        };
        world.prepare_files();
        world.start_plane();
        world
    }

    /// Starts all but the connector, with the credential of `orders` where a reference says, and more configuration.
    pub(crate) async fn prepare_with_secret(
        cluster: &'static Cluster,
        secret: &str,
        configuration: impl FnOnce(&Self) -> String,
    ) -> Self {
        let world = Self::bare(cluster, &[], &[], Pace::default()).await;
        let more = configuration(&world);
        let all = fs::read_to_string(world.path("connector.toml")).unwrap() + &more;
        world.write("connector.toml", &all);
        world.add_changed_integration("test-connector", "orders", &[("secret", secret)]);
        world
    }

    /// Starts the connector and waits until `orders` is in use.
    pub(crate) fn begin(&mut self) {
        self.start_connector();
        self.until("the integration is in use", |world| {
            world.integration("orders")["status"] == "active"
        });
    }

    /// Returns what people see of an integration.
    pub(crate) fn integration(&self, name: &str) -> Value {
        let all = self.json(&["integration", "list", "--format", "json"]);
        let found = all
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == name);
        found.cloned().unwrap_or_default()
    }

    /// Returns what people see of a grant.
    pub(crate) fn seen(&self, grant: &str) -> Value {
        let all = self.json(&["grants", "--all", "--format", "json"]);
        let found = all
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["grant"]["id"] == grant);
        found.cloned().unwrap_or_default()
    }

    /// Returns where the control plane listens.
    pub(crate) fn plane_address(&self) -> &str {
        &self.address
    }

    fn prepare_files(&self) {
        let secret = serde_json::json!({
            "username": self.road.connector.user,
            "password": self.road.connector.password.expose(),
        });
        self.write("secret.json", &secret.to_string());
        self.write("ca.pem", &self.cluster.certificates.ca);
        self.write(
            "connector.toml",
            &format!(
                "listen = \"127.0.0.1:0\"\n[sweeps]\nexpiry_every_s = 1\ndrift_every_s = {}\nclean_up_every_s = {}\n",
                self.pace.drift_every, self.pace.clean_up_every
            ),
        );
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn start_plane(&mut self) {
        let mut child = Command::new(CONTROL_PLANE)
            .args(["serve", "--listen", &self.address, "--store"])
            .arg(self.path("plane.sqlite"))
            .arg("--connector-token-file")
            .arg(self.path("connector.token"))
            .arg("--admin-token-file")
            .arg(self.path("admin.token"))
            .args(&self.plane_options)
            .stdout(Stdio::piped())
            .stderr(self.log("plane.log"))
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("{line:?}"));
        self.address = url.to_owned();
        self.plane = Some(Process(child));
    }

    pub(crate) fn kill_plane(&mut self) {
        self.plane.take().unwrap().kill();
    }

    pub(crate) fn start_connector(&mut self) {
        self.connector = Some(self.spawn_connector(&[]));
    }

    /// Starts a connector with more environment, for a caller who looks after the process.
    pub(crate) fn spawn_connector(&self, environment: &[(&str, &str)]) -> Process {
        let token = fs::read_to_string(self.path("connector.token")).unwrap();
        let child = self
            .connector_command()
            .arg("run")
            .env("APONO_TOKEN", token.trim())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(self.log("connector.log"))
            .stderr(self.log("connector.err"))
            .spawn()
            .unwrap();
        Process(child)
    }

    /// Returns the connector's command line with everything it needs but the token.
    pub(crate) fn connector_command(&self) -> Command {
        let mut command = Command::new(CONNECTOR);
        command
            .env_clear()
            .env("APONO_URL", format!("http://{}", self.address))
            .env("APONO_CONNECTOR_ID", "test-connector")
            .env("APONO_STATE_DIR", self.path("state"))
            .env("APONO_CONFIG", self.path("connector.toml"))
            .envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Starts another connector, with an id and a state folder of its own.
    pub(crate) fn start_neighbour(&self, id: &str) -> Process {
        let token = fs::read_to_string(self.path("connector.token")).unwrap();
        let child = self
            .connector_command()
            .arg("run")
            .env("APONO_CONNECTOR_ID", id)
            .env("APONO_STATE_DIR", self.path(id))
            .env("APONO_TOKEN", token.trim())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log("neighbour.err"))
            .spawn()
            .unwrap();
        Process(child)
    }

    pub(crate) fn kill_connector(&mut self) {
        self.connector.take().unwrap().kill();
    }

    fn log(&self, name: &str) -> fs::File {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(name))
            .unwrap()
    }

    pub(crate) fn add_integration(&self, name: &str) {
        self.add_changed_integration("test-connector", name, &[]);
    }

    /// Registers the database under a name and for a connector, with some settings changed; `type` and `secret` are the
    /// type and the name of the secret's file, or a whole reference.
    pub(crate) fn add_changed_integration(
        &self,
        connector: &str,
        name: &str,
        changes: &[(&str, &str)],
    ) {
        let mut settings: BTreeMap<&str, String> = BTreeMap::from([
            ("type", "postgresql".to_owned()),
            ("secret", "secret.json".to_owned()),
            ("hostname", "localhost".to_owned()),
            ("port", self.cluster.port.to_string()),
            ("dbname", self.road.database.clone()),
            ("sslmode", "verify-full".to_owned()),
            ("ssl_root_ca", self.path("ca.pem").display().to_string()),
            ("admin_role", self.road.admin.clone()),
            ("clean_up_delay_s", self.pace.clean_up_delay.to_string()),
        ]);
        settings.extend(
            changes
                .iter()
                .map(|(key, value)| (*key, (*value).to_owned())),
        );
        let kind = settings.remove("type").unwrap();
        let mut secret = settings.remove("secret").unwrap();
        if !secret.contains(':') {
            secret = format!("file:{}", self.path(&secret).display());
        }
        let settings: Vec<String> = settings
            .iter()
            .map(|(key, value)| format!("--setting={key}={value}"))
            .collect();
        let mut args = vec!["integration", "add", "--connector", connector];
        args.extend(["--name", name, "--type", &kind, "--secret", &secret]);
        args.extend(settings.iter().map(String::as_str));
        self.command(&args).unwrap();
    }

    /// Registers an integration of any type that needs no secret.
    pub(crate) fn add_integration_of(&self, name: &str, kind: &str, settings: &[(&str, &str)]) {
        let settings: Vec<String> = settings
            .iter()
            .map(|(key, value)| format!("--setting={key}={value}"))
            .collect();
        let mut args = vec!["integration", "add", "--connector", "test-connector"];
        args.extend(["--name", name, "--type", kind]);
        args.extend(settings.iter().map(String::as_str));
        self.command(&args).unwrap();
    }

    /// Returns the base address of the control plane.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs a command of the control plane; the error is what it printed.
    pub(crate) fn command(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new(CONTROL_PLANE)
            .args([
                "--url",
                &format!("http://{}", self.address),
                "--admin-token-file",
            ])
            .arg(self.path("admin.token"))
            .args(args)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.command(args).unwrap()).unwrap()
    }

    /// Asks for access and waits for the credential.
    pub(crate) fn grant(&self, who: &str, permission: &str, lasts: &str) -> Result<Login, String> {
        let database = self.road.database.clone();
        self.grant_on(
            &["postgresql-schema", &database, "public"],
            who,
            permission,
            lasts,
        )
    }

    /// Asks for access to any resource: its type, then its names.
    pub(crate) fn grant_on(
        &self,
        resource: &[&str],
        who: &str,
        permission: &str,
        lasts: &str,
    ) -> Result<Login, String> {
        self.grant_in(
            "orders",
            resource,
            who,
            &["--permission", permission, "--for", lasts],
        )
    }

    /// Asks for access in any integration; `how` says how much and how long, as on the command line.
    pub(crate) fn grant_in(
        &self,
        integration: &str,
        resource: &[&str],
        who: &str,
        how: &[&str],
    ) -> Result<Login, String> {
        let (kind, path) = resource.split_first().unwrap();
        let mut args = vec![
            "grant",
            "--integration",
            integration,
            "--to",
            who,
            "--type",
            kind,
        ];
        let path: Vec<String> = path.iter().map(|name| format!("--path={name}")).collect();
        args.extend(path.iter().map(String::as_str));
        args.extend(how);
        args.extend(["--wait", "30s", "--format", "json"]);
        let printed = self.command(&args)?;
        let value: Value = serde_json::from_str(&printed).map_err(|_| printed.clone())?;
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Ok(Login {
            grant: text("grant"),
            user: text("login"),
            password: text("password"),
            database: text("database"),
        })
    }

    /// Runs a statement as a person would.
    pub(crate) fn psql(&self, login: &Login, sql: &str) -> Psql {
        self.cluster
            .psql(&login.user, &login.password, &self.road.database, sql)
    }

    /// Runs statements that take long, as a person would, in the background.
    pub(crate) fn stay(&self, login: &Login, sql: &str) -> Process {
        self.stay_as(&login.user, &login.password, sql)
    }

    /// Runs statements that take long as the superuser, in the background.
    pub(crate) fn stay_as_superuser(&self, sql: &str) -> Process {
        self.stay_as("postgres", super::cluster::SUPERUSER_PASSWORD, sql)
    }

    fn stay_as(&self, user: &str, password: &str, sql: &str) -> Process {
        let mut command = self
            .cluster
            .psql_command(user, password, &self.road.database);
        command.args(["-c", sql]);
        let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
        Process(silent.spawn().unwrap())
    }

    /// Sends a request for access past the command line; returns the status and the answer.
    pub(crate) async fn order_over_http(&self, request: &Value) -> (u16, String) {
        let token = fs::read_to_string(self.path("admin.token")).unwrap();
        let url = format!("http://{}/admin/v1/grants", self.address);
        let sent = http_client().post(url).bearer_auth(token.trim());
        let answer = sent.json(request).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Runs a statement as the superuser and returns its output.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let answer = self.cluster.psql(
            "postgres",
            super::cluster::SUPERUSER_PASSWORD,
            &self.road.database,
            sql,
        );
        assert!(answer.ok, "{sql}: {}", answer.err);
        answer.out
    }

    /// Runs statements as the owner of the database, whom the connector may act for.
    pub(crate) fn sql_as_owner(&self, sql: &str) -> String {
        self.sql(&format!("SET ROLE {}; {sql}", self.road.owner))
    }

    /// Counts the memberships of a login in roles of ours.
    pub(crate) fn memberships(&self, login: &str) -> String {
        self.sql(&format!(
            "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles a ON a.oid = m.roleid \
             WHERE r.rolname = '{login}' AND a.rolname LIKE 'a\\_%\\_apono'"
        ))
    }

    /// Runs a command of the connector beside the daemon: whether it succeeded, and all it printed.
    pub(crate) fn connector_says(&self, args: &[&str]) -> (bool, String) {
        let token = fs::read_to_string(self.path("connector.token")).unwrap();
        let output = self
            .connector_command()
            .args(args)
            .env("APONO_TOKEN", token.trim())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
        printed.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), printed)
    }

    /// Asks the connector's listener; returns the status and the body.
    pub(crate) fn listener(&self, path: &str) -> (u16, String) {
        let log = fs::read_to_string(self.path("connector.err")).unwrap();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let listening = lines.rev().find(|line| line["message"] == "listening");
        let address = listening.unwrap()["address"].as_str().unwrap().to_owned();
        let mut stream = TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "it never came true that {what}\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.path(name)).unwrap_or_default();
            let from = text.len().saturating_sub(6000);
            format!("--- {name}\n{}\n", text.get(from..).unwrap_or(&text))
        };
        ["connector.log", "connector.err", "plane.log"]
            .map(tail)
            .concat()
    }

    /// Returns every file of the run, for searches.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, found);
                } else if path.is_file() {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.folder.path(), &mut found);
        found
    }
}
