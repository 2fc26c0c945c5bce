//! Reports of inventories: what travels, what is taken to be gone, and what a trouble in the middle leaves. A real control plane, real calls.

mod account;
mod organization;
mod server;

use crate::support::front::{Front, Manner};
use apono_connector::address::ControlPlaneUrl;
use apono_connector::clock::SystemClock;
use apono_connector::control::{HttpControlPlane, HttpOptions, TimeLimits, TokenSource};
use apono_connector::domain::{
    ConnectorId, ErrorClass, IntegrationId, InventoryId, InventoryRecord, RecordStatus,
    ResourceKind,
};
use apono_connector::inventory::{RecordSender, ReportError, Reporter, Source, SourceError};
use apono_connector::reference_plane::{Options, Running, start};
use apono_connector::secret::Secret;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const CONNECTOR_TOKEN: &str = "connector-token-0123456789";
const ADMIN_TOKEN: &str = "admin-token-0123456789abc";

/// A control plane in this process, the way to it, and a connector's reporter.
struct Stage {
    plane: Option<Running>,
    address: SocketAddr,
    front: Front,
    reporter: Reporter,
    integration: IntegrationId,
    folder: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plane = start(options(&folder, "127.0.0.1:0".parse().unwrap(), false)).await;
        let plane = plane.unwrap();
        let address = plane
            .url()
            .strip_prefix("http://")
            .unwrap()
            .parse()
            .unwrap();
        let front = Front::to(&format!("{address}"));
        let state = folder.path().join("state");
        let mut stage = Self {
            plane: Some(plane),
            address,
            reporter: reporter(&front, &state),
            front,
            integration: IntegrationId::generate(),
            folder,
        };
        let new = json!({"connector": "c1", "name": "orders", "type": "postgresql", "settings": {"hostname": "localhost"}});
        let added = stage.admin("integrations", Some(new)).await;
        stage.integration = IntegrationId::parse(added["id"].as_str().unwrap()).unwrap();
        stage
    }

    /// Stops the control plane and starts it again on the same address.
    async fn restart_plane(&mut self, new_epoch: bool) {
        self.plane.take().unwrap().stop().await;
        let options = options(&self.folder, self.address, new_epoch);
        self.plane = Some(start(options).await.unwrap());
    }

    /// Reports as another instance would, with a state folder of its own.
    fn other_instance(&self) -> Reporter {
        reporter(&self.front, &self.folder.path().join("other"))
    }

    fn digests(&self, ending: &str) -> PathBuf {
        let name = format!("state/inventory/{}.{ending}", self.integration.as_uuid());
        self.folder.path().join(name)
    }

    async fn admin(&self, path: &str, body: Option<Value>) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/admin/v1/{path}", self.address);
        let request = match body {
            Some(body) => client.post(url).json(&body),
            None => client.get(url),
        };
        let answer = request.bearer_auth(ADMIN_TOKEN).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// Returns the names of what the control plane shows as existing.
    async fn names(&self) -> Vec<String> {
        let page = self.admin("integrations/orders/inventory", None).await;
        let resources = page["resources"].as_array().unwrap().iter();
        resources
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Returns the lines that were sent since the last look, without the first and last of each part.
    fn sent(&self, seen: &mut usize) -> Vec<Value> {
        let calls = self.front.calls();
        let new = calls[*seen..].iter().flat_map(|call| {
            let asked = String::from_utf8_lossy(&call.asked).into_owned();
            let body = asked
                .split_once("\r\n\r\n")
                .map(|(_, body)| body.to_owned());
            let lines = body.unwrap_or_default();
            let lines: Vec<Value> = lines
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            lines
        });
        let framing = ["begin", "more", "commit"];
        let lines = new.filter(|line| !framing.iter().any(|op| line["op"] == *op));
        let lines = lines.collect();
        *seen = calls.len();
        lines
    }
}

fn options(folder: &TempDir, listen: SocketAddr, new_epoch: bool) -> Options {
    Options {
        listen,
        behind_tls_proxy: false,
        store: folder.path().join("plane.db"),
        connector_token: Secret::new(CONNECTOR_TOKEN.to_owned()),
        admin_token: Secret::new(ADMIN_TOKEN.to_owned()),
        lease: Duration::from_secs(60),
        tick: Duration::from_millis(50),
        new_epoch,
        clock: Arc::new(SystemClock),
    }
}

fn reporter(front: &Front, state: &std::path::Path) -> Reporter {
    let options = HttpOptions {
        url: ControlPlaneUrl::parse(&front.url()).unwrap(),
        connector: ConnectorId::parse("c1").unwrap(),
        token: TokenSource::Value(Secret::new(CONNECTOR_TOKEN.to_owned())),
        ca_file: None,
        proxy: None,
        limits: TimeLimits::default(),
    };
    let control = HttpControlPlane::new(options, Arc::new(SystemClock)).unwrap();
    Reporter::new(Arc::new(control), state)
}

/// A listing whose every word the test chooses.
struct Listing {
    integration: IntegrationId,
    /// Name and comment.
    things: Vec<(String, String)>,
    /// After how many things the walk fails.
    fails_after: Option<usize>,
    /// What happens after how many things.
    event: Option<(usize, Box<dyn Fn() + Send + Sync>)>,
}

impl Listing {
    fn of(stage: &Stage, names: &[&str]) -> Self {
        Self {
            integration: stage.integration,
            things: names
                .iter()
                .map(|name| ((*name).to_owned(), "as it was".to_owned()))
                .collect(),
            fails_after: None,
            event: None,
        }
    }

    /// Things whose comments hardly compress, so that 600 of them fill a part.
    fn large(stage: &Stage, count: usize) -> Self {
        let mut state = 1_u64;
        let mut word = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            format!("{state:016x}")
        };
        let mut listing = Self::of(stage, &[]);
        for nth in 0..count {
            let comment: String = (0..55).map(|_| word()).collect();
            listing.things.push((format!("t{nth:05}"), comment));
        }
        listing
    }

    fn record(name: &str, comment: &str) -> InventoryRecord {
        let sum = name.bytes().fold(7_u128, |sum, byte| {
            sum.wrapping_mul(1_099_511_628_211) ^ u128::from(byte)
        });
        InventoryRecord {
            id: InventoryId::new(sum.to_be_bytes()),
            native_id: "1".to_owned(),
            name: name.to_owned(),
            path: vec!["shop".to_owned(), "public".to_owned(), name.to_owned()],
            kind: ResourceKind::PostgresTable,
            flavour: "table".to_owned(),
            owner: None,
            comment: Some(comment.to_owned()),
            tags: [].into(),
            context: [].into(),
            permissions: ResourceKind::PostgresTable.permissions().to_vec(),
            status: RecordStatus::Active,
            part: None,
            discovered: None,
        }
    }

    async fn send(&self, records: &mut RecordSender) -> Result<(), SourceError> {
        for (nth, (name, comment)) in self.things.iter().enumerate() {
            if let Some((at, event)) = &self.event
                && *at == nth
            {
                event();
            }
            if self.fails_after == Some(nth) {
                return Err(SourceError::Stopped);
            }
            records.send(Self::record(name, comment)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Source for Listing {
    fn integration(&self) -> IntegrationId {
        self.integration
    }

    async fn walk(&self, mut records: RecordSender) -> Result<u64, SourceError> {
        let sent = self.send(&mut records).await;
        records.finish(sent).await
    }
}

#[tokio::test]
async fn only_changes_travel_and_what_is_missing_is_gone_only_after_a_whole_walk() {
    let stage = Stage::set().await;
    let mut listing = Listing::of(&stage, &["a", "b", "c"]);
    let full = stage.reporter.report(&listing).await.unwrap();
    assert!(full.full && full.changed == 3);
    let same = stage.reporter.report(&listing).await.unwrap();
    assert!(
        !same.full && same.changed == 0 && same.gone == 0,
        "{same:?}"
    );
    assert!(same.bytes < 600, "{} bytes for no change", same.bytes);
    listing.things.remove(1);
    listing.things[0].1 = "changed".to_owned();
    listing.fails_after = Some(1);
    let error = stage.reporter.report(&listing).await.unwrap_err();
    assert!(
        matches!(error, ReportError::Source(SourceError::Stopped)),
        "{error}"
    );
    assert_eq!(stage.names().await, ["a", "b", "c"]);
    listing.fails_after = None;
    let changed = stage.reporter.report(&listing).await.unwrap();
    assert_eq!((changed.full, changed.changed, changed.gone), (false, 1, 1));
    assert_eq!(stage.names().await, ["a", "c"]);
}

#[tokio::test]
async fn a_broken_connection_in_the_middle_is_gone_on_from_where_it_broke() {
    let mut stage = Stage::set().await;
    let mut listing = Listing::large(&stage, 2_000);
    let front = stage.front.clone();
    listing.event = Some((
        1_500,
        Box::new(move || {
            front.set(Manner::Answer(Vec::new()));
            let front = front.clone();
            std::thread::spawn(move || {
                // Until a part met the broken way.
                while front.calls().iter().all(|call| !call.answered.is_empty()) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                front.set(Manner::Pass);
            });
        }),
    ));
    let reported = stage.reporter.report(&listing).await.unwrap();
    assert_eq!(
        (reported.records, reported.changed, reported.full),
        (2_000, 2_000, true)
    );
    assert!(reported.parts > 3, "{reported:?}");
    let begins = |op: &str| {
        let calls = stage.front.calls();
        calls
            .iter()
            .filter(|call| String::from_utf8_lossy(&call.asked).contains(op))
            .count()
    };
    assert_eq!(begins("\"part\":0"), 1, "it was not begun again");
    let shown = stage.admin("integrations", None).await;
    assert_eq!(shown["integrations"][0]["resources"], 2_000);
    let calls = stage.front.calls().len();
    assert!(calls > reported.parts as usize, "a part was sent again");
    // A restart of the control plane loses nothing either.
    stage.restart_plane(false).await;
    let same = stage
        .reporter
        .report(&Listing::large(&stage, 2_000))
        .await
        .unwrap();
    assert!(!same.full && same.changed == 0, "{same:?}");
}

#[tokio::test]
async fn a_control_plane_without_the_base_gets_everything() {
    let mut stage = Stage::set().await;
    let listing = Listing::of(&stage, &["a", "b"]);
    stage.reporter.report(&listing).await.unwrap();
    stage.restart_plane(true).await;
    let restored = stage.reporter.report(&listing).await.unwrap();
    assert!(restored.full, "a new epoch");
    // Another instance reports what it sees; then what we know of is not what is there.
    let newer = Listing::of(&stage, &["a", "c"]);
    assert!(stage.other_instance().report(&newer).await.unwrap().full);
    let after = stage.reporter.report(&newer).await.unwrap();
    assert!(after.full, "a lost base");
    assert!(!stage.reporter.report(&newer).await.unwrap().full);
    assert_eq!(stage.names().await, ["a", "c"]);
}

#[tokio::test]
async fn two_reports_at_once_end_in_what_is_there() {
    let stage = Stage::set().await;
    let listing = Listing::of(&stage, &["a", "b", "c"]);
    stage.reporter.report(&listing).await.unwrap();
    let smaller = Listing::of(&stage, &["a", "b"]);
    let (one, two) = tokio::join!(
        stage.reporter.report(&smaller),
        stage.reporter.report(&smaller)
    );
    let gone = one.unwrap().gone + two.unwrap().gone;
    assert_eq!(gone, 1, "one waited for the other");
    // Two instances know nothing of each other; the control plane lets no change through that is based on what is gone.
    let other = stage.other_instance();
    let (one, two) = tokio::join!(stage.reporter.report(&smaller), other.report(&smaller));
    for ended in [one, two] {
        if let Err(error) = ended {
            assert_eq!(error.class(), ErrorClass::Conflict, "{error}");
        }
    }
    stage.reporter.report(&smaller).await.unwrap();
    assert_eq!(stage.names().await, ["a", "b"]);
}

#[tokio::test]
async fn damaged_digests_cost_a_full_upload_and_nothing_else() {
    let stage = Stage::set().await;
    let listing = Listing::of(&stage, &["a", "b"]);
    stage.reporter.report(&listing).await.unwrap();
    let path = stage.digests("digests");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(stage.reporter.report(&listing).await.unwrap().full);
    assert!(!stage.reporter.report(&listing).await.unwrap().full);
    stage.reporter.forget(listing.integration());
    assert!(
        !path.exists(),
        "nothing is kept of an integration that is gone"
    );
    assert!(stage.reporter.report(&listing).await.unwrap().full);
    assert_eq!(stage.names().await, ["a", "b"]);
}

#[tokio::test]
async fn a_full_disk_never_stops_a_report() {
    let stage = Stage::set().await;
    let mut listing = Listing::of(&stage, &["a", "b", "c"]);
    stage.reporter.report(&listing).await.unwrap();
    for ending in ["runs", "new"] {
        // What goes there meets a disk without room.
        let link = stage.digests(ending);
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        listing.things.pop();
        let reported = stage.reporter.report(&listing).await.unwrap();
        // Without what the walk came by nobody knows what is gone; without the new digests only the next report suffers.
        assert_eq!(reported.full, ending == "runs");
        assert_eq!(stage.names().await.len(), listing.things.len());
        assert!(!link.exists(), "nothing is left of the file");
        let next = stage.reporter.report(&listing).await.unwrap();
        assert_eq!(next.full, ending == "new");
        assert!(!stage.reporter.report(&listing).await.unwrap().full);
    }
}
