//! One check, with its socket.
//!
//! Sockets are closed in order (FIN), not reset: many servers log a reset connection as an error, and some refuse a peer
//! that resets too often. The price is a TIME_WAIT entry of one minute in this host's kernel for each check.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Outcome, Seen, Unit, http};
use crate::model::Probe;

pub(super) async fn probe(unit: &Unit) -> Seen {
    let mut connected = false;
    let (outcome, detail) = match tokio::time::timeout(unit.timeout, attempt(unit, &mut connected)).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => failure(&error),
        Err(_) => {
            let what = if connected { "connected, but no answer" } else { "no connection" };
            (Outcome::Timeout, format!("{what} within {:?}", unit.timeout))
        }
    };
    Seen { outcome, detail: Arc::from(detail) }
}

async fn attempt(unit: &Unit, connected: &mut bool) -> io::Result<(Outcome, String)> {
    let mut stream = TcpStream::connect(unit.addr).await?;
    if stream.local_addr()? == unit.addr {
        // Nobody listens on a port of this host's own, and the kernel chose that very port to connect from.
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    *connected = true;
    match &unit.probe {
        Probe::Tcp => Ok((Outcome::Good, "connected".to_owned())),
        Probe::Http { path, host, status } => {
            let request = http::request(unit.addr, path, host.as_deref());
            answer(&mut stream, &request, status).await
        }
    }
}

async fn answer(
    stream: &mut TcpStream,
    request: &[u8],
    good: &[(u16, u16)],
) -> io::Result<(Outcome, String)> {
    // A server that answers before it has read the request may have closed it for writing: its answer counts.
    let sent = stream.write_all(request).await;
    let mut bytes = Vec::with_capacity(http::MAX_HEAD);
    loop {
        let room = http::MAX_HEAD.saturating_sub(bytes.len());
        let got = (&mut *stream).take(u64::try_from(room).unwrap_or(0)).read_buf(&mut bytes).await?;
        if got == 0 {
            sent?;
            let what = if bytes.is_empty() { "an answer" } else { "the head of its answer was whole" };
            return Ok((Outcome::Closed, format!("closed the connection before {what}")));
        }
        let fresh = bytes.get(bytes.len().saturating_sub(got)..).unwrap_or_default();
        let worth = fresh.contains(&b'\n') || bytes.len() == got || bytes.len() >= http::MAX_HEAD;
        if worth && let Some(seen) = http::judged(http::head(&bytes, good), good) {
            // What lies unread when a socket is closed makes the kernel send a reset.
            let _ = stream.try_read(&mut [0; 4096]);
            return Ok(seen);
        }
    }
}

/// What an error says. Errors that this host makes by itself say nothing of the backend.
fn failure(error: &io::Error) -> (Outcome, String) {
    let local = [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EADDRNOTAVAIL,
        libc::EPERM,
        libc::EACCES,
    ];
    if error.raw_os_error().is_some_and(|code| local.contains(&code)) {
        return (Outcome::Local, format!("this host cannot check: {error}"));
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => (Outcome::Refused, "connection refused".to_owned()),
        io::ErrorKind::TimedOut => (Outcome::Timeout, "no connection: the kernel gave up".to_owned()),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected => (Outcome::Closed, "connection reset".to_owned()),
        _ => (Outcome::Unreachable, error.to_string()),
    }
}
