//! Whatever a person leaves behind, her access is closed at once, and what clean-up cannot remove is named with the statement that can.

mod page;
mod rows;

use super::world::{Opened, World, end, person, warrant};
use crate::support::cluster::{fresh, on_every_server};
use apono_connector::domain::{EndReason, Grant, GrantId, Permission, ResourceKind, ResourceRef};
use apono_connector::pg::Session;
use apono_connector::targets::Target;
use page::{Page, Told};
use rows::{Act, Leftover, ROWS};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const PAGE: &str = "docs/postgresql-matrix.md";
/// Longest time for all clean-up of one server.
const PATIENCE: Duration = Duration::from_secs(30);

/// A company of many databases, and the words of the page for its names.
struct Scene {
    world: World,
    version: u32,
    /// Name in a text of `rows`, name on the server, name on the page.
    names: Vec<(&'static str, String, &'static str)>,
}

/// A row whose person is there.
struct Case {
    row: &'static Leftover,
    her: Opened,
    third: String,
    grants: Vec<Grant>,
    /// Sessions that are still open.
    stays: Vec<Session>,
}

impl Scene {
    async fn new(world: World) -> Self {
        let version = world.root().await.server().major();
        let (owner, stranger) = (world.owner.clone(), world.stranger.clone());
        let mut names = vec![
            ("{owner}", owner.clone(), "app_owner"),
            ("{stranger}", stranger.clone(), "somebody_else"),
            ("{home}", world.database.clone(), "app"),
            ("{admin}", world.admin.clone(), "apono_admin"),
            ("{club}", fresh("club"), "club"),
            ("{maker}", fresh("maker"), "maker"),
        ];
        for (name, of, shown) in [
            ("{second}", &owner, "second"),
            ("{third_database}", &owner, "third"),
            ("{shut}", &owner, "shut"),
            ("{given}", &owner, "given"),
            ("{private}", &stranger, "private"),
            ("{foreign}", &stranger, "foreign"),
        ] {
            names.push((name, world.cluster.fresh_database(of).await, shown));
        }
        Self {
            world,
            version,
            names,
        }
    }

    fn name<'a>(&'a self, key: &'a str) -> &'a str {
        self.names
            .iter()
            .find(|(known, ..)| *known == key)
            .map_or(key, |(_, name, _)| name)
    }

    fn text(&self, sql: &str, her: &str, third: &str) -> String {
        let mut sql = sql.replace("{her}", her).replace("{third}", third);
        for (key, name, _) in &self.names {
            sql = sql.replace(key, name);
        }
        sql
    }

    /// A line as the page shows it: word by word, because one name may be the beginning of another.
    fn shown(&self, line: &str, case: &Case, leftovers: &str) -> String {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let mut shown = String::new();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let (word, more) =
                rest.split_at(rest.find(|c| part(c) != part(first)).unwrap_or(rest.len()));
            rest = more;
            let known = self.names.iter().find(|(_, name, _)| name == word);
            shown += match known {
                Some((_, _, shown)) => shown,
                None if word == case.her.login => "alice_apono",
                None if word == case.third => "bob",
                None if word == leftovers => "leftovers_apono",
                None => word,
            };
        }
        shown
    }

    /// Opens a grant on the home database and on each further one she works in, and has her leave the thing behind.
    async fn play(&self, row: &'static Leftover) -> Case {
        let alice = person("alice");
        let home = self
            .world
            .grant(&alice, self.world.whole(), Permission::Admin);
        let her = self.world.open(&home).await;
        let mut case = Case {
            row,
            her,
            third: fresh("bob"),
            grants: vec![home],
            stays: Vec::new(),
        };
        self.root("postgres", &format!("CREATE ROLE {}", case.third))
            .await;
        for act in row.acts {
            match act {
                Act::Root(sql) => {
                    self.root(
                        &self.world.database,
                        &self.text(sql, &case.her.login, &case.third),
                    )
                    .await
                }
                Act::RootIn(database, sql) => {
                    self.root(
                        self.name(database),
                        &self.text(sql, &case.her.login, &case.third),
                    )
                    .await
                }
                Act::Hers(sql) => drop(self.hers(&case, &self.world.database, sql).await),
                Act::Stays(sql) => {
                    let session = self.hers(&case, &self.world.database, sql).await;
                    case.stays.push(session);
                }
                Act::HersIn(database, sql) => {
                    // A private one is not ours to give.
                    if *database != "{private}" {
                        let on = ResourceRef::new(
                            ResourceKind::PostgresDatabase,
                            vec![self.name(database).to_owned()],
                        )
                        .unwrap();
                        let more = self.world.grant(&alice, on, Permission::Admin);
                        self.world.open_more(&more).await;
                        case.grants.push(more);
                    }
                    drop(self.hers(&case, self.name(database), sql).await);
                }
            }
        }
        case
    }

    async fn root(&self, database: &str, sql: &str) {
        let done = self
            .world
            .cluster
            .superuser(database)
            .await
            .batch("act as a superuser", sql)
            .await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    async fn hers(&self, case: &Case, database: &str, sql: &str) -> Session {
        let options = self
            .world
            .cluster
            .options(&case.her.login, &case.her.password, database);
        let session = Session::connect(&options).await.unwrap();
        let done = session
            .batch("act as she", &self.text(sql, &case.her.login, &case.third))
            .await;
        done.unwrap_or_else(|error| panic!("{}: {error:?}", case.row.name));
        session
    }

    /// Whatever she holds, the door is shut, the sessions are gone, the login is blocked.
    async fn end(&self, case: &Case) {
        for grant in &case.grants {
            let ended = end(&self.world.target, &warrant(grant, EndReason::Revoked)).await;
            ended.unwrap_or_else(|error| panic!("{}: {error:?}", case.row.name));
        }
        let seen = format!(
            "SELECT concat_ws(' ', rolcanlogin, (SELECT count(*) FROM pg_stat_activity WHERE usesysid = r.oid),
              (SELECT count(*) FROM pg_auth_members m JOIN apono.access_role a ON a.name = m.roleid::regrole::text WHERE m.member = r.oid),
              (SELECT count(*) FROM apono.\"grant\" WHERE login = rolname AND closed_at IS NULL)) FROM pg_roles r WHERE rolname = '{}'",
            case.her.login
        );
        assert_eq!(self.world.ask(&seen).await, "f 0 0 0", "{}", case.row.name);
        for session in &case.stays {
            assert!(
                session.batch("go on", "SELECT 1").await.is_err(),
                "{}",
                case.row.name
            );
        }
        let back = Session::connect(&self.world.cluster.options(
            &case.her.login,
            &case.her.password,
            &self.world.database,
        ))
        .await;
        assert!(back.is_err(), "{}", case.row.name);
    }

    /// Cleans up until each of the cases is spoken of; with `clean`, until none of them has anything left.
    async fn clean_up(&self, cases: &[&Case], clean: bool) -> BTreeMap<GrantId, Told> {
        let mut missing: BTreeSet<_> = cases
            .iter()
            .flat_map(|case| &case.grants)
            .map(|grant| grant.id)
            .collect();
        let mut told = BTreeMap::new();
        let begun = Instant::now();
        while !missing.is_empty() {
            let stuck: Vec<_> = cases
                .iter()
                .filter(|case| case.grants.iter().any(|grant| missing.contains(&grant.id)))
                .map(|case| (case.row.name, told.get(&case.grants[0].id)))
                .collect();
            assert!(begun.elapsed() < PATIENCE, "{stuck:#?}");
            for one in self.world.target.clean_up().await.unwrap() {
                let enough = !clean || one.leftovers.is_empty();
                if missing.contains(&one.grant) {
                    if enough {
                        missing.remove(&one.grant);
                    }
                    told.insert(one.grant, one.leftovers);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        told
    }

    /// Does what a line tells, exactly so.
    async fn obey(&self, line: &str) {
        let place = line.split(" -- in ").nth(1).expect("a place");
        let database = place
            .strip_prefix("database \"")
            .and_then(|rest| rest.split('"').next());
        self.root(database.unwrap_or("postgres"), line).await;
    }
}

on_every_server! {
    async fn what_clean_up_cannot_remove_is_what_the_page_says(cluster: &Cluster) {
        let scene = Scene::new(World::new(cluster).await).await;
        let mut cases = Vec::new();
        for row in ROWS.iter().filter(|row| row.versions.contains(&scene.version)) {
            cases.push(scene.play(row).await);
        }
        futures_util::future::join_all(cases.iter().map(|case| scene.end(case))).await;
        let first = scene.clean_up(&cases.iter().collect::<Vec<_>>(), false).await;
        let leftovers = scene.world.ask("SELECT rolname FROM pg_roles WHERE rolname LIKE 'leftovers%apono' AND EXISTS (
            SELECT FROM pg_class c WHERE c.relowner = pg_roles.oid)").await;
        let (mut column, mut told) = (BTreeMap::new(), Vec::new());
        for case in &cases {
            let lines = &first[&case.grants[0].id];
            for line in lines {
                scene.obey(line).await;
            }
            if !lines.is_empty() {
                told.push(case);
            }
            let mut shown: Told = lines.iter().map(|line| scene.shown(line, case, &leftovers)).collect();
            // Databases come in the order of their names, which differ from run to run.
            shown.sort();
            column.insert(case.row.name.to_owned(), shown);
        }
        scene.clean_up(&told, true).await;
        for case in &cases {
            let left = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", case.her.login);
            assert_eq!(scene.world.ask(&left).await, "0", "{}", case.row.name);
        }
        check(scene.version, column);
    }
}

/// Compares one version's column with the page, or writes it there.
fn check(version: u32, column: BTreeMap<String, Told>) {
    static WRITING: Mutex<()> = Mutex::new(());
    let _alone = WRITING.lock().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut page = Page::parse(&text);
    if is_rewriting() {
        let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        page.put(version, column);
        std::fs::write(&path, page.render(&names)).unwrap();
        return;
    }
    let seen: BTreeMap<_, _> = column
        .iter()
        .map(|(name, told)| (name.as_str(), told))
        .collect();
    assert_eq!(
        seen,
        page.column(version),
        "{PAGE} is not what {version} does: APONO_REWRITE_MATRIX=1 make test-matrix"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the person who runs the tests, not of the product"
)]
fn is_rewriting() -> bool {
    std::env::var_os("APONO_REWRITE_MATRIX").is_some()
}

#[test]
fn the_page_is_as_it_would_be_written() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE)).unwrap();
    let names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(
        Page::parse(&text).render(&names),
        text,
        "{PAGE} was changed by hand"
    );
}
