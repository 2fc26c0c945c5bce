//! Owns a directory server that knows one question: whether a password is a token of AWS IAM for this user and this server. It
//! stands behind `pg_hba`'s method `ldap` for what RDS does itself, and shares no code with what makes the tokens.

use apono_connector::clock::{Clock, SystemClock};
use jiff::Timestamp;
use jiff::civil::DateTime;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest wait for the other side's next byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who may sign, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) region: String,
    /// Names of the server, with their port: `name:port`.
    pub(crate) places: Vec<String>,
    /// How far the clock of the server is ahead.
    pub(crate) ahead: Duration,
}

pub(crate) struct Directory {
    pub(crate) port: u16,
    expected: Arc<Mutex<Expected>>,
    verdicts: Arc<Mutex<Vec<(String, String)>>>,
}

impl Directory {
    pub(crate) fn start(expected: Expected) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let directory = Self {
            port: listener.local_addr().unwrap().port(),
            expected: Arc::new(Mutex::new(expected)),
            verdicts: Arc::default(),
        };
        let (expected, verdicts) = (
            Arc::clone(&directory.expected),
            Arc::clone(&directory.verdicts),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (expected, verdicts) = (Arc::clone(&expected), Arc::clone(&verdicts));
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    while let Some((id, user, password)) = read_bind(&mut stream) {
                        let rules = expected.lock().unwrap().clone();
                        let verdict = judge(&rules, &user, &password, SystemClock.now());
                        let good = verdict.is_ok();
                        let words = verdict.unwrap_or_else(str::to_owned);
                        verdicts.lock().unwrap().push((user, words));
                        let _gone = stream.write_all(&answer(&id, good));
                    }
                });
            }
        });
        directory
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Expected)) {
        change(&mut self.expected.lock().unwrap());
    }

    /// The last verdict about a user: the place the token was for, or what is wrong with it.
    pub(crate) fn last(&self, user: &str) -> String {
        let verdicts = self.verdicts.lock().unwrap();
        let found = verdicts.iter().rev().find(|(who, _)| who == user);
        found
            .map_or("never asked", |(_, verdict)| verdict)
            .to_owned()
    }
}

/// Judges a token as RDS does. The order tells which lie was told.
fn judge(
    expected: &Expected,
    user: &str,
    token: &str,
    now: Timestamp,
) -> Result<String, &'static str> {
    let (place, query) = token.split_once("/?").ok_or("no token")?;
    let mut fields = BTreeMap::new();
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').ok_or("no token")?;
        fields.insert(decoded(key), decoded(value));
    }
    let field = |key: &str| fields.get(key).map(String::as_str).unwrap_or_default();
    let signature = field("X-Amz-Signature").to_owned();
    let credential: Vec<&str> = field("X-Amz-Credential").split('/').collect();
    let [key, day, region, "rds-db", "aws4_request"] = credential.as_slice() else {
        return Err("no token");
    };
    if *key != expected.access_key {
        return Err("unknown key");
    }
    let date = field("X-Amz-Date");
    let canonical: Vec<String> = fields
        .iter()
        .filter(|(key, _)| *key != "X-Amz-Signature")
        .map(|(key, value)| format!("{}={}", encoded(key), encoded(value)))
        .collect();
    let request = format!(
        "GET\n/\n{}\nhost:{place}\n\nhost\n{}",
        canonical.join("&"),
        hex(&Sha256::digest(b""))
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{day}/{region}/rds-db/aws4_request\n{}",
        hex(&Sha256::digest(request.as_bytes()))
    );
    let mut secret = hmac(
        format!("AWS4{}", expected.secret_key).as_bytes(),
        day.as_bytes(),
    );
    for part in [region, "rds-db", "aws4_request"] {
        secret = hmac(&secret, part.as_bytes());
    }
    if hex(&hmac(&secret, to_sign.as_bytes())) != signature {
        return Err("wrong signature");
    }
    if field("Action") != "connect" || field("X-Amz-Expires") != "900" {
        return Err("no token");
    }
    if *region != expected.region {
        return Err("wrong region");
    }
    if !expected.places.iter().any(|one| one == place) {
        return Err("wrong place");
    }
    if field("DBUser") != user {
        return Err("wrong user");
    }
    let signed = DateTime::strptime("%Y%m%dT%H%M%SZ", date).map_err(|_| "no token")?;
    let signed = signed
        .to_zoned(jiff::tz::TimeZone::UTC)
        .unwrap()
        .timestamp();
    let age = (now + expected.ahead).as_second() - signed.as_second();
    // A few seconds of grace into the future, as between any two clocks.
    if !(-5..=900).contains(&age) {
        return Err("too old");
    }
    Ok(place.to_owned())
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 64];
    let key = if key.len() > 64 {
        Sha256::digest(key).to_vec()
    } else {
        key.to_vec()
    };
    block[..key.len()].copy_from_slice(&key);
    let pad = |with: u8| block.map(|byte| byte ^ with).to_vec();
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' && tail.len() >= 2 {
            let code = std::str::from_utf8(&tail[..2]).unwrap();
            bytes.push(u8::from_str_radix(code, 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Reads messages until one is a simple bind; returns its number as sent, the user and the password. Nothing at the end.
fn read_bind(stream: &mut TcpStream) -> Option<(Vec<u8>, String, String)> {
    let message = read_element(stream)?;
    let (id, rest) = element(&message)?;
    let id = [vec![0x02, u8::try_from(id.1.len()).ok()?], id.1.to_vec()].concat();
    let ((tag, bind), _) = element(rest)?;
    if tag != 0x60 {
        return None;
    }
    let (_version, rest) = element(bind)?;
    let ((_, name), rest) = element(rest)?;
    let ((_, password), _) = element(rest)?;
    let name = String::from_utf8(name.to_vec()).ok()?;
    let user = name.strip_prefix("uid=")?.to_owned();
    Some((id, user, String::from_utf8(password.to_vec()).ok()?))
}

/// Reads one element from the wire and returns what is in it.
fn read_element(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0u8; 2];
    stream.read_exact(&mut head).ok()?;
    let mut length = usize::from(head[1]);
    if length & 0x80 != 0 {
        let mut bytes = vec![0u8; length & 0x7f];
        stream.read_exact(&mut bytes).ok()?;
        length = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    }
    let mut body = vec![0u8; length];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

/// A tag, and what is in it.
type Element<'a> = (u8, &'a [u8]);

/// Takes one element off the front: its tag, what is in it, and what follows.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if first & 0x80 == 0 {
        (usize::from(*first), rest)
    } else {
        let (size, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (
            size.iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            rest,
        )
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some(((*tag, body), rest))
}

/// The answer to a bind: 0 for yes, 49 for wrong credentials.
fn answer(id: &[u8], good: bool) -> Vec<u8> {
    let code = if good { 0 } else { 49 };
    let bind = [0x61, 7, 0x0a, 1, code, 0x04, 0, 0x04, 0];
    let length = u8::try_from(id.len() + bind.len()).unwrap();
    [vec![0x30, length], id.to_vec(), bind.to_vec()].concat()
}
