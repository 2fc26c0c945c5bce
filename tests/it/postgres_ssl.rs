//! What each `sslmode` does at each kind of server: the tables of `docs/postgresql.md`, cell by cell.

use crate::support::certificate::{Certificates, self_made};
use crate::support::cluster::{
    Cluster, SUPERUSER_PASSWORD, UNNAMED_ADDRESS, Version, fresh, on_every_server,
};
use crate::support::relay;
use apono_connector::domain::ErrorClass;
use apono_connector::pg::{
    ClientCertificate, ConnectOptions, PgError, Session, SslMode, TlsProblem,
};
use apono_connector::secret::Secret;
use base64::Engine;
use rcgen::KeyPair;
use std::sync::Arc;

const DOCUMENT: &str = include_str!("../../docs/postgresql.md");
/// What the first cell of the head of each table says.
const TABLES: [(&str, bool); 2] = [
    ("without `ssl_root_ca`", false),
    ("with `ssl_root_ca`", true),
];
/// The rows that need a server of their own.
const NO_TLS: &str = "speaks no TLS";
const EXPIRED: &str = "has an expired certificate";

/// One cell of a table.
struct Cell {
    with_ca: bool,
    server: &'static str,
    mode: SslMode,
    wanted: &'static str,
}

fn cells() -> Vec<Cell> {
    TABLES
        .iter()
        .flat_map(|(title, with_ca)| {
            let mut lines = DOCUMENT
                .lines()
                .skip_while(|line| cut(line).first() != Some(title))
                .take_while(|line| line.starts_with('|'))
                .map(cut);
            let head = lines.next().unwrap_or_else(|| panic!("no table {title}"));
            lines.skip(1).flat_map(move |row| {
                assert_eq!(row.len(), head.len(), "{row:?}");
                let modes = head.clone().into_iter().zip(row.clone()).skip(1);
                modes
                    .map(move |(mode, wanted)| Cell {
                        with_ca: *with_ca,
                        server: row[0],
                        mode: SslMode::parse(mode.trim_matches('`')).unwrap(),
                        wanted,
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect()
}

fn cut(line: &'static str) -> Vec<&'static str> {
    let cells = line.split('|').map(str::trim);
    cells.filter(|cell| !cell.is_empty()).collect()
}

/// Connects as a cell says, and compares what happens.
async fn check(cell: &Cell, options: &ConnectOptions) {
    let seen = match Session::connect(&options.clone()).await {
        Ok(session) => {
            let row = session
                .query_opt(
                    "look at the session",
                    "SELECT ssl FROM pg_stat_ssl WHERE pid = $1",
                    &[&session.server().backend_pid],
                )
                .await;
            let encrypted: bool = row.unwrap().unwrap().get(0).unwrap();
            assert_eq!(encrypted, session.server().encrypted);
            if encrypted { "encrypted" } else { "in clear" }
        }
        Err(PgError::Tls { problem, .. }) => match problem {
            TlsProblem::NotOffered => "refused: no TLS",
            TlsProblem::UnknownCa => "refused: CA",
            TlsProblem::WrongHost => "refused: host",
            TlsProblem::OutOfTime => "refused: date",
            TlsProblem::NoRoots
            | TlsProblem::ClientCertificate
            | TlsProblem::ClientRefused
            | TlsProblem::Handshake => panic!("{problem:?}"),
        },
        Err(error) if error.sqlstate() == Some("28000") => "refused: server",
        Err(error) => panic!("{error:?}"),
    };
    assert_eq!(
        seen, cell.wanted,
        "server {}, `{}`, CA {}",
        cell.server, cell.mode, cell.with_ca
    );
}

/// Makes a login nobody else uses, in a group of `pg_hba.conf`.
async fn login(cluster: &Cluster, group: Option<&str>) -> ConnectOptions {
    let user = fresh("person");
    let join = group.map_or_else(String::new, |group| {
        format!(
            "; DO $$BEGIN CREATE ROLE {group}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$; GRANT {group} TO {user}"
        )
    });
    cluster
        .superuser("postgres")
        .await
        .batch(
            "make a login",
            &format!("CREATE ROLE {user} LOGIN PASSWORD 'good'{join}"),
        )
        .await
        .unwrap();
    cluster.options(&user, "good", "postgres")
}

on_every_server! {
    async fn each_mode_does_what_the_tables_say(cluster: &Cluster) {
        let plain = login(cluster, None).await;
        let over_tls = login(cluster, Some("only_over_tls")).await;
        let in_clear = login(cluster, Some("only_in_clear")).await;
        let another_ca = Certificates::for_names(&["localhost"]).ca;
        let mut seen = 0;
        for cell in cells() {
            let mut options = match cell.server {
                "takes only encrypted connections" => over_tls.clone(),
                "takes only connections in clear" => in_clear.clone(),
                _ => plain.clone(),
            };
            match cell.server {
                "has a certificate of another CA" => options.root_ca_pem = Some(Arc::clone(&another_ca)),
                "has a certificate for another host" => options.host = UNNAMED_ADDRESS.to_owned(),
                NO_TLS | EXPIRED => continue,
                "speaks TLS" | "takes only encrypted connections" | "takes only connections in clear" => {}
                other => panic!("no such server: {other}"),
            }
            options.ssl_mode = cell.mode;
            options.root_ca_pem = options.root_ca_pem.filter(|_| cell.with_ca);
            check(&cell, &options).await;
            seen += 1;
        }
        assert_eq!(seen, 5 * 4 + 5 * 6);
    }
}

#[tokio::test]
async fn each_mode_does_what_the_tables_say_without_tls_and_with_an_expired_certificate() {
    let cluster = Cluster::private(Version::Pg18, "ssl = off");
    let mut options = cluster.options("postgres", SUPERUSER_PASSWORD, "postgres");
    let ca = Arc::clone(&cluster.certificates.ca);
    for server in [NO_TLS, EXPIRED] {
        let row: Vec<_> = cells().into_iter().filter(|c| c.server == server).collect();
        assert_eq!(row.len(), 4 + 6);
        for cell in row {
            options.ssl_mode = cell.mode;
            options.root_ca_pem = cell.with_ca.then(|| Arc::clone(&ca));
            check(&cell, &options).await;
        }
        cluster.replace_certificate(&cluster.certificates.expired(&["localhost"]));
        options.ssl_mode = SslMode::Disable;
        reload(&options, "ALTER SYSTEM SET ssl = on", "SHOW ssl", "on").await;
    }

    // What `openssl req -x509` makes is its own CA; given as the root, it is what is to be trusted, while it lasts.
    for (years, fits) in [(2020..2100, true), (2020..2021, false)] {
        let own = self_made(&["localhost"], years);
        cluster.replace_certificate(&own);
        let mark = fresh("mark");
        let change = format!("ALTER SYSTEM SET log_line_prefix = '{mark} '");
        options.ssl_mode = SslMode::Disable;
        reload(
            &options,
            &change,
            "SHOW log_line_prefix",
            &format!("{mark} "),
        )
        .await;
        options.root_ca_pem = Some(own.pem.into());
        for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            options.ssl_mode = mode;
            let connected = Session::connect(&options).await;
            if fits {
                connected.unwrap();
            } else {
                let error = connected.unwrap_err();
                assert!(
                    matches!(
                        error,
                        PgError::Tls {
                            problem: TlsProblem::OutOfTime,
                            ..
                        }
                    ),
                    "{error:?}"
                );
            }
        }
        // A file with another certificate beside does not make a CA of a server.
        options.root_ca_pem = Some(Arc::clone(&ca));
        let error = Session::connect(&options).await.unwrap_err();
        assert!(matches!(error, PgError::Tls { .. }), "{error:?}");
    }
}

/// Changes the configuration and waits until new connections see it.
async fn reload(options: &ConnectOptions, change: &str, ask: &str, wanted: &str) {
    let session = Session::connect(options).await.unwrap();
    for statement in change.split("; ") {
        session
            .batch("change the configuration", statement)
            .await
            .unwrap();
    }
    session
        .batch("reload", "SELECT pg_reload_conf()")
        .await
        .unwrap();
    loop {
        let session = Session::connect(options).await.unwrap();
        let answer = session.batch("look", ask).await.unwrap();
        if answer.text() == Some(wanted) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// Rebuilds the DER inside a PKCS#8 key: PKCS#1 for RSA, SEC1 for elliptic curves.
fn bare_key(pkcs8: &[u8]) -> Vec<u8> {
    /// Splits one DER element into tag, content and what follows.
    fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
        let (head, length) = match der[1] {
            short @ 0..=0x7f => (2, usize::from(short)),
            0x80 | 0x81 => (3, usize::from(der[2])),
            _ => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        };
        (der[0], &der[head..head + length], &der[head + length..])
    }
    let (_, whole, _) = element(pkcs8);
    let (_, _version, rest) = element(whole);
    let (_, _algorithm, rest) = element(rest);
    let (tag, key, _) = element(rest);
    assert_eq!(tag, 4);
    key.to_vec()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = body
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn shown(chain: &str, key: String) -> Option<ClientCertificate> {
    Some(ClientCertificate {
        chain_pem: chain.into(),
        key_pem: Secret::new(key),
    })
}

#[track_caller]
fn is_tls(error: &PgError, wanted: TlsProblem, class: ErrorClass) {
    assert!(
        matches!(error, PgError::Tls { problem, .. } if *problem == wanted),
        "{error:?}"
    );
    assert_eq!(error.class(), class);
}

on_every_server! {
    async fn a_client_certificate_is_shown_with_a_key_of_any_usual_form(cluster: &Cluster) {
        let mut options = login(cluster, Some("shows_a_certificate")).await;
        let error = Session::connect(&options).await.unwrap_err();
        assert_eq!(error.sqlstate(), Some("28000"), "the server wants to see a certificate");

        let elliptic = KeyPair::generate().unwrap();
        let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let (sec1, pkcs1) = (bare_key(&elliptic.serialize_der()), bare_key(&rsa.serialize_der()));
        let elliptic = cluster.certificates.for_user(&options.user, elliptic);
        let rsa = cluster.certificates.for_user(&options.user, rsa);
        for (chain, key) in [
            (&elliptic.pem, elliptic.key.serialize_pem()),
            (&rsa.pem, rsa.key.serialize_pem()),
            (&elliptic.pem, pem("EC PRIVATE KEY", &sec1)),
            (&rsa.pem, pem("RSA PRIVATE KEY", &pkcs1)),
        ] {
            options.client = shown(chain, key);
            for mode in [SslMode::Prefer, SslMode::VerifyFull] {
                options.ssl_mode = mode;
                assert!(Session::connect(&options).await.unwrap().server().encrypted);
            }
        }

        let stranger = Certificates::for_names(&[]).for_user(&options.user, KeyPair::generate().unwrap());
        options.client = shown(&stranger.pem, stranger.key.serialize_pem());
        let error = Session::connect(&options).await.unwrap_err();
        is_tls(&error, TlsProblem::ClientRefused, ErrorClass::NeedsOperator);
        let other_key = stranger.key.serialize_pem();
        for (chain, key) in [(&elliptic.pem, other_key.as_str()), (&elliptic.pem, "hunter2"), (&String::new(), &other_key)] {
            options.client = shown(chain, key.to_owned());
            for mode in [SslMode::Prefer, SslMode::VerifyFull] {
                options.ssl_mode = mode;
                let error = Session::connect(&options).await.unwrap_err();
                is_tls(&error, TlsProblem::ClientCertificate, ErrorClass::NeedsOperator);
                assert!(!format!("{error:?}").contains("hunter2"));
            }
        }
    }
}

on_every_server! {
    async fn a_certificate_alone_opens_a_session_under_verify_full_only(cluster: &Cluster) {
        let mut options = login(cluster, Some("is_its_certificate")).await;
        let own = cluster.certificates.for_user(&options.user, KeyPair::generate().unwrap());
        options.client = shown(&own.pem, own.key.serialize_pem());
        options.password = Secret::new("not asked for".to_owned());
        Session::connect(&options).await.unwrap();
        options.ssl_mode = SslMode::VerifyCa;
        let error = Session::connect(&options).await.unwrap_err();
        assert!(matches!(error, PgError::RefusedMethod { method: "trust", .. }), "{error:?}");
    }
}

on_every_server! {
    async fn the_proof_of_the_password_is_bound_to_the_certificate_in_every_encrypted_mode(cluster: &Cluster) {
        let mut options = login(cluster, None).await;
        for mode in [SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            let (port, task) = relay::listening_in(cluster.port, &cluster.certificates).await;
            options.port = port;
            options.ssl_mode = mode;
            drop(Session::connect(&options).await.unwrap());
            let said = String::from_utf8_lossy(&task.await.unwrap()).into_owned();
            assert!(said.contains("SCRAM-SHA-256-PLUS\0"), "{said}");
            assert!(said.contains("p=tls-server-end-point,,"), "{said}");
            assert!(!said.contains("good"));
        }
    }
}

#[tokio::test]
async fn verify_ca_without_a_ca_of_its_own_is_refused() {
    let cluster = Cluster::shared(Version::Pg15);
    let mut options = login(cluster, None).await;
    options.ssl_mode = SslMode::VerifyCa;
    options.root_ca_pem = None;
    let error = Session::connect(&options).await.unwrap_err();
    is_tls(&error, TlsProblem::NoRoots, ErrorClass::NeedsOperator);
}
