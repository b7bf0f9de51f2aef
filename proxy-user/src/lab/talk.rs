//! A client's HTTP/1.1 connection that stays open and sees whole answers.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use super::LabError;
use super::connect::connect;

/// A connection.
#[derive(Debug)]
pub struct Talk {
    stream: TcpStream,
    peer: SocketAddr,
}

/// An answer with a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Head, without the empty line.
    pub head: String,
    /// Body.
    pub body: String,
}

impl Talk {
    /// Connects from the calling thread's namespace. `timeout` is for connecting and for every read and write.
    ///
    /// # Errors
    /// [`LabError::System`].
    pub fn connect(to: SocketAddr, from: Option<IpAddr>, timeout: Duration) -> Result<Self, LabError> {
        Ok(Self { stream: connect(to, from, timeout)?, peer: to })
    }

    /// Sends a GET and waits for its answer. `lines` are further lines of the head, each with its end.
    ///
    /// # Errors
    /// [`LabError::System`], also when the connection ends before the answer does.
    pub fn get(&mut self, path: &str, host: &str, lines: &str) -> Result<Answer, LabError> {
        let what = format!("GET http://{}{path}", self.peer);
        self.exchange(path, host, lines).map_err(LabError::at(what))
    }

    fn exchange(&mut self, path: &str, host: &str, lines: &str) -> io::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
        self.stream.write_all(request.as_bytes())?;
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(answer) = whole(&String::from_utf8_lossy(&seen)) {
                return Ok(answer);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ if seen.len() > MAX_ANSWER => return Err(io::Error::other("an answer too long")),
                length => seen.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            }
        }
    }
}

/// The answer, once it is complete.
fn whole(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Some(0), |digits| digits.trim().parse().ok())?;
    let status = head.get(9..12)?.parse().ok()?;
    (body.len() >= length).then(|| Answer { status, head: head.to_owned(), body: body.to_owned() })
}

const MAX_ANSWER: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Namespace;
    use crate::lab::http::HttpServer;

    #[test]
    fn answers_are_seen_whole() {
        let here = Namespace::current().unwrap();
        let server = HttpServer::start(&here, "127.0.0.1:0".parse().unwrap(), "green", true).unwrap();
        let mut talk = Talk::connect(server.addr(), None, Duration::from_secs(3)).unwrap();
        for _ in 0..3 {
            let answer = talk.get("/", "x", "X-A: 1\r\n").unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, "green"));
        }
        assert_eq!((server.requests(), server.connections()), (3, 1));
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), None);
    }
}
