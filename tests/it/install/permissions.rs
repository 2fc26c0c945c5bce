//! Tests that what is deployed allows what the code needs and nothing else.

use super::template::{bare, embedded, filled};
use apono_connector::aws::actions::Layer;
use std::fs;
use std::path::{Path, PathBuf};

const FIX: &str = "APONO_REWRITE_PERMISSIONS=1 cargo test --test it install::permissions";

/// What the installers themselves need beside the connector: its image, log, token and state, and the trust of roles.
const INSTALLERS: &[&str] = &[
    // Who may become whom.
    "sts:AssumeRole",
    "sts:TagSession",
    "sts:SetSourceIdentity",
    "sts:AssumeRoleWithWebIdentity",
    // The execution role: the image, the log, the token.
    "ecr:GetAuthorizationToken",
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "secretsmanager:GetSecretValue",
    // The state folder.
    "elasticfilesystem:ClientMount",
    "elasticfilesystem:ClientWrite",
    "elasticfilesystem:ClientRootAccess",
    // News of the stack, and the key they and the log are encrypted with.
    "sns:Publish",
    "kms:Decrypt",
    "kms:GenerateDataKey",
    // The account administers that key, and does not use it.
    "kms:CancelKeyDeletion",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListKeyPolicies",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateKeyDescription",
];

/// Files that are deployed as they are, or rendered: the others are scripts and units of one machine.
const POLICY_FILES: &[&str] = &["yaml", "json", "tf", "hcl", "tpl"];

/// Keys of conditions that stand outside the generated statements.
const KEYS: &[&str] = &[
    "sts:ExternalId",
    "kms:ViaService",
    "ecr:ResourceTag",
    "elasticfilesystem:AccessPointArn",
    "elasticfilesystem:AccessedViaMountTarget",
];

#[test]
fn the_policies_are_what_the_list_of_actions_says() {
    let mut kept = names_in("deploy/permissions");
    for layer in Layer::ALL {
        let name = format!("{}.json", layer.as_str());
        let path = root().join("deploy/permissions").join(&name);
        let wanted = serde_json::to_string_pretty(&layer.document()).unwrap() + "\n";
        same(&path, &wanted);
        kept.retain(|other| *other != name);
    }
    assert!(kept.is_empty(), "nobody needs {kept:?}");
}

#[test]
fn the_templates_allow_what_the_list_of_actions_says() {
    let mut seen = Vec::new();
    let member = root().join("deploy/cloudformation/member-account.yaml");
    // The members' template first, because it stands in another one too.
    let mut paths = files("deploy/cloudformation");
    paths.sort_by_key(|path| *path != member);
    for path in paths {
        let (wanted, layers) = filled(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let wanted = embedded(&wanted, &fs::read_to_string(&member).unwrap()).unwrap();
        same(&path, &wanted);
        seen.extend(layers);
    }
    for layer in Layer::ALL {
        assert!(
            seen.contains(&layer),
            "no template has `{}`",
            layer.as_str()
        );
    }
}

#[test]
fn nothing_that_is_deployed_names_an_action_of_its_own() {
    let mut found = 0;
    for path in files("deploy") {
        let may_hold_policies = path
            .extension()
            .is_some_and(|kind| POLICY_FILES.iter().any(|known| kind == *known));
        if !may_hold_policies || path.starts_with(root().join("deploy/permissions")) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in bare(&text).lines().enumerate() {
            for word in actions_in(line) {
                found += 1;
                let known = INSTALLERS.contains(&word) || KEYS.contains(&word);
                assert!(known, "{}:{}: `{word}`", path.display(), number + 1);
            }
        }
    }
    assert!(
        found > 0,
        "no trust policy was found, so nothing was looked at"
    );
}

/// Returns the words of the form `service:Action`, with or without a wildcard.
fn actions_in(line: &str) -> impl Iterator<Item = &str> {
    let line = line.split(" #").next().unwrap_or_default();
    let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || "-:*/._".contains(c)));
    words.filter(|word| {
        word.split_once(':').is_some_and(|(service, name)| {
            service.starts_with(|c: char| c.is_ascii_lowercase())
                && service
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && service != "aws"
                && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '*')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'*')
        })
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test, not of the product"
)]
fn same(path: &Path, wanted: &str) {
    if std::env::var_os("APONO_REWRITE_PERMISSIONS").is_some() {
        fs::write(path, wanted).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == wanted, "{} is out of date: {FIX}", path.display());
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn names_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect()
}

/// Returns every file below a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
