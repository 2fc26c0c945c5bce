//! Owns reading the files that prove who the two sides of a connection are. Never shows what is in a key.

use super::error::Trouble;
use crate::pg::ClientCertificate;
use crate::secret::Secret;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// The setting that names the private CA.
pub(super) const SSL_ROOT_CA: &str = "ssl_root_ca";
/// The setting that names our own certificate.
pub(super) const SSL_CERT: &str = "ssl_cert";
/// The setting that names its key.
pub(super) const SSL_KEY: &str = "ssl_key";
/// Longest file read, in bytes: the roots of a whole system take a quarter of it.
const MAX_FILE: u64 = 1024 * 1024;

/// Where the files are. Read again for every connection, so that a renewal needs no restart.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsFiles {
    pub(super) root_ca: Option<PathBuf>,
    /// Given together with `key`, or not at all.
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

impl TlsFiles {
    /// Reads the private CA.
    pub(super) async fn root_ca(&self) -> Result<Option<Arc<str>>, Trouble> {
        let Some(path) = &self.root_ca else {
            return Ok(None);
        };
        let text = read(SSL_ROOT_CA, path, |_, _| Ok(())).await?;
        Ok(Some(text.into()))
    }

    /// Reads our own certificate and its key.
    pub(super) async fn client(&self) -> Result<Option<ClientCertificate>, Trouble> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        Ok(Some(ClientCertificate {
            chain_pem: read(SSL_CERT, cert, |_, _| Ok(())).await?.into(),
            key_pem: Secret::new(read(SSL_KEY, key, only_for_us).await?),
        }))
    }
}

async fn read(
    setting: &'static str,
    path: &Path,
    judge: impl Fn(&Path, &std::fs::Metadata) -> Result<(), Trouble>,
) -> Result<String, Trouble> {
    let unreadable = |source| Trouble::TlsFile {
        setting,
        path: path.display().to_string(),
        source,
    };
    // A FIFO would keep whoever opens it waiting.
    let found = tokio::fs::metadata(path).await.map_err(unreadable)?;
    if !found.is_file() {
        return Err(unreadable(io::Error::other("not a regular file")));
    }
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    // Of what was opened, not of what is at that place by now.
    judge(path, &file.metadata().await.map_err(unreadable)?)?;
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text).await;
    match read {
        Ok(length) if length as u64 > MAX_FILE => {
            Err(unreadable(io::Error::other("longer than a mebibyte")))
        }
        Ok(_) => Ok(text),
        Err(source) => Err(unreadable(source)),
    }
}

/// As libpq has it: nobody else may read or change a key, save that root's may be read by a group we are in.
fn only_for_us(path: &Path, found: &std::fs::Metadata) -> Result<(), Trouble> {
    let forbidden = if found.uid() == 0 { 0o037 } else { 0o077 };
    if found.mode() & forbidden == 0 {
        return Ok(());
    }
    Err(Trouble::OpenKey {
        path: path.display().to_string(),
        mode: found.mode() & 0o7777,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    async fn client(dir: &Path, mode: u32) -> Result<Option<ClientCertificate>, Trouble> {
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        fs::write(&cert, "a certificate").unwrap();
        fs::write(&key, "hunter2").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let files = TlsFiles {
            root_ca: None,
            cert: Some(cert),
            key: Some(key),
        };
        files.client().await
    }

    #[tokio::test]
    async fn a_key_that_others_may_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let root_owns = fs::metadata(dir.path()).unwrap().uid() == 0;
        for mode in [0o600, 0o400] {
            let read = client(dir.path(), mode).await.unwrap().unwrap();
            assert_eq!(read.key_pem.expose(), "hunter2");
        }
        for mode in [0o604, 0o644, 0o660, 0o610, 0o666] {
            let refused = client(dir.path(), mode).await.unwrap_err();
            assert!(
                matches!(refused, Trouble::OpenKey { mode: seen, .. } if seen == mode),
                "{refused:?}"
            );
            assert!(!format!("{refused:?} {refused}").contains("hunter2"));
        }
        assert_eq!(client(dir.path(), 0o640).await.is_ok(), root_owns);
    }

    #[tokio::test]
    async fn what_is_no_file_or_too_long_is_named_by_its_setting() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("long.pem");
        fs::write(&long, vec![b'-'; 1024 * 1024 + 1]).unwrap();
        for path in [dir.path().to_owned(), dir.path().join("absent"), long] {
            let files = TlsFiles {
                root_ca: Some(path.clone()),
                ..TlsFiles::default()
            };
            assert_eq!(
                files.root_ca().await.unwrap_err().to_string(),
                format!("`ssl_root_ca` `{}` cannot be read", path.display())
            );
        }
    }
}
