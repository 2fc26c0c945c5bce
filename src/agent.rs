//! Owns the composition: configuration in, a running product out. The only place where the rooms meet. Never decides anything.

mod accounts;
mod answers;
mod aws;
mod stores;

use crate::clock::{SharedClock, SystemClock};
use crate::config::{Config, LogFormat, TokenConfig};
use crate::control::{HttpControlPlane, HttpOptions, OutboundProxy, TimeLimits, TokenSource};
use crate::domain::{ConnectorId, InstanceId};
use crate::executor::{Executor, Options, Parts, Recall};
use crate::ledger::{Event, Household, Ledger, LedgerError, LedgerOptions};
use crate::lifecycle::{Ending, Lifecycle, StopSignals};
use crate::operator::{self, Answer, Request};
use crate::policy::Guardrails;
use crate::targets::{Registry, aws_account, identity_center, postgres, rds};
use crate::telemetry::listener::{self, Shown};
use crate::telemetry::logging::{self, Format};
use crate::telemetry::{Health, metrics::Metrics};
use answers::{PostgresTargets, Walker};
use anyhow::Context;
use jiff::SignedDuration;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Threads of the runtime: the work is waiting, not computing.
const THREADS: usize = 2;
/// How long `revoke-all` without a daemon goes on before it says what is left.
const OFFLINE_PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether the state folder is still ours.
const LOST_LOOK: Duration = Duration::from_secs(5);

/// What is remembered, and where.
struct Memory {
    ledger: Ledger,
    household: Option<Arc<Household>>,
    folder: PathBuf,
}

/// Makes the runtime everything runs on.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("the runtime cannot be started")
}

/// Runs the daemon until it is asked to stop.
///
/// # Errors
/// When a part cannot be put together: the state folder, the listener, the log.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let clock: SharedClock = Arc::new(SystemClock);
    start_log(&config, &clock)?;
    let mut signals = StopSignals::listen().context("signals cannot be caught")?;
    let memory = open_memory(&config)?;
    let ledger = memory.ledger.clone();
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(Arc::clone(&clock)));
    let executor = executor(&config, &clock, &memory, &metrics, &health).await?;
    let life = Lifecycle::default();

    let door = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("`listen`: `{}` cannot be listened on", config.listen))?;
    // Port 0 means any free one, so the address in use is worth a line.
    let address = door.local_addr().context("the listener has no address")?;
    tracing::info!(%address, "listening");
    let shown = Shown { metrics, health };
    life.spawn("listener", listener::serve(door, shown, life.soft()));
    tracing::info!(folder = %memory.folder.display(), "state folder taken");
    spawn_until(&life, "state folder", until_lost(ledger.clone()));
    let folder = memory.folder;
    let answering = executor.clone();
    spawn_until(&life, "operator", async move {
        if let Err(error) = operator::serve(&folder, answering).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the operator's socket cannot be served"
            );
            // The daemon's work does not depend on it.
            std::future::pending::<()>().await;
        }
    });
    let (soft, hard) = (life.soft(), life.hard());
    life.spawn("executor", async move {
        tokio::select! {
            () = executor.run(soft) => {}
            () = hard.cancelled() => {}
        }
    });
    tracing::info!(connector.id = %config.control_plane.connector, version = env!("CARGO_PKG_VERSION"), "running");
    let ending = life.run_until_stopped(async || signals.next().await).await;
    ledger.close().await;
    Ok(match ending {
        Ending::Clean => ExitCode::SUCCESS,
        Ending::Failed(_) => ExitCode::FAILURE,
    })
}

/// What came of a request without a daemon.
pub struct Offline {
    /// The answer.
    pub answer: Answer,
    /// Instances that share the state folder and cannot be reached from here.
    pub elsewhere: usize,
}

/// Does what an operator asks when no daemon is running here. Reports wait in the ledger for the next one.
///
/// # Errors
/// When the ledger cannot be opened or written.
pub async fn do_offline(config: &Config, request: Request) -> anyhow::Result<Offline> {
    let clock: SharedClock = Arc::new(SystemClock);
    let memory = open_memory(config)?;
    let metrics = Arc::new(Metrics::new());
    let health = Arc::new(Health::new(Arc::clone(&clock)));
    let executor = executor(config, &clock, &memory, &metrics, &health).await?;
    executor.inherit().await;
    let elsewhere = memory.household.as_ref().map_or(0, |all| all.others());
    let answer = match request {
        Request::Freeze | Request::Unfreeze => {
            let frozen = request == Request::Freeze;
            executor.freeze(frozen).await?;
            Answer::Frozen(frozen)
        }
        Request::RevokeAll => {
            let (count, frozen) = executor.revoke_all().await;
            frozen?;
            let left = executor.wait_for_ends(OFFLINE_PATIENCE).await;
            anyhow::ensure!(
                left == 0,
                "{left} of {count} grants could not be ended; start the daemon, it goes on trying"
            );
            Answer::Ending(count)
        }
        Request::Grants => {
            let lines = executor.grants().into_iter().map(operator::Line::from);
            Answer::Grants(lines.collect())
        }
    };
    Ok(Offline { answer, elsewhere })
}

/// Returns the folders in which a daemon may answer operators.
#[must_use]
pub fn state_folders(config: &Config) -> Vec<PathBuf> {
    if config.state_shared {
        Household::folders(&config.state_dir)
    } else {
        vec![config.state_dir.clone()]
    }
}

fn open_memory(config: &Config) -> anyhow::Result<Memory> {
    let root: &Path = &config.state_dir;
    let options = LedgerOptions::default();
    let opened = if config.state_shared {
        Ledger::open_shared(root, options).map(|(ledger, household)| Memory {
            ledger,
            folder: household.own().to_owned(),
            household: Some(Arc::new(household)),
        })
    } else {
        Ledger::open_or_degraded(root, options).map(|ledger| Memory {
            ledger,
            folder: root.to_owned(),
            household: None,
        })
    };
    opened.map_err(|error: LedgerError| {
        let hint = error
            .hint()
            .map(|hint| format!("\nhint: {hint}"))
            .unwrap_or_default();
        anyhow::Error::new(error).context(format!("the state folder cannot be used{hint}"))
    })
}

/// Returns when another process has the state folder. Ours then stops: the other one owes what we owe, and no start can be recorded here.
async fn until_lost(ledger: Ledger) {
    while !ledger.is_lost() {
        tokio::time::sleep(LOST_LOOK).await;
    }
}

async fn executor(
    config: &Config,
    clock: &SharedClock,
    memory: &Memory,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
) -> anyhow::Result<Executor> {
    let ledger = &memory.ledger;
    let control = Arc::new(control_plane(config, clock)?);
    let connector: &ConnectorId = &config.control_plane.connector;
    let aws = aws::Aws::new(config, clock);
    let targets = PostgresTargets {
        connector: connector.clone(),
        secrets: stores::open(config, aws.sessions.clone()),
        sessions: aws.sessions.clone(),
        rds_ca_file: config.aws.rds_ca_file.clone(),
    };
    let recall = Arc::new(Recall::new(ledger.clone()));
    let organizations = aws.organizations(config, clock, &recall);
    let accounts = aws.accounts(config, clock, &recall);
    let registry = Registry::default()
        .with(aws_account::KIND, Box::new(accounts))
        .with(postgres::KIND, Box::new(targets.clone()))
        .with(rds::KIND, Box::new(targets.clone()))
        .with(identity_center::KIND, Box::new(organizations.clone()));
    let parts = Parts {
        clock: Arc::clone(clock),
        ledger: ledger.clone(),
        household: memory.household.clone(),
        recall,
        control: Arc::<HttpControlPlane>::clone(&control),
        registry: Arc::new(registry),
        synchroniser: Arc::new(Walker::new(targets, organizations, control, &memory.folder)),
        metrics: Arc::clone(metrics),
        health: Arc::clone(health),
    };
    Ok(Executor::new(
        parts,
        options(config, instance(ledger).await?),
    ))
}

fn control_plane(config: &Config, clock: &SharedClock) -> anyhow::Result<HttpControlPlane> {
    let from = &config.control_plane;
    let options = HttpOptions {
        url: from.url.clone(),
        connector: from.connector.clone(),
        token: match &from.token {
            TokenConfig::Value(token) => TokenSource::Value(token.clone()),
            TokenConfig::File(path) => TokenSource::File(path.clone()),
        },
        ca_file: from.ca_file.clone(),
        proxy: from.proxy.as_ref().map(|proxy| OutboundProxy {
            url: proxy.url.clone(),
            bypass: proxy.bypass.clone(),
        }),
        limits: TimeLimits::default(),
    };
    HttpControlPlane::new(options, Arc::clone(clock))
        .context("the way to the control plane cannot be set up")
}

/// Returns the name of the state folder, giving it one at its first use.
async fn instance(ledger: &Ledger) -> anyhow::Result<InstanceId> {
    if let Some(known) = ledger.read(|state| state.instance) {
        return Ok(known);
    }
    let instance = InstanceId::generate();
    ledger
        .append_one(Event::InstanceNamed(instance))
        .await
        .context("the ledger cannot be written")?;
    Ok(instance)
}

fn seconds(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

fn options(config: &Config, instance: InstanceId) -> Options {
    Options {
        instance: instance.as_uuid(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: config.control_plane.host.clone(),
        slots: usize::try_from(config.executor.slots).unwrap_or(usize::MAX),
        starts_per_integration: usize::try_from(config.executor.per_integration)
            .unwrap_or(usize::MAX),
        sweep_every: config.sweeps.expiry_every,
        mend_every: config.sweeps.drift_every,
        clean_up_every: config.sweeps.clean_up_every,
        inherit_every: config.sweeps.inherit_every,
        guardrails: Guardrails {
            longest_grant: seconds(config.guardrails.longest_grant),
            largest_skew: seconds(config.guardrails.largest_skew),
            ..Guardrails::default()
        },
    }
}

/// Checks what of the configuration only the log itself can check.
///
/// # Errors
/// When the filter cannot be understood.
pub fn check_log(config: &Config) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    logging::subscriber(Format::Json, &config.log.filter, clock, std::io::sink)
        .map(drop)
        .context("`APONO_LOG` or `log.filter`")
}

fn start_log(config: &Config, clock: &SharedClock) -> anyhow::Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let format = match config.log.format {
        LogFormat::Json => Format::Json,
        LogFormat::Human => Format::Human { colour: terminal },
        LogFormat::Auto if terminal => Format::Human { colour: true },
        LogFormat::Auto => Format::Json,
    };
    logging::init(
        format,
        &config.log.filter,
        Arc::clone(clock),
        std::io::stderr,
    )
    .context("the log cannot be started")
}

/// Runs a part that never ends by itself until the process stops.
fn spawn_until(
    life: &Lifecycle,
    name: &'static str,
    part: impl Future<Output = ()> + Send + 'static,
) {
    let soft = life.soft();
    life.spawn(name, async move {
        tokio::select! {
            () = part => {}
            () = soft.cancelled() => {}
        }
    });
}
