//! The house law: who may import whom, where the outside world is touched, how files are named and opened.
//!
//! The two tables below are the law; `ARCHITECTURE.md` says it in prose. A test here fails with the offending line.

mod documents;
mod tokens;

use std::path::{Path as FilePath, PathBuf};
use tokens::{Path, Reading, read};

/// A room and the rooms it may import. A room is a file or a folder of `src/`; the longest name that fits wins, so
/// `control/http` is a room of its own within `control`. Rooms that hold others see them without asking.
/// Whoever adds a room adds a line.
const ROOMS: &[(&str, &[&str])] = &[
    // The dictionary, and what is as plain as it.
    ("domain", &[]),
    ("address", &["domain"]),
    ("clock", &[]),
    ("secret", &[]),
    ("cut", &["domain"]),
    ("seal", &["domain", "secret"]),
    ("retry", &["domain"]),
    // Judgement and memory.
    ("policy", &["domain"]),
    ("ledger", &["clock", "cut", "domain"]),
    // Languages of the outside world.
    ("pg", &["clock", "cut", "domain", "secret"]),
    ("aws", &["clock", "domain"]),
    ("secrets", &["aws", "domain", "secret"]),
    // The two edges: orders in, changes out.
    ("control", &["clock", "domain", "secret"]),
    ("control/protocol", &[]),
    (
        "control/http",
        &[
            "address",
            "clock",
            "control",
            "control/protocol",
            "domain",
            "secret",
        ],
    ),
    ("targets", &["clock", "domain", "policy"]),
    (
        "targets/postgres",
        &[
            "clock", "cut", "domain", "pg", "policy", "seal", "secret", "targets",
        ],
    ),
    (
        "targets/rds",
        &["aws", "domain", "secret", "targets", "targets/postgres"],
    ),
    (
        "targets/aws_account",
        &[
            "aws", "clock", "domain", "policy", "seal", "secret", "targets",
        ],
    ),
    (
        "targets/identity_center",
        &["aws", "clock", "domain", "policy", "retry", "targets"],
    ),
    // Orchestration: sees traits, never what stands behind them.
    (
        "executor",
        &[
            "clock",
            "control",
            "cut",
            "domain",
            "ledger",
            "lifecycle",
            "policy",
            "retry",
            "targets",
            "telemetry",
        ],
    ),
    (
        "inventory",
        &["aws", "clock", "control", "domain", "pg", "retry", "secret"],
    ),
    ("operator", &["clock", "domain", "executor", "lifecycle"]),
    ("lifecycle", &["domain"]),
    // Beside the tower.
    ("config", &["address", "domain", "secret"]),
    ("config/env", &["config", "cut", "domain", "secret"]),
    ("telemetry", &["clock", "domain", "secret"]),
    // The other end of the channel, never shipped with the connector.
    (
        "reference_plane",
        &["clock", "control/protocol", "domain", "secret"],
    ),
    // The only places where the rooms meet.
    ("agent", EVERY_ROOM),
    ("cli", EVERY_ROOM),
    ("main.rs", &["cli", "config"]),
    ("bin", &["reference_plane"]),
];

/// Stands for every room but the command line and the reference control plane.
const EVERY_ROOM: &[&str] = &["*"];

/// A path of code, where it may stand, and why.
struct Edge {
    path: &'static [&'static str],
    within: &'static [&'static str],
    why: &'static str,
}

/// The rooms that may name the AWS SDK.
const AWS_ROOMS: &[&str] = &[
    "src/aws/",
    "src/inventory/aws_",
    "src/secrets/",
    "src/targets/aws_account/",
    "src/targets/identity_center/",
    "src/targets/rds/",
];

/// Where the outside world may be touched.
const EDGES: &[Edge] = &[
    edge(
        &["tokio_postgres"],
        &["src/pg/"],
        "`pg` speaks to PostgreSQL for everybody",
    ),
    edge(
        &["tokio_postgres_rustls"],
        &["src/pg/"],
        "`pg` speaks to PostgreSQL for everybody",
    ),
    edge(
        &["postgres_protocol"],
        &["src/pg/", "src/targets/postgres/"],
        "verifiers are made beside the logins",
    ),
    edge(
        &["aws_config"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_credential_types"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_sdk_iam"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_sdk_identitystore"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_sdk_organizations"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_sdk_rds"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_sdk_resourcegroupstagging"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_sdk_secretsmanager"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_sdk_ssoadmin"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_sdk_sts"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_smithy_types"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_smithy_runtime_api"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_types"],
        AWS_ROOMS,
        "`aws` and what is built on it speak to AWS",
    ),
    edge(
        &["aws_smithy_http_client"],
        &["src/aws/"],
        "one client, behind the list of actions",
    ),
    edge(&["redb"], &["src/ledger/"], "the ledger is the only store"),
    edge(
        &["rusqlite"],
        &["src/reference_plane/"],
        "the connector's image holds no SQLite",
    ),
    edge(
        &["utoipa"],
        &["src/reference_plane/", "src/control/protocol/"],
        "the connector's image holds no generator",
    ),
    edge(
        &["reqwest"],
        &[
            "src/control/http",
            "src/reference_plane/command",
            "src/secrets/",
        ],
        "one client per edge, with limits",
    ),
    edge(
        &["axum"],
        &["src/reference_plane/", "src/telemetry/"],
        "the connector listens for health and metrics only",
    ),
    edge(
        &["backon"],
        &["src/retry.rs"],
        "retry timing is decided in one place",
    ),
    edge(
        &["age"],
        &["src/seal.rs", "src/reference_plane/command"],
        "sealed in one place, opened only by the requester",
    ),
    edge(
        &["anyhow"],
        &[
            "src/cli",
            "src/agent",
            "src/main.rs",
            "src/bin/",
            "src/reference_plane/command",
        ],
        "other rooms have errors with a class",
    ),
    edge(
        &["clap"],
        &["src/cli", "src/reference_plane/command"],
        "flags are read at the door",
    ),
    edge(&["toml"], &["src/config/"], "the file is read at the door"),
    edge(
        &["prometheus_client"],
        &["src/telemetry/"],
        "metrics are declared in one place",
    ),
    edge(
        &["tracing_subscriber"],
        &["src/telemetry/", "src/reference_plane/command"],
        "output is set up in one place",
    ),
    edge(
        &["std", "env"],
        &["src/config/env.rs", "src/main.rs"],
        "environment and arguments are read at the door",
    ),
    edge(
        &["println!"],
        &["src/cli", "src/reference_plane/command"],
        "only the command line prints",
    ),
    edge(
        &["print!"],
        &["src/cli", "src/reference_plane/command"],
        "only the command line prints",
    ),
    edge(
        &["eprintln!"],
        &["src/cli", "src/reference_plane/command"],
        "only the command line prints",
    ),
    edge(
        &["eprint!"],
        &["src/cli", "src/reference_plane/command"],
        "only the command line prints",
    ),
    edge(
        &["std", "io", "stdout"],
        &[
            "src/agent.rs",
            "src/cli",
            "src/reference_plane/command",
            "src/telemetry/",
        ],
        "only the command line and the log print",
    ),
    edge(
        &["std", "io", "stderr"],
        &[
            "src/agent.rs",
            "src/cli",
            "src/reference_plane/command",
            "src/telemetry/",
        ],
        "only the command line and the log print",
    ),
    edge(
        &["std", "process", "exit"],
        &[],
        "the exit code is returned from `main`",
    ),
    edge(
        &["std", "thread", "sleep"],
        &[],
        "nothing blocks a worker; wait on the runtime's clock",
    ),
    edge(
        &["jiff", "Timestamp", "now"],
        &["src/clock.rs"],
        "time comes from `clock::Clock`",
    ),
];

const fn edge(
    path: &'static [&'static str],
    within: &'static [&'static str],
    why: &'static str,
) -> Edge {
    Edge { path, within, why }
}

/// Crates that would make the pure rooms impure.
const IMPURE: &[&str] = &[
    "tokio",
    "serde",
    "serde_json",
    "futures_util",
    "tracing",
    "async_trait",
    "getrandom",
];
const PURE_ROOMS: &[&str] = &["domain", "policy"];

/// File and folder names that say nothing.
const EMPTY_NAMES: &[&str] = &[
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "types",
    "constants",
    "consts",
    "manager",
    "misc",
    "shared",
];

/// Most lines of code in one file, test modules, comments and blank lines not counted.
const MOST_CODE_LINES: usize = 500;

#[test]
fn every_room_imports_only_what_the_law_allows() {
    for_each_source(imports);
}

#[test]
fn the_law_names_no_room_that_is_gone() {
    let files = rust_files("src");
    let stands = |room: &str| {
        room == "main.rs"
            || files
                .iter()
                .any(|file| room_of(&module_of(file)) == room_of(room))
    };
    let mut rooms = ROOMS.iter().map(|(room, _)| *room);
    assert_eq!(rooms.find(|room| !stands(room)), None);
}

#[test]
fn the_outside_world_is_touched_only_in_its_place() {
    for_each_source(edges);
}

#[test]
fn dictionary_and_guardrails_stay_pure() {
    for_each_source(purity);
}

#[test]
fn permits_are_made_only_by_the_guardrails() {
    for_each_source(permits);
}

#[test]
fn every_file_says_what_it_owns_and_fits_its_room() {
    for_each(&rust_files("src"), |file, text| {
        let mut found = opening(file, text);
        found.extend(naming(file));
        found.extend(size(file, &read(text)));
        found
    });
}

#[test]
fn tests_are_never_switched_off_nor_called_test() {
    let mut files = rust_files("src");
    files.extend(rust_files("tests"));
    for_each(&files, switched_off);
}

#[test]
fn nothing_unfinished_and_no_machine_path_is_kept() {
    for_each(&documents::text_files(), unfinished);
}

fn for_each_source(check: impl Fn(&str, &Reading) -> Vec<String>) {
    for_each(&rust_files("src"), |file, text| check(file, &read(text)));
}

#[track_caller]
fn for_each(files: &[String], check: impl Fn(&str, &str) -> Vec<String>) {
    assert!(!files.is_empty(), "found no files to look at");
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| check(file, &text_of(file)))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn rust_files(folder: &str) -> Vec<String> {
    let mut files = documents::files_below(folder);
    files.retain(|file| file.ends_with(".rs"));
    files
}

/// The longest room name the path fits, `None` for the crate's root file.
fn room_of(path: &str) -> Option<&'static str> {
    let fits = |room: &&str| {
        path == *room
            || path
                .strip_prefix(*room)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    ROOMS
        .iter()
        .map(|(room, _)| *room)
        .filter(fits)
        .max_by_key(|room| room.len())
}

/// The module path a file stands for: `src/pg/mod.rs` is `pg`, `src/pg/ident.rs` is `pg/ident`.
fn module_of(file: &str) -> String {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    if inner == "main.rs" || inner == "lib.rs" {
        return inner.to_owned();
    }
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    inner.strip_suffix("/mod").unwrap_or(inner).to_owned()
}

/// Where in the crate a path leads, or `None` when it leads out of it or stays in its own module.
fn destination(module: &str, path: &Path) -> Option<String> {
    let mut segments = path.segments.iter().map(String::as_str);
    let first = segments.next()?;
    let mut place: Vec<&str> = match first {
        "crate" | "apono_connector" => Vec::new(),
        "super" => module.split('/').collect(),
        _ => return None,
    };
    if first == "super" {
        let climbs = path.segments.iter().take_while(|s| *s == "super").count();
        for _ in path.inline_modules.min(climbs)..climbs {
            place.pop();
        }
    }
    place.extend(segments.skip_while(|s| *s == "super"));
    (!place.is_empty()).then(|| place.join("/"))
}

fn imports(file: &str, reading: &Reading) -> Vec<String> {
    let module = module_of(file);
    if module == "lib.rs" {
        return Vec::new();
    }
    let Some(room) = room_of(&module) else {
        return vec![format!(
            "{file}: no room of this name in the law; add a line to `ROOMS`"
        )];
    };
    if is_test_file(file) {
        return Vec::new();
    }
    let allowed = ROOMS
        .iter()
        .find(|(name, _)| *name == room)
        .map_or(&[][..], |(_, rooms)| rooms);
    let mut found = Vec::new();
    for path in reading.paths.iter().filter(|path| !path.in_test) {
        let Some(to) = destination(&module, path).as_deref().and_then(room_of) else {
            continue;
        };
        let everything = allowed == EVERY_ROOM && !matches!(to, "cli" | "reference_plane");
        let holds = to
            .strip_prefix(room)
            .is_some_and(|rest| rest.starts_with('/'));
        if to != room && !holds && !everything && !allowed.contains(&to) {
            found.push(format!(
                "{file}:{}: `{}`: room `{room}` may not import `{to}`, it may import {allowed:?}",
                path.line,
                path.segments.join("::")
            ));
        }
    }
    found
}

fn edges(file: &str, reading: &Reading) -> Vec<String> {
    let mut found = Vec::new();
    let outside_tests = |path: &&Path| !path.in_test && !is_test_file(file);
    for path in reading.paths.iter().filter(outside_tests) {
        for edge in EDGES {
            let macro_call = edge.path[0].ends_with('!');
            // A single word may be a variable; a crate is named with something behind it.
            let named = path.segments.len() > 1 || macro_call;
            let hit = named
                && path
                    .segments
                    .iter()
                    .map(String::as_str)
                    .take(edge.path.len())
                    .eq(edge.path.iter().copied());
            if hit && !edge.within.iter().any(|place| file.starts_with(place)) {
                found.push(format!(
                    "{file}:{}: `{}` may stand only in {:?}: {}",
                    path.line,
                    path.segments.join("::"),
                    edge.within,
                    edge.why
                ));
            }
        }
    }
    found
}

fn purity(file: &str, reading: &Reading) -> Vec<String> {
    let module = module_of(file);
    if !room_of(&module).is_some_and(|room| PURE_ROOMS.contains(&room)) {
        return Vec::new();
    }
    let impure = |path: &&Path| {
        let first = path.segments[0].as_str();
        !path.in_test
            && (matches!(first, "async" | "await")
                || path.segments.len() > 1 && IMPURE.contains(&first))
    };
    reading
        .paths
        .iter()
        .filter(impure)
        .map(|path| {
            format!(
                "{file}:{}: `{}` has no place in a pure room",
                path.line,
                path.segments.join("::")
            )
        })
        .collect()
}

fn permits(file: &str, reading: &Reading) -> Vec<String> {
    if file.starts_with("src/policy/") {
        return Vec::new();
    }
    let permits = reading.built.iter().filter(|(name, _)| name == "Permit");
    permits
        .map(|(_, line)| format!("{file}:{line}: a `Permit` is made only by `policy::judge`"))
        .collect()
}

fn opening(file: &str, text: &str) -> Vec<String> {
    if is_test_file(file) {
        return Vec::new();
    }
    let first = text.lines().next().unwrap_or_default();
    let door: String = text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect();
    let outside = matches!(file, "src/lib.rs" | "src/main.rs") || file.starts_with("src/bin/");
    let is_room = ROOMS.iter().any(|(room, _)| *room == module_of(file));
    if outside && !first.starts_with("//! ") {
        vec![format!("{file}:1: `{first}`: must open with a `//!` line")]
    } else if !outside && !first.starts_with("//! Owns ") {
        vec![format!("{file}:1: `{first}`: must open with `//! Owns …`")]
    } else if is_room
        && !outside
        && !["Never", "nothing", "Pure"]
            .iter()
            .any(|word| door.contains(word))
    {
        vec![format!(
            "{file}:1: `{first}`: the door of a room also says what it does `Never …`"
        )]
    } else {
        Vec::new()
    }
}

/// Tests that are longer than the code stand in a file beside it.
fn is_test_file(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.ends_with("_tests.rs")
}

fn naming(file: &str) -> Vec<String> {
    FilePath::new(file)
        .with_extension("")
        .iter()
        .filter_map(|part| part.to_str())
        .filter(|part| EMPTY_NAMES.contains(part))
        .map(|part| format!("{file}: `{part}` says nothing; name the file after the noun it owns"))
        .collect()
}

fn size(file: &str, reading: &Reading) -> Vec<String> {
    if reading.code_lines <= MOST_CODE_LINES || is_test_file(file) {
        return Vec::new();
    }
    vec![format!(
        "{file}: {} lines of code, at most {MOST_CODE_LINES}; split it by noun",
        reading.code_lines
    )]
}

fn switched_off(file: &str, text: &str) -> Vec<String> {
    let ignored = concat!("#[", "ignore");
    let prefixed = concat!("fn ", "test_");
    lines_with(
        file,
        text,
        &[
            (ignored, "a test is never switched off"),
            (prefixed, "a test's name is a sentence"),
        ],
    )
}

fn unfinished(file: &str, text: &str) -> Vec<String> {
    lines_with(
        file,
        text,
        &[
            (concat!("TO", "DO"), "finish it or leave it out"),
            (concat!("FIX", "ME"), "finish it or leave it out"),
            (concat!("/wo", "rk/"), "a path of one machine"),
            (concat!("/ro", "ot/"), "a path of one machine"),
            (concat!("/ho", "me/"), "a path of one machine"),
            (concat!("<<<", "<<<<"), "a merge that was not finished"),
        ],
    )
}

fn lines_with(file: &str, text: &str, banned: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (needle, why) in banned {
            if line.contains(needle) {
                found.push(format!("{file}:{}: `{}`: {why}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[track_caller]
fn caught(found: Vec<String>, expected: &[&str]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, part) in found.iter().zip(expected) {
        assert!(line.contains(part), "`{line}` does not say `{part}`");
    }
}

#[test]
fn a_planted_import_is_caught_on_its_line() {
    let planted = "use crate::{\n    domain::Grant,\n    control::http::Client,\n};\nfn f() { super::super::targets::postgres::go() }\n";
    caught(
        imports("src/executor/run.rs", &read(planted)),
        &[
            "src/executor/run.rs:3: `crate::control::http::Client`: room `executor` may not import `control/http`",
            "run.rs:5: ",
        ],
    );
    caught(
        imports("src/surprise.rs", &read("")),
        &["no room of this name"],
    );
    caught(
        imports(
            "src/ledger/state.rs",
            &read("use super::event::Event; use crate::domain::Grant;"),
        ),
        &[],
    );
    caught(
        imports(
            "src/pg/connect.rs",
            &read("#[cfg(test)]\nmod tests {\n use crate::agent::X;\n}\n"),
        ),
        &[],
    );
    caught(
        imports(
            "src/pg/connect.rs",
            &read("mod inner { use super::X; use super::super::super::agent::Y; }"),
        ),
        &["`agent`"],
    );
}

#[test]
fn a_planted_touch_of_the_outside_is_caught_and_look_alikes_are_not() {
    let planted = "//! tokio_postgres::x\nfn f<'a>() -> char {\n    let age = 1; let c = '\"'; /* std::env::var */\n    let t = r#\"println!(\"no\")\"#;\n    std::env::var(\"A\"); println!(\"x\"); ::tokio_postgres::connect(); age.pow(2)\n}\n";
    caught(
        edges("src/executor/mod.rs", &read(planted)),
        &[
            ":5: `std::env::var` may stand only in",
            ":5: `println!`",
            ":5: `tokio_postgres::connect`",
        ],
    );
    caught(
        edges("src/config/env.rs", &read("use std::{env, fs};")),
        &[],
    );
    caught(
        edges("src/config/file.rs", &read("use std::{env, fs};")),
        &["`std::env`"],
    );
}

#[test]
fn a_planted_impurity_or_permit_is_caught() {
    caught(
        purity(
            "src/policy/rules.rs",
            &read("async fn f() {}\nuse serde::Serialize;\n"),
        ),
        &[":1: `async`", ":2: `serde::Serialize`"],
    );
    caught(
        purity("src/ledger/store.rs", &read("use serde::Serialize;")),
        &[],
    );
    caught(
        permits(
            "src/executor/run.rs",
            &read("fn f(p: Permit) -> Permit { Permit { grant } }"),
        ),
        &["made only by"],
    );
    caught(
        permits("src/policy/permit.rs", &read("fn f() { Permit { grant } }")),
        &[],
    );
}

#[test]
fn a_planted_file_without_manners_is_caught() {
    caught(
        opening("src/pg/ident.rs", "use std::fmt;\n"),
        &["must open with `//! Owns …`"],
    );
    caught(
        opening("src/pg/mod.rs", "//! Owns the talk with PostgreSQL.\n"),
        &["also says what it does `Never …`"],
    );
    caught(naming("src/pg/utils.rs"), &["`utils` says nothing"]);
    caught(
        size("src/pg/mod.rs", &read(&"fn f() {}\n".repeat(501))),
        &["501 lines of code"],
    );
    caught(
        size(
            "src/pg/mod.rs",
            &read(&"// a comment\n\nfn f() {}\n".repeat(500)),
        ),
        &[],
    );
    caught(
        switched_off(
            "tests/it/a.rs",
            concat!("#[", "ignore = \"slow\"]\nfn ", "test_a() {}\n"),
        ),
        &[":1:", ":2:"],
    );
    caught(
        unfinished("README.md", concat!("cd /wo", "rk/x\n// TO", "DO later\n")),
        &["of one machine", "finish it"],
    );
}
