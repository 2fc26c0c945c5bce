//! Owns bearer tokens: reading, making and comparing them. Never prints one.

use super::PlaneError;
use crate::secret::Secret;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Characters of a token made here: 32 out of 64, so 192 bits.
const TOKEN_CHARS: usize = 32;
/// Fewest characters of a token made by hand.
const MIN_TOKEN_CHARS: usize = 16;
/// Most bytes of a token file that are read.
const MAX_TOKEN_BYTES: u64 = 4096;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Reads a token file, or makes one, readable by its owner alone, when there is none.
pub(super) fn read_or_make(path: &Path) -> Result<Secret, PlaneError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(mut file) => {
            let token = generate()?;
            writeln!(file, "{}", token.expose())
                .and_then(|()| file.sync_all())
                .map_err(|source| file_error(path, source))?;
            Ok(token)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        Err(source) => Err(file_error(path, source)),
    }
}

/// Reads a token file.
pub(super) fn read(path: &Path) -> Result<Secret, PlaneError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TOKEN_BYTES).read_to_string(&mut text))
        .map_err(|source| file_error(path, source))?;
    let token = text.trim();
    if token.len() < MIN_TOKEN_CHARS {
        return Err(PlaneError::WeakToken {
            path: path.to_owned(),
            bytes: token.len(),
        });
    }
    Ok(Secret::new(token.to_owned()))
}

/// Tells whether a presented token is the right one, in a time that does not depend on where they differ.
pub(super) fn matches(presented: &str, token: &Secret) -> bool {
    let presented = Sha256::digest(presented.as_bytes());
    let wanted = Sha256::digest(token.expose().as_bytes());
    presented
        .iter()
        .zip(wanted.iter())
        .fold(0, |differ, (a, b)| differ | (a ^ b))
        == 0
}

fn generate() -> Result<Secret, PlaneError> {
    let mut bytes = [0_u8; TOKEN_CHARS];
    getrandom::fill(&mut bytes).map_err(|_| PlaneError::Random)?;
    let text = bytes
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte & 63)))
        .map(|byte| char::from(*byte))
        .collect();
    Ok(Secret::new(text))
}

fn file_error(path: &Path, source: std::io::Error) -> PlaneError {
    PlaneError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_missing_token_file_is_made_for_its_owner_alone_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let made = read_or_make(&path).unwrap();
        assert_eq!(made.expose().len(), TOKEN_CHARS);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(read_or_make(&path).unwrap().expose(), made.expose());
    }

    #[test]
    fn a_short_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "short\n").unwrap();
        assert!(matches!(
            read(&path),
            Err(PlaneError::WeakToken { bytes: 5, .. })
        ));
    }

    #[test]
    fn only_the_same_token_matches() {
        let token = Secret::new("0123456789abcdef".to_owned());
        assert!(matches("0123456789abcdef", &token));
        for wrong in ["", "0123456789abcdeg", "0123456789abcdef0"] {
            assert!(!matches(wrong, &token), "{wrong:?}");
        }
    }
}
