//! Owns credentials in files, as container platforms mount them. Never caches.

use super::body::{MAX_BYTES, SHAPE, Spot};
use super::{Credential, SecretError, SecretProblem, SecretStore, Wanted};
use crate::domain::SecretPlace;
use async_trait::async_trait;
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use zeroize::Zeroizing;

/// Longest wait for a file; a dead network file system never answers.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// The mode bit that lets everybody read.
const OTHERS_READ: u32 = 0o004;

/// Reads `file:` references: a JSON object with `username`, `password` and, to bind it to one host, `host`.
/// Other keys are ignored.
#[derive(Debug, Default)]
pub struct FileStore {
    warned: Mutex<HashSet<String>>,
}

#[async_trait]
impl SecretStore for FileStore {
    async fn fetch(&self, wanted: &Wanted) -> Result<Credential, SecretError> {
        let SecretPlace::File { path } = wanted.reference.place() else {
            return Err(SecretError::new(
                format!("secret `{}`", wanted.reference.as_str()),
                SecretProblem::NotSetUp,
                "use a `file:` reference",
            ));
        };
        let body = tokio::time::timeout(READ_LIMIT, self.read(path))
            .await
            .map_err(|_| {
                SecretError::new(
                    place(path),
                    SecretProblem::TooSlow { limit: READ_LIMIT },
                    format!("check the file system that `{path}` is on"),
                )
            })??;
        let hint = form(path);
        let spot = Spot {
            place: &place(path),
            hint: &hint,
        };
        spot.parse(&body)
    }
}

fn place(path: &str) -> String {
    format!("secret file `{path}`")
}

fn form(path: &str) -> String {
    format!("write {SHAPE} to `{path}`")
}

impl FileStore {
    async fn read(&self, path: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let failed = |source: io::Error| {
            if source.kind() == io::ErrorKind::NotFound {
                let hint = format!("mount the secret at `{path}`, as a file with {SHAPE}");
                SecretError::new(place(path), SecretProblem::Missing, hint)
            } else {
                let hint = format!(
                    "let the connector's user read `{path}` and enter the folders above it"
                );
                SecretError::new(place(path), SecretProblem::Unreadable, hint).caused_by(source)
            }
        };
        // Looked at before opening: opening a pipe would wait for a writer.
        let metadata = tokio::fs::metadata(path).await.map_err(failed)?;
        if !metadata.is_file() {
            return Err(SecretError::new(
                format!("secret `{path}`"),
                SecretProblem::NotAFile,
                format!("put a file with {SHAPE} at `{path}`"),
            ));
        }
        self.warn_if_open_to_all(path, metadata.permissions().mode());
        let file = tokio::fs::File::open(path).await.map_err(failed)?;
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
        file.take(MAX_BYTES as u64 + 1)
            .read_to_end(&mut body)
            .await
            .map_err(failed)?;
        Ok(body)
    }

    fn warn_if_open_to_all(&self, path: &str, mode: u32) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if mode & OTHERS_READ != 0 && warned.insert(path.to_owned()) {
            tracing::warn!(
                path,
                "secret file can be read by every user of this machine"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ErrorClass, SecretRef};
    use std::path::Path;

    async fn fetch(path: &Path) -> Result<Credential, SecretError> {
        let reference = SecretRef::parse(&format!("file:{}", path.display())).unwrap();
        let wanted = Wanted {
            reference,
            region: None,
            roles: Vec::new(),
        };
        FileStore::default().fetch(&wanted).await
    }

    /// Fetches from a file with this content and returns the message without the path.
    async fn message(content: impl AsRef<[u8]>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.json");
        std::fs::write(&path, content).unwrap();
        let error = fetch(&path).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unauthorised);
        let chain = format!("{error} {error:?} {}", error.hint());
        assert!(!chain.contains("hunter2"), "{chain}");
        error
            .to_string()
            .replace(&path.display().to_string(), "PATH")
    }

    #[tokio::test]
    async fn a_credential_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.json");
        std::fs::write(&path, r#"{"username":"u","password":"one","host":"db"}"#).unwrap();
        let first = fetch(&path).await.unwrap();
        assert_eq!(
            (first.username.as_str(), first.password.expose()),
            ("u", "one")
        );
        assert_eq!(first.host.as_deref(), Some("db"));
        std::fs::write(
            &path,
            r#"{"username":"u","password":"two","engine":"postgres","port":5432}"#,
        )
        .unwrap();
        let second = fetch(&path).await.unwrap();
        assert_eq!(second.password.expose(), "two");
        assert_eq!(second.host, None);
    }

    #[tokio::test]
    async fn bad_content_is_named_and_never_shown() {
        for (content, wanted) in [
            (
                "",
                "secret file `PATH` is not a JSON object, trouble at line 1 column 0",
            ),
            (
                "hunter2",
                "secret file `PATH` is not a JSON object, trouble at line 1 column 1",
            ),
            (
                "\"hunter2\"",
                "secret file `PATH` is not a JSON object, trouble at line 1 column 9",
            ),
            (
                r#"{"password":"hunter2"}"#,
                "secret file `PATH`: `username` is missing",
            ),
            (
                r#"{"username":"hunter2"}"#,
                "secret file `PATH`: `password` is missing",
            ),
            (
                r#"{"username":"hunter2","password":["hunter2"]}"#,
                "secret file `PATH`: `password` is not a text",
            ),
            (
                r#"{"username":"","password":"hunter2"}"#,
                "secret file `PATH`: `username` is empty",
            ),
            (
                r#"{"username":"u","password":"hunter2\u0000"}"#,
                "secret file `PATH`: `password` holds a NUL",
            ),
            (
                r#"{"username":"u","password":"hunter2","host":7}"#,
                "secret file `PATH`: `host` is not a text",
            ),
        ] {
            assert_eq!(message(content).await, wanted, "{content}");
        }
        assert!(
            message([0xff, 0xfe])
                .await
                .starts_with("secret file `PATH` is not a JSON object")
        );
    }

    #[tokio::test]
    async fn a_file_beyond_the_limit_is_refused() {
        let body = format!(
            r#"{{"username":"u","password":"hunter2","x":"{}"}}"#,
            "x".repeat(MAX_BYTES)
        );
        assert_eq!(
            message(body).await,
            "secret file `PATH` is larger than 65536 bytes"
        );
    }

    #[tokio::test]
    async fn what_is_no_readable_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = fetch(&folder.path().join("absent")).await.unwrap_err();
        assert!(*error.problem() == SecretProblem::Missing, "{error:?}");
        let error = fetch(folder.path()).await.unwrap_err();
        assert!(*error.problem() == SecretProblem::NotAFile, "{error:?}");
        // A pipe nobody writes to.
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let error = fetch(&pipe).await.unwrap_err();
        assert!(*error.problem() == SecretProblem::NotAFile, "{error:?}");
        // A path through a file cannot be entered by anybody, root included.
        std::fs::write(folder.path().join("file"), "").unwrap();
        let error = fetch(&folder.path().join("file/secret")).await.unwrap_err();
        assert!(*error.problem() == SecretProblem::Unreadable, "{error:?}");
        assert!(error.hint().contains("let the connector's user read"));
    }
}
