//! Owns the bearer token: where it comes from and when it is read again. Never shows it.

use crate::control::ControlError;
use crate::secret::Secret;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tokio::io::AsyncReadExt;

/// Largest token: 8 KiB, the header limit of common servers.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// Where the token comes from.
#[derive(Debug)]
pub enum TokenSource {
    /// Given once; a new one needs a restart.
    Value(Secret),
    /// In a file, which is read again when it changes and after the control plane refused the token.
    File(PathBuf),
}

/// The token in use.
#[derive(Debug)]
pub(super) struct TokenKeeper {
    source: TokenSource,
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    token: Secret,
    /// Nothing after a refusal, so that the file is read again whatever it looks like.
    stamp: Option<Stamp>,
}

/// What tells one content of a file from another without reading it: inode, size, time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

impl TokenKeeper {
    pub(super) fn new(source: TokenSource) -> Self {
        Self {
            source,
            known: Mutex::new(None),
        }
    }

    /// Returns the token to use now. A file that cannot be read for a moment does not take a token away that works.
    pub(super) async fn current(&self) -> Result<Secret, ControlError> {
        let path = match &self.source {
            TokenSource::Value(token) => return Ok(token.clone()),
            TokenSource::File(path) => path,
        };
        let known = self.lock().clone();
        match read_if_changed(path, known.as_ref().and_then(|known| known.stamp)).await {
            Ok(Some(fresh)) => {
                let token = fresh.token.clone();
                *self.lock() = Some(fresh);
                Ok(token)
            }
            Ok(None) => known.map(|known| known.token).ok_or_else(|| {
                unusable(path, Error::new(ErrorKind::InvalidData, "was never read"))
            }),
            Err(source) => match known {
                Some(known) => {
                    tracing::warn!(
                        path = %path.display(),
                        error = %source,
                        "the token file cannot be read, the last token stays in use"
                    );
                    Ok(known.token)
                }
                None => Err(unusable(path, source)),
            },
        }
    }

    /// Notes that the token was refused: the file is read again before the next call.
    pub(super) fn refused(&self) {
        if let Some(known) = self.lock().as_mut() {
            known.stamp = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unusable(path: &Path, source: Error) -> ControlError {
    ControlError::NoToken {
        path: path.to_owned(),
        source,
    }
}

/// Reads the file unless its stamp is the one given. The stamp is taken before the content: a change in between is
/// seen the next time.
async fn read_if_changed(path: &Path, last: Option<Stamp>) -> std::io::Result<Option<Known>> {
    let file = tokio::fs::File::open(path).await?;
    let meta = file.metadata().await?;
    let stamp = Stamp(meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
    if last == Some(stamp) {
        return Ok(None);
    }
    let mut text = String::new();
    let limit = MAX_TOKEN_BYTES as u64 + 1;
    file.take(limit).read_to_string(&mut text).await?;
    // Wiped when dropped, the copy with its line end too.
    let text = Secret::new(text);
    let token = text.expose().trim();
    let usable = !token.is_empty()
        && token.len() <= MAX_TOKEN_BYTES
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !usable {
        return Err(Error::new(
            ErrorKind::InvalidData,
            format!("must hold one line of 1 to {MAX_TOKEN_BYTES} visible ASCII characters"),
        ));
    }
    Ok(Some(Known {
        token: Secret::new(token.to_owned()),
        stamp: Some(stamp),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(path: &Path) -> TokenKeeper {
        TokenKeeper::new(TokenSource::File(path.to_owned()))
    }

    async fn current(keeper: &TokenKeeper) -> String {
        keeper.current().await.unwrap().expose().to_owned()
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let keeper = keeper(&path);
        assert_eq!(current(&keeper).await, "one");
        std::fs::write(&path, "second\n").unwrap();
        assert_eq!(current(&keeper).await, "second");
    }

    #[tokio::test]
    async fn a_file_that_looks_unchanged_is_read_again_after_a_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let keeper = keeper(&path);
        assert_eq!(current(&keeper).await, "one");
        std::fs::write(&path, "two").unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        assert_eq!(current(&keeper).await, "one");
        keeper.refused();
        assert_eq!(current(&keeper).await, "two");
    }

    #[tokio::test]
    async fn a_file_that_is_empty_or_gone_for_a_moment_does_not_take_the_token_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let keeper = keeper(&path);
        assert_eq!(current(&keeper).await, "one");
        std::fs::write(&path, "").unwrap();
        assert_eq!(current(&keeper).await, "one");
        std::fs::remove_file(&path).unwrap();
        keeper.refused();
        assert_eq!(current(&keeper).await, "one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(current(&keeper).await, "two");
    }

    #[tokio::test]
    async fn a_file_without_a_usable_token_is_named_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for content in ["", " \n", "hunter2 hunter3", "hunt\u{e9}r2", "a\nb"] {
            std::fs::write(&path, content).unwrap();
            let error = keeper(&path).current().await.unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("token"), "{text}");
            assert!(!text.contains("hunt"), "{text}");
            assert_eq!(error.class(), crate::domain::ErrorClass::Unauthorised);
        }
    }
}
