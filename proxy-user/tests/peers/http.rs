//! HTTP requests to the peers' own interfaces, from inside their namespace.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use proxy_user::lab::{Namespace, run_in};

/// An answer: status and body.
pub(crate) type Answer = (u16, String);

/// A GET.
pub(crate) fn get(space: &Namespace, to: SocketAddr, path: &str) -> io::Result<Answer> {
    exchange(space, to, "GET", path, ("text/plain", ""))
}

/// A POST of JSON.
pub(crate) fn post_json(space: &Namespace, to: SocketAddr, path: &str, body: &str) -> io::Result<Answer> {
    exchange(space, to, "POST", path, ("application/json", body))
}

/// A POST of a form.
pub(crate) fn post_form(space: &Namespace, to: SocketAddr, path: &str, body: &str) -> io::Result<Answer> {
    exchange(space, to, "POST", path, ("application/x-www-form-urlencoded", body))
}

fn exchange(
    space: &Namespace,
    to: SocketAddr,
    method: &str,
    path: &str,
    (kind, body): (&str, &str),
) -> io::Result<Answer> {
    // HTTP/1.0: no chunks, and the server closes.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {to}\r\nAccept: */*\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = run_in(space, || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    })
    .map_err(io::Error::other)??;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("not HTTP: {head:?}")))?;
    Ok((status, body.to_owned()))
}

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 64 * 1024 * 1024;
