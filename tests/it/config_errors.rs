//! What is wrong with a configuration is said at once, with key and place, and without secrets.

use apono_connector::config::{Config, Environment, LogFormat, TokenConfig};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The least an environment must hold.
const LEAST: [(&str, &str); 3] = [
    ("APONO_CONNECTOR_ID", "c1"),
    ("APONO_URL", "api.example.com"),
    ("APONO_TOKEN", "token-1"),
];

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Environment::from_map(variables.iter().map(owned).collect())
}

fn with_least(variables: &[(&'static str, &'static str)]) -> Environment {
    let mut all = LEAST.to_vec();
    all.retain(|(name, _)| !variables.iter().any(|(other, _)| other == name));
    all.extend(variables);
    environment(&all)
}

/// Loads a file of the given content; the error's text names it `connector.toml`.
fn load(environment: &Environment, content: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connector.toml");
    std::fs::write(&path, content).unwrap();
    let shown = format!("{}/", folder.path().display());
    Config::load(environment, Some(&path)).map_err(|error| error.to_string().replace(&shown, ""))
}

#[track_caller]
fn check_variable(name: &'static str, value: &'static str, expect: &str) {
    let error = load(&with_least(&[(name, value)]), "").unwrap_err();
    let found = error.lines().nth(1).unwrap_or_default();
    assert!(found.contains(expect), "{error}");
    assert!(found.contains(name), "{error}");
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[track_caller]
fn check_file(content: &str, expect: &str) {
    let error = load(&environment(&LEAST), content).unwrap_err();
    assert!(error.contains(expect), "{error}");
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn three_variables_are_enough() {
    let config = Config::load(&environment(&LEAST), None).unwrap();
    assert_eq!(
        config.control_plane.url.to_string(),
        "https://api.example.com"
    );
    assert_eq!(config.control_plane.connector.as_str(), "c1");
    assert!(matches!(config.control_plane.token, TokenConfig::Value(_)));
    assert_eq!(config.state_dir, Path::new("/var/lib/apono-connector"));
    assert!(!config.state_shared);
    assert!(config.listen.ip().is_loopback());
    assert_eq!(config.log.format, LogFormat::Auto);
    assert_eq!(
        (config.executor.slots, config.executor.per_integration),
        (32, 16)
    );
}

#[test]
fn the_sample_of_the_documentation_is_a_complete_file_of_defaults() {
    let document = include_str!("../../docs/configuration.md");
    let sample = document
        .split_once("```toml\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .map(|(sample, _)| sample)
        .unwrap();
    let without_token = environment(&LEAST[..2]);
    let config = load(&without_token, sample).unwrap();
    let bare = Config::load(&environment(&LEAST), None).unwrap();
    assert_eq!(config.state_dir, bare.state_dir);
    assert_eq!(config.state_shared, bare.state_shared);
    assert_eq!(config.listen, bare.listen);
    assert_eq!(
        format!("{:?}", config.guardrails),
        format!("{:?}", bare.guardrails)
    );
    assert_eq!(
        format!("{:?}", config.executor),
        format!("{:?}", bare.executor)
    );
    assert_eq!(format!("{:?}", config.sweeps), format!("{:?}", bare.sweeps));
    assert_eq!(format!("{:?}", config.log), format!("{:?}", bare.log));
    assert_eq!(config.secrets.keep, bare.secrets.keep);
    assert!(config.secrets.kubernetes.is_some() && config.secrets.vault.is_some());
    assert!(bare.secrets.kubernetes.is_none() && bare.secrets.vault.is_none());
    assert_eq!(
        config.control_plane.ca_file,
        Some(PathBuf::from("/etc/apono-connector/ca.pem"))
    );
    assert!(matches!(config.control_plane.token, TokenConfig::File(_)));
}

#[test]
fn an_empty_environment_names_all_that_is_missing() {
    let error = Config::load(&environment(&[]), None)
        .unwrap_err()
        .to_string();
    insta::assert_snapshot!(error, @r"
    the configuration has 3 problems
      APONO_CONNECTOR_ID: is not set, must name the connector as the control plane knows it
      APONO_TOKEN: is not set, must be the connector's token; or better name a file with `control_plane.token_file`
      APONO_URL: is not set, must be the control plane's host or URL; or set `control_plane.url` in the file
    ");
}

#[test]
fn every_problem_of_environment_and_file_is_reported_at_once_with_its_place() {
    let error = load(
        &with_least(&[
            ("APONO_CONNECTOR_ID", "a b"),
            ("APONO_URL", "http://db.example.com"),
        ]),
        r#"
listen = 8080
stat_dir = "/x"

[control_plane]
token = "hunter2"
token_file = "relative"

[executor]
slots = 0

[sweep]
x = 1

[log]
format = "xml"
"#,
    )
    .unwrap_err();
    insta::assert_snapshot!(error, @r"
    the configuration has 9 problems
      APONO_CONNECTOR_ID: `connector_id` is `a b`, must be 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit
      APONO_URL: the control plane's address is `http://db.example.com`, plain http is for this machine only: must be `https://`
      connector.toml:2: `listen` is a number, must be a text
      connector.toml:3: `stat_dir` is not a known key, known here are `state_dir`, `state_shared`, `listen`
      connector.toml:6: `control_plane.token` is not a known key, known here are `url`, `token_file`, `ca_file`; secrets never stand in this file: name a file with `control_plane.token_file`, or set `APONO_TOKEN`
      connector.toml:7: `control_plane.token_file` is `relative`, must be an absolute path
      connector.toml:10: `executor.slots` is 0, must be a whole number from 4 to 256
      connector.toml:12: `[sweep]` is not a known section, known are `[control_plane]`, `[guardrails]`, `[executor]`, `[sweeps]`, `[aws]`, `[secrets]`, `[secrets.kubernetes]`, `[secrets.vault]`, `[log]`
      connector.toml:16: `log.format` is `xml`, must be `auto`, `json` or `human`
    ");
}

#[test]
fn a_bad_variable_is_named() {
    check_variable("APONO_CONNECTOR_ID", "käse", "must be 1 to 64");
    check_variable("APONO_URL", "http://api.example.com", "this machine only");
    check_variable(
        "APONO_URL",
        "https://me:pass@api.example.com",
        "user or password",
    );
    check_variable("APONO_TOKEN", "two words", "one word");
    check_variable("APONO_STATE_DIR", "state", "must be an absolute path");
    check_variable("APONO_STATE_SHARED", "yes", "must be `true` or `false`");
    check_variable("CONNECTOR_METADATA", "{\"a\":", "must be JSON");
    check_variable("HTTPS_PROXY", "ftp://proxy", "must be a URL");
    check_variable("https_proxy", "http://", "must be a URL");
}

#[test]
fn a_metadata_text_that_is_too_large_is_refused() {
    let large = format!("\"{}\"", "x".repeat(5000));
    let mut variables = LEAST.to_vec();
    variables.push(("CONNECTOR_METADATA", &large));
    let error = load(&environment(&variables), "").unwrap_err();
    assert!(error.contains("must have at most 4096"), "{error}");
}

#[test]
fn a_bad_key_is_named_with_its_line() {
    check_file(
        "\n\n[executor]\nslots = 3",
        "connector.toml:4: `executor.slots` is 3",
    );
    check_file("[executor]\nslots = 8\nper_integration = 9", "from 1 to 8");
    check_file(
        "[executor]\nslots = \"8\"",
        "is a text, must be a whole number",
    );
    check_file("[executor]\nslots = 8.5", "is a fraction");
    check_file("[executor]\nslots = 99999999999999999999", "too large");
    check_file(
        "[guardrails]\nlongest_grant_s = 1",
        "`guardrails.longest_grant_s`",
    );
    check_file(
        "[sweeps]\nexpiry_every_s = -1",
        "`sweeps.expiry_every_s` is -1",
    );
    check_file("listen = \"localhost\"", "must be an address and a port");
    check_file("state_dir = \"\"", "`state_dir` is empty");
    check_file("state_dir = [1]", "`state_dir` is a list");
    check_file("state_shared = \"true\"", "must be `true` or `false`");
    check_file("listen = true", "`listen` is a boolean");
    check_file("[lgo]", "connector.toml:1: `[lgo]` is not a known section");
    check_file(
        "[log]\nfromat = 1",
        "connector.toml:2: `log.fromat` is not a known key",
    );
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_line() {
    check_file("\nlisten = \n", "connector.toml:2: ");
    check_file(
        "listen = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"",
        "connector.toml:2: ",
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(&environment(&LEAST), Some(Path::new("/nowhere/c.toml")))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nowhere/c.toml: the file cannot be read"),
        "{error}"
    );
}

#[test]
fn the_file_the_environment_names_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "[sweeps]\ndrift_every_s = 7").unwrap();
    let named = path.display().to_string();
    let mut variables = LEAST.to_vec();
    variables.push(("APONO_CONFIG", &named));
    let config = Config::load(&environment(&variables), None).unwrap();
    assert_eq!(config.sweeps.drift_every, Duration::from_secs(7));
}

#[test]
fn the_text_of_the_file_may_stand_in_the_environment_and_its_problems_name_their_line() {
    let with_text = |text: &'static str| {
        let all = with_least(&[("APONO_CONFIG_TEXT", text)]);
        Config::load(&all, None).map_err(|error| error.to_string())
    };
    let config = with_text("\n[sweeps]\ndrift_every_s = 7\n").unwrap();
    assert_eq!(config.sweeps.drift_every, Duration::from_secs(7));
    assert!(with_text(" \n ").is_ok());
    // Empty lines at its head are lines.
    let error = with_text("\n\nlisten = 8080\n\n[executor]\nslots = 0\npace = 1").unwrap_err();
    insta::assert_snapshot!(error, @r"
    the configuration has 3 problems
      APONO_CONFIG_TEXT:3: `listen` is a number, must be a text
      APONO_CONFIG_TEXT:6: `executor.slots` is 0, must be a whole number from 4 to 256
      APONO_CONFIG_TEXT:7: `executor.pace` is not a known key, known here are `slots`, `per_integration`
    ");
    let large = "#".repeat((1 << 20) + 1);
    let mut variables = LEAST.to_vec();
    variables.push(("APONO_CONFIG_TEXT", &large));
    let error = Config::load(&environment(&variables), None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("APONO_CONFIG_TEXT: has 1048577 bytes"),
        "{error}"
    );
}

#[test]
fn a_file_and_a_text_beside_it_are_refused() {
    let error = load(&with_least(&[("APONO_CONFIG_TEXT", "[log]")]), "").unwrap_err();
    let expect = "APONO_CONFIG_TEXT: is set beside `--config`, must be only one of them";
    assert!(error.contains(expect), "{error}");
    let both = [
        ("APONO_CONFIG_TEXT", "[log]"),
        ("APONO_CONFIG", "/nowhere/c.toml"),
    ];
    let error = Config::load(&with_least(&both), None)
        .unwrap_err()
        .to_string();
    let expect = "APONO_CONFIG_TEXT: is set beside `APONO_CONFIG`, must be only one of them";
    assert!(error.contains(expect), "{error}");
    assert!(
        error.contains("/nowhere/c.toml: the file cannot be read"),
        "{error}"
    );
}

#[test]
fn a_variable_outranks_the_file_and_an_empty_one_counts_as_not_set() {
    let file = "state_dir = \"/from/file\"\nstate_shared = false\n[log]\nfilter = \"debug\"";
    let config = load(
        &with_least(&[
            ("APONO_STATE_DIR", "/from/env"),
            ("APONO_STATE_SHARED", "true"),
            ("APONO_LOG", ""),
        ]),
        file,
    )
    .unwrap();
    assert_eq!(config.state_dir, Path::new("/from/env"));
    assert!(config.state_shared);
    assert_eq!(config.log.filter, "debug");
}

#[test]
fn a_token_and_a_token_file_beside_it_are_refused() {
    check_file(
        "[control_plane]\ntoken_file = \"/run/token\"",
        "APONO_TOKEN: is set beside `control_plane.token_file`",
    );
}

#[test]
fn no_secret_is_shown_in_a_problem_or_in_debug_output() {
    let secrets = [
        ("APONO_TOKEN", "hunter2 hunter2"),
        ("APONO_URL", "https://me:hunter2@api.example.com"),
        ("HTTPS_PROXY", "http://me:hunter2@:bad"),
    ];
    let file = "[control_plane]\ntoken = \"hunter2\"\npassword = \"hunter2\"";
    let error = load(&with_least(&secrets), file).unwrap_err();
    assert_eq!(error.lines().count(), 6, "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let error = load(&with_least(&[]), "[control_plane]\ntoken = \"hunter2\nx").unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");

    let environment = with_least(&[
        ("APONO_TOKEN", "hunter2"),
        ("HTTPS_PROXY", "http://me:hunter2@proxy:3128"),
    ]);
    let config = load(&environment, "").unwrap();
    let shown = format!("{environment:?} {config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("proxy"), "{shown}");
}

#[test]
fn a_container_in_kubernetes_knows_its_cluster_and_a_variable_names_the_region() {
    let config = load(
        &with_least(&[
            ("KUBERNETES_SERVICE_HOST", "fd00::1"),
            ("KUBERNETES_SERVICE_PORT", "6443"),
            ("AWS_REGION", "eu-north-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ]),
        "[aws]\nregion = \"eu-west-1\"",
    )
    .unwrap();
    let cluster = config.secrets.kubernetes.unwrap();
    assert_eq!(cluster.url.as_str(), "https://[fd00::1]:6443/");
    assert_eq!(
        cluster.token_file,
        Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token")
    );
    assert_eq!(config.aws.region.as_deref(), Some("eu-north-1"));
}

#[test]
fn what_is_wrong_with_the_stores_of_secrets_is_said_by_key() {
    let error = load(
        &environment(&LEAST),
        r#"
[aws]
region = "Ireland"
[secrets]
keep_s = 7200
password = "hunter2"
[secrets.kubernetes]
url = "http://cluster.example.com"
[secrets.vault]
url = "https://vault.example.com"
login = "kubernetes"
namespace = "../x"
kv_version = 3
[secrets.aws]
"#,
    )
    .unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
    insta::assert_snapshot!(error, @r"
    the configuration has 8 problems
      connector.toml:3: `aws.region` is `Ireland`, must be an AWS region such as `eu-west-1`
      connector.toml:5: `secrets.keep_s` is 7200, must be a whole number from 0 to 3600
      connector.toml:6: `secrets.password` is not a known key, known here are `keep_s`; secrets never stand in this file: name a file with `control_plane.token_file`, or set `APONO_TOKEN`
      connector.toml:8: `secrets.kubernetes.url` must be a URL such as `https://store.example.com`, without user and query; plain http is for this machine only
      connector.toml:11: `secrets.vault.role` is absent, which the log-in `kubernetes` needs
      connector.toml:12: `secrets.vault.namespace` is `../x`, must be at most 200 visible ASCII characters, none of its parts `..`
      connector.toml:13: `secrets.vault.kv_version` is 3, must be a whole number from 0 to 2
      connector.toml:14: `secrets.aws` is not a known key, known here are `keep_s`
    ");
}

#[test]
fn a_log_in_to_vault_must_be_complete() {
    let vault = |rest: &str| format!("[secrets.vault]\nurl = \"https://v.example.com\"\n{rest}");
    check_file(
        &vault(""),
        "connector.toml:2: `secrets.vault.token_file` is absent, which the log-in `token` needs",
    );
    check_file(
        &vault("login = \"aws\""),
        "connector.toml:3: `secrets.vault.role` is absent, which the log-in `aws` needs",
    );
    check_file(
        &vault("login = \"ldap\""),
        "connector.toml:3: `secrets.vault.login` is `ldap`, must be `token`, `kubernetes` or `aws`",
    );
}
