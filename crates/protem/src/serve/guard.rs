//! Who is answered.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Refuses what a page of elsewhere might ask for by a name of its own that it lets lead to this machine
/// (DNS rebinding): on the machine itself, the server is called by names that no one else can have.
#[derive(Debug, Clone)]
pub struct Guard {
    /// What the server may be called besides; none where it can be reached from elsewhere, by whatever
    /// name.
    host: Option<String>,
}

impl Guard {
    /// Of a server that was told to listen at `host`, and does at `bound`.
    pub fn of(host: &str, bound: IpAddr) -> Self {
        Self {
            host: bound.is_loopback().then(|| host.to_owned()),
        }
    }

    fn lets(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let Some(own) = &self.host else {
            return true;
        };
        let mut named = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return false;
        };
        let host = host.to_str().unwrap_or_default();
        let asked = uri.authority().map(|authority| authority.as_str());
        [Some(host), asked]
            .into_iter()
            .flatten()
            .all(|host| is_own(host, own))
    }
}

/// Whether a host with a port, or none, is this machine. Whichever the port is: that of an ssh that forwards
/// may be another.
fn is_own(host: &str, own: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    let address: Option<IpAddr> = bare.unwrap_or(name).parse().ok();
    let names = ["localhost", own];
    let known = names.iter().any(|known| known.eq_ignore_ascii_case(name));
    known || address.is_some_and(|address| address.is_loopback())
}

/// Answers those who may ask.
pub async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if guard.lets(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let why = "This server answers to localhost and 127.0.0.1. To reach it by another name, begin it with protem serve --host and an address of the machine.\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_known_whatever_the_port() {
        for host in [
            "127.0.0.1:8765",
            "127.0.0.1",
            "localhost:9000",
            "LOCALHOST",
            "[::1]:8765",
            "[::1]",
            "127.3.2.1:1",
            "mine.test:8765",
        ] {
            assert!(is_own(host, "mine.test"), "{host}");
        }
        for host in [
            "",
            ":8765",
            "evil.test",
            "evil.test:8765",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "127.0.0.1:80:evil",
            "10.0.0.1:8765",
            "localhost:evil",
            "user@localhost",
        ] {
            assert!(!is_own(host, "127.0.0.1"), "{host}");
        }
    }

    #[test]
    fn two_names_or_none_are_refused_where_names_count() {
        let asked = |hosts: &[&str], uri: &str, bound: [u8; 4]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            let guard = Guard::of("0.0.0.0", bound.into());
            guard.lets(&uri.parse().unwrap(), &headers)
        };
        let here = [127, 0, 0, 1];
        assert!(asked(&["localhost"], "/", here));
        assert!(!asked(&[], "/", here));
        assert!(!asked(&["localhost", "localhost"], "/", here));
        assert!(!asked(&["localhost"], "http://evil.test/", here));
        assert!(asked(&["evil.test"], "/", [0, 0, 0, 0]));
    }
}
