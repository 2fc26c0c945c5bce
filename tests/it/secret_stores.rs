//! Credentials come from where a reference says, and from nowhere else; what is wrong there is said by name and never shown.

mod aws;
mod kubernetes;
mod rotation;
mod vault;

use apono_connector::domain::SecretRef;
use apono_connector::secrets::{Credential, SecretError, SecretStore, Wanted};

/// What no message may hold.
const CANARY: &str = "hunter2";

fn wanted(reference: &str) -> Wanted {
    Wanted {
        reference: SecretRef::parse(reference).unwrap(),
        region: None,
        roles: Vec::new(),
    }
}

async fn fetch(store: &impl SecretStore, reference: &str) -> Result<Credential, SecretError> {
    store.fetch(&wanted(reference)).await
}

/// The message of a fetch that must fail, its class and its fix; the place of the secret is cut.
#[track_caller]
fn told(outcome: Result<Credential, SecretError>, reference: &str) -> String {
    let error = outcome.unwrap_err();
    let all = format!("{error} | {} | {}", error.class(), error.hint());
    let chain = format!("{all} {error:?}");
    assert!(!chain.contains(CANARY), "{chain}");
    all.replace(&format!("secret `{reference}`"), "S")
}
