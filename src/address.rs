//! Owns the control plane's address. Never lets a plain http address through that leaves this machine.

use crate::domain::{InvalidValue, shown};
use std::fmt;
use url::{Host, Url};

/// Where the control plane is: `https`, or plain `http` on this machine only; no user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlaneUrl(Url);

impl ControlPlaneUrl {
    /// Parses a host (`api.example.com`, `api.example.com:8443`) or a URL; a bare host means `https`.
    ///
    /// # Errors
    /// Says what is wrong. The text is not shown when it holds a user or password.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let wrong = |problem: String| InvalidValue::new("the control plane's address", problem);
        if whole.contains('@') {
            return Err(wrong(
                "holds a user or password, must be a host or a URL without them".to_owned(),
            ));
        }
        let url = Url::parse(&whole).map_err(|_| {
            wrong(format!(
                "is `{}`, must be a host or a URL such as `https://api.example.com`",
                shown(text)
            ))
        })?;
        let Some(host) = url.host() else {
            return Err(wrong(format!("is `{}`, names no host", shown(text))));
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(format!(
                "is `{}`, must have no query and no fragment",
                shown(text)
            )));
        }
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_loopback(&host) => Ok(Self(url)),
            "http" => Err(wrong(format!(
                "is `{}`, plain http is for this machine only: must be `https://`",
                shown(text)
            ))),
            _ => Err(wrong(format!("is `{}`, must be `https://`", shown(text)))),
        }
    }

    /// Tells whether calls are encrypted; when not, they do not leave this machine.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Returns the address of a call; each name is one percent-encoded segment.
    #[must_use]
    pub fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

impl fmt::Display for ControlPlaneUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Tells whether what is sent there stays on this machine.
#[must_use]
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(ControlPlaneUrl::parse(text).unwrap().to_string(), expect);
    }

    #[track_caller]
    fn check_refused(text: &str, expect: &str) {
        let error = ControlPlaneUrl::parse(text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn a_bare_host_means_https() {
        check("api.example.com", "https://api.example.com");
        check("api.example.com:8443", "https://api.example.com:8443");
        check("https://api.example.com/", "https://api.example.com");
        check(
            "https://api.example.com/apono/",
            "https://api.example.com/apono",
        );
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        check("http://localhost:8090", "http://localhost:8090");
        check("http://127.0.0.1:8090", "http://127.0.0.1:8090");
        check("http://[::1]:8090", "http://[::1]:8090");
        check_refused("http://api.example.com", "must be `https://`");
        check_refused("http://10.0.0.1", "must be `https://`");
        check_refused("http://localhost.example.com", "must be `https://`");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        check_refused("", "must be a host");
        check_refused("a b", "must be a host");
        check_refused("ftp://api.example.com", "must be `https://`");
        check_refused("https://api.example.com?token=1", "no query");
        check_refused("https://api.example.com#x", "no fragment");
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_showing_it() {
        let error = ControlPlaneUrl::parse("https://me:hunter2@api.example.com")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn names_in_a_path_are_percent_encoded() {
        let base = ControlPlaneUrl::parse("https://api.example.com/base/").unwrap();
        assert_eq!(
            base.join(&["v1", "a/b ?#é"]).as_str(),
            "https://api.example.com/base/v1/a%2Fb%20%3F%23%C3%A9"
        );
    }
}
