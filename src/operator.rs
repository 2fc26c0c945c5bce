//! Owns the operator's door: a Unix socket in the state folder through which other commands speak to the running daemon. Never listens on a network.

use crate::executor::{Executor, GrantLine};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Longest request in bytes.
const LONGEST_REQUEST: u64 = 1024;
/// Longest answer in bytes; 50,000 grants fit.
const LONGEST_ANSWER: u64 = 32 << 20;
/// How long one conversation may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an operator may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// List the grants this instance knows.
    Grants,
    /// Refuse all starts until `Unfreeze`.
    Freeze,
    /// Allow starts again.
    Unfreeze,
    /// Freeze, and end every grant.
    RevokeAll,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The grants.
    Grants(Vec<Line>),
    /// Whether starts are frozen now.
    Frozen(bool),
    /// How many ends were begun.
    Ending(usize),
    /// The request could not be carried out.
    Failed(String),
}

/// One grant, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its id.
    pub grant: String,
    /// Who.
    pub principal: String,
    /// On what.
    pub resource: String,
    /// How much.
    pub permission: String,
    /// Where it is in its life.
    pub phase: String,
    /// When the access became usable.
    pub started_at: Option<jiff::Timestamp>,
    /// When it ends.
    pub expiry: jiff::Timestamp,
}

impl From<GrantLine> for Line {
    fn from(line: GrantLine) -> Self {
        Self {
            grant: line.grant.id.to_string(),
            principal: line.grant.principal.to_string(),
            resource: line.grant.resource.to_string(),
            permission: line.grant.permission.to_string(),
            phase: line.phase.to_owned(),
            started_at: line.started_at,
            expiry: line.grant.expiry,
        }
    }
}

/// Returns where the socket of a state folder is.
#[must_use]
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join("operator.sock")
}

/// Answers operators until the future is dropped. Only the owner of the state folder can connect.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve(state_dir: &Path, executor: Executor) -> io::Result<()> {
    let path = socket_path(state_dir);
    // The folder's lock is held, so whoever made this file is gone.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    rustix::fs::chmod(&path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    loop {
        let (stream, _peer) = listener.accept().await?;
        // One at a time: operators are few, and a slow one is cut off.
        match tokio::time::timeout(PATIENCE, answer(stream, &executor)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "an operator's request broke off"
            ),
            Err(_) => tracing::debug!("an operator's request took too long"),
        }
    }
}

async fn answer(stream: UnixStream, executor: &Executor) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader)
        .take(LONGEST_REQUEST)
        .read_line(&mut line)
        .await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => carry_out(request, executor).await,
        Err(_) => Answer::Failed(
            "the request cannot be understood; both programs must be of one version".to_owned(),
        ),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    writer.write_all(&text).await?;
    writer.shutdown().await
}

async fn carry_out(request: Request, executor: &Executor) -> Answer {
    let freeze = |frozen: bool| async move {
        match executor.freeze(frozen).await {
            Ok(()) => Answer::Frozen(frozen),
            Err(error) => {
                Answer::Failed(format!("{error}; the freeze holds until the process ends"))
            }
        }
    };
    match request {
        Request::Grants => Answer::Grants(executor.grants().into_iter().map(Line::from).collect()),
        Request::Freeze => freeze(true).await,
        Request::Unfreeze => freeze(false).await,
        Request::RevokeAll => Answer::Ending(executor.revoke_all().await.0),
    }
}

/// Asks the daemons of several state folders that can be reached from this machine, and puts their answers together; nothing when there is none.
///
/// # Errors
/// When one of them does not answer as expected; the others have done what was asked.
pub async fn ask_all(folders: &[PathBuf], request: Request) -> io::Result<Option<Answer>> {
    let (mut together, mut failed) = (None, None);
    for folder in folders {
        match ask(folder, request).await {
            Ok(None) => {}
            Ok(Some(answer)) => {
                together = Some(match together {
                    None => answer,
                    Some(before) => both(before, answer),
                });
            }
            Err(error) => failed = Some(error),
        }
    }
    // What one did must not hide that another did not.
    failed.map_or(Ok(together), Err)
}

/// Instances of one connector know much of the same: a grant is listed once, and the larger count is the better one.
fn both(first: Answer, second: Answer) -> Answer {
    match (first, second) {
        (Answer::Grants(mut lines), Answer::Grants(more)) => {
            for line in more {
                if !lines.iter().any(|known| known.grant == line.grant) {
                    lines.push(line);
                }
            }
            Answer::Grants(lines)
        }
        (Answer::Ending(one), Answer::Ending(other)) => Answer::Ending(one.max(other)),
        (failed @ Answer::Failed(_), _) | (_, failed @ Answer::Failed(_)) => failed,
        (first, _) => first,
    }
}

/// Asks the daemon of a state folder; nothing when none is running.
///
/// # Errors
/// When the daemon does not answer as expected.
async fn ask(state_dir: &Path, request: Request) -> io::Result<Option<Answer>> {
    let stream = match UnixStream::connect(socket_path(state_dir)).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let talk = async {
        let (reader, mut writer) = stream.into_split();
        let mut text = serde_json::to_vec(&request)?;
        text.push(b'\n');
        writer.write_all(&text).await?;
        let mut answer = String::new();
        BufReader::new(reader)
            .take(LONGEST_ANSWER)
            .read_line(&mut answer)
            .await?;
        Ok(serde_json::from_str(&answer)?)
    };
    match tokio::time::timeout(PATIENCE, talk).await {
        Ok(answer) => answer.map(Some),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the daemon does not answer",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a daemon that says this to whoever asks.
    #[expect(clippy::disallowed_methods, reason = "ends with its test's runtime")]
    fn daemon(folder: &Path, says: &'static str) {
        let listener = UnixListener::bind(socket_path(folder)).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (reader, mut writer) = stream.into_split();
                let mut asked = String::new();
                BufReader::new(reader).read_line(&mut asked).await.unwrap();
                writer.write_all(says.as_bytes()).await.unwrap();
            }
        });
    }

    #[tokio::test]
    async fn a_daemon_that_fails_is_not_hidden_by_another_that_answers() {
        let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let paths: Vec<PathBuf> = folders.iter().map(|one| one.path().to_owned()).collect();
        daemon(&paths[0], "{\"ending\":2}\n");
        daemon(&paths[1], "{\"ending\":3}\n");
        // Nobody listens in the third.
        let asked = ask_all(&paths, Request::RevokeAll).await.unwrap();
        assert_eq!(asked, Some(Answer::Ending(3)));
        daemon(&paths[2], "something else\n");
        assert!(ask_all(&paths, Request::RevokeAll).await.is_err());
    }
}
