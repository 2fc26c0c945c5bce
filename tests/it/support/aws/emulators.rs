//! Owns the AWS emulators: started when first asked for, and surely gone when the test process is, however it ends.
//!
//! What each gets wrong is listed in the comments of the two names below; no test may lean on it.

use crate::support::places::Places;
use crate::support::ports::free_port;
use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Longest wait for an emulator to answer.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The account of keys moto does not know.
pub(crate) const MOTO_ACCOUNT: &str = "123456789012";
/// Any secret goes with the root key of an account in MiniStack, which is the number of the account.
pub(crate) const ROOT_SECRET: &str = "test";

/// An emulator we did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Knows most services and refuses nothing: any role can be assumed, no signature is checked, nothing is throttled, every
    /// database has the same resource id. One state for everybody: each test brings its own accounts and names.
    Moto,
    /// Checks signatures, trust policies, external ids, identity and session policies. No pages, no Identity Center.
    MiniStack,
}

impl Program {
    fn key(self) -> &'static str {
        match self {
            Self::Moto => "APONO_TEST_MOTO",
            Self::MiniStack => "APONO_TEST_MINISTACK",
        }
    }

    fn health(self) -> &'static str {
        match self {
            Self::Moto => "/moto-api/data.json",
            Self::MiniStack => "/_ministack/health",
        }
    }

    fn command(self, port: u16) -> (Vec<String>, Vec<(&'static str, String)>) {
        let (arguments, environment) = match self {
            Self::Moto => (
                vec![
                    "-H".to_owned(),
                    "127.0.0.1".to_owned(),
                    "-p".to_owned(),
                    port.to_string(),
                ],
                vec![("MOTO_IAM_LOAD_MANAGED_POLICIES", "true".to_owned())],
            ),
            Self::MiniStack => (
                Vec::new(),
                vec![
                    ("AUTH", "true".to_owned()),
                    // Without this it listens on every interface.
                    ("BIND_HOST", "127.0.0.1".to_owned()),
                    ("GATEWAY_PORT", port.to_string()),
                    // These listen on ports that cannot be chosen, and two of us may run at once.
                    ("IOT_MTLS_ENABLED", "0".to_owned()),
                    ("SFTP_ENABLED", "0".to_owned()),
                    ("DOCKER_HOST", "unix:///nonexistent".to_owned()),
                ],
            ),
        };
        (arguments, environment)
    }
}

/// A running emulator.
pub(crate) struct Emulator {
    pub(crate) port: u16,
    _keeper: Keeper,
}

impl Emulator {
    /// Returns the moto all tests of the process have in common.
    pub(crate) fn moto() -> &'static Self {
        static MOTO: OnceLock<Emulator> = OnceLock::new();
        MOTO.get_or_init(|| Self::fresh(Program::Moto))
    }

    /// Returns the MiniStack all tests of the process have in common.
    pub(crate) fn ministack() -> &'static Self {
        static MINISTACK: OnceLock<Emulator> = OnceLock::new();
        MINISTACK.get_or_init(|| Self::fresh(Program::MiniStack))
    }

    /// Starts one of the caller's own, gone when dropped. For tests that want to see a whole organization.
    pub(crate) fn fresh(program: Program) -> Self {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let port = free_port();
            let keeper = Keeper::start(program, port);
            // Somebody else may have taken the port in between: then ours ends, and what answers there is not ours.
            while keeper.runs() {
                let log = keeper.log();
                if log.contains(&format!("http://127.0.0.1:{port}"))
                    && answers(port, program.health())
                {
                    return Self {
                        port,
                        _keeper: keeper,
                    };
                }
                assert!(
                    Instant::now() < deadline,
                    "{program:?} does not start:\n{log}"
                );
                std::thread::sleep(Duration::from_millis(20));
            }
            let log = keeper.log();
            assert!(Instant::now() < deadline, "{program:?} ends:\n{log}");
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns what an SDK client is made of, for a key of the emulator. Nothing is tried twice.
    pub(crate) fn sdk(&self, region: &'static str, key: &str, secret: &str) -> SdkConfig {
        sdk(
            &self.url(),
            region,
            Credentials::new(key, secret, None, None, "test"),
        )
    }
}

/// Returns what an SDK client is made of, with nothing taken from the environment. Nothing is tried twice.
pub(crate) fn sdk(url: &str, region: &'static str, credentials: Credentials) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::from_static(region))
        .retry_config(RetryConfig::disabled())
        // Else the SDK signs with the time it takes the other side to have.
        .disable_clock_skew_correction(true)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// A shell that starts the emulator, and ends it and removes its folder once its own input ends: which the kernel sees to even
/// when this process is killed.
struct Keeper {
    shell: Mutex<Child>,
    folder: PathBuf,
    server: String,
}

impl Keeper {
    fn start(program: Program, port: u16) -> Self {
        const SCRIPT: &str = r#"
            trap '' INT TERM HUP PIPE
            folder=$1; shift
            "$@" >"$folder/log" 2>&1 </dev/null & server=$!
            echo "$server"
            read -r _
            kill -KILL "$server"; wait "$server"
            rm -rf "$folder"
        "#;
        let folder = tempfile::Builder::new()
            .prefix("apono-aws-")
            .tempdir()
            .unwrap()
            .keep();
        let (arguments, environment) = program.command(port);
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(&folder)
            .arg(place(program.key()))
            .args(arguments)
            // Keys and proxies of the machine are not for the emulator.
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &folder)
            .env("TMPDIR", &folder)
            .envs(environment)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C must not reach the emulator: its end comes by the pipe.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut server = String::new();
        BufReader::new(shell.stdout.take().unwrap())
            .read_line(&mut server)
            .unwrap();
        Self {
            shell: Mutex::new(shell),
            folder,
            server: server.trim().to_owned(),
        }
    }

    /// A process that ended stays in the table until the shell asks for it, in state `Z`.
    fn runs(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/stat", self.server))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Those of shared emulators are never dropped: their input ends with the process.
        let shell = self.shell.get_mut().unwrap();
        drop(shell.stdin.take());
        let _ended = shell.wait();
    }
}

fn answers(port: u16, path: &str) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(START_LIMIT))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    asked().is_ok_and(|start| start.ends_with(" 200"))
}

/// Returns one of the places `scripts/aws.sh` prints.
fn place(key: &str) -> &'static Path {
    static PLACES: Places = Places::of("scripts/aws.sh", None);
    PLACES.get(key)
}

/// Returns the folder of the published service models, which come with the emulators.
pub(super) fn service_models() -> PathBuf {
    let environment = place("APONO_TEST_MOTO").ancestors().nth(2).unwrap();
    fs::read_dir(environment.join("lib"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("site-packages/botocore/data"))
        .find(|data| data.is_dir())
        .unwrap()
}
