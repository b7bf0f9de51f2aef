//! One exchange with the daemon: connect, ask, read the answer, close.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, ETAG, HOST, IF_MATCH};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{ChangeOptions, Client, ClientError, Tagged};
use crate::control::types::{Code, Problem};

pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) target: &'a str,
    pub(super) accept: &'static str,
    pub(super) body: Option<(&'static str, Bytes)>,
    pub(super) if_match: Option<u64>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, target: &'a str) -> Self {
        Self { method, target, accept: "application/json", body: None, if_match: None }
    }
}

pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn checked(self) -> Result<Self, ClientError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let problem = serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            Problem::new(Code::Unknown, format!("the daemon answered with HTTP status {}", self.status))
        });
        Err(ClientError::Refused(Box::new(problem)))
    }
}

impl Client {
    pub(super) async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<Tagged<T>, ClientError> {
        let answer = self.call(Call::new(Method::GET, target)).await?.checked()?;
        let generation = answer
            .headers
            .get(ETAG)
            .and_then(|tag| tag.to_str().ok())
            .and_then(|tag| tag.trim_matches('"').parse().ok());
        Ok(Tagged { value: self.decode(&answer.body)?, generation })
    }

    pub(super) async fn text(&self, target: &str, accept: &'static str) -> Result<String, ClientError> {
        let mut call = Call::new(Method::GET, target);
        call.accept = accept;
        let answer = self.call(call).await?.checked()?;
        String::from_utf8(answer.body.to_vec()).map_err(|error| self.protocol(error))
    }

    pub(super) async fn change<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: &B,
        options: ChangeOptions,
        query: &[String],
    ) -> Result<T, ClientError> {
        let query = [query, &dry_run(options)].concat();
        let target = with_query(target, &query);
        let mut call = Call::new(method, &target);
        let body = serde_json::to_vec(body).map_err(|error| self.protocol(error))?;
        call.body = Some(("application/json", body.into()));
        call.if_match = options.if_match;
        let answer = self.call(call).await?;
        self.decode(&answer.checked()?.body)
    }

    pub(super) async fn bare<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        options: ChangeOptions,
    ) -> Result<T, ClientError> {
        let target = with_query(target, &dry_run(options));
        let mut call = Call::new(method, &target);
        call.if_match = options.if_match;
        let answer = self.call(call).await?;
        self.decode(&answer.checked()?.body)
    }

    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, ClientError> {
        match tokio::time::timeout(self.timeout, self.exchange(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.protocol(format_args!("no answer within {} s", self.timeout.as_secs()))),
        }
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Answer, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|source| {
            let path = self.path.clone();
            match source.kind() {
                std::io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path, source },
                _ => ClientError::Unreachable { path, source },
            }
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.protocol(error))?;
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.target)
            .header(HOST, "weir")
            .header(ACCEPT, call.accept);
        if let Some(generation) = call.if_match {
            request = request.header(IF_MATCH, format!("\"{generation}\""));
        }
        let body = match call.body {
            Some((kind, body)) => {
                request = request.header(CONTENT_TYPE, kind);
                body
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body)).map_err(|error| self.protocol(error))?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| self.protocol(error))?;
            let (head, body) = answer.into_parts();
            let body =
                Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| self.protocol(error))?;
            drop(sender);
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        // The connection is driven here, not in a task: nothing outlives the call.
        let (_, answer) = futures_util::future::join(connection, exchange).await;
        answer
    }

    pub(super) fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.protocol(error))
    }

    fn protocol(&self, detail: impl std::fmt::Display) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), detail: detail.to_string() }
    }
}

pub(super) fn dry_run(options: ChangeOptions) -> Vec<String> {
    if options.dry_run { vec!["dry_run=true".into()] } else { Vec::new() }
}

pub(super) fn with_query(path: &str, query: &[String]) -> String {
    if query.is_empty() { path.into() } else { format!("{path}?{}", query.join("&")) }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Largest answer that is read, bytes.
const MAX_ANSWER: usize = 256 << 20;
