//! One GET of a session server's HTTP interface.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{ACCEPT, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An answer: status and text.
pub(super) async fn get(endpoint: &str, path: &str, limit: Duration) -> Result<(u16, String), String> {
    match tokio::time::timeout(limit, exchange(endpoint, path)).await {
        Ok(answer) => answer.map_err(|why| format!("{endpoint}: {why}")),
        Err(_) => Err(format!("{endpoint}: no answer within {limit:?}")),
    }
}

async fn exchange(endpoint: &str, path: &str) -> Result<(u16, String), String> {
    let stream = TcpStream::connect(endpoint).await.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let request = hyper::Request::get(path)
        .header(HOST, endpoint)
        .header(ACCEPT, "*/*")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::select! {
        answer = answer => answer,
        // It ends by itself only when the answer cannot come any more.
        end = connection => Err(end.err().map_or_else(|| "closed without an answer".to_owned(), |e| e.to_string())),
    }
}

const MAX_BODY: usize = 1 << 20;
