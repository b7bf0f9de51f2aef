//! One member of the cluster: the connection to it, with TLS and a token where they are configured, and what its errors mean.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use super::generated::AuthenticateRequest;
use super::generated::auth_client::AuthClient;
use super::generated::kv_client::KvClient;
use super::generated::lease_client::LeaseClient;
use super::generated::watch_client::WatchClient;
use super::settings::{Password, Settings};
use crate::registry::source::SessionError;

/// A channel that sends what each call needs beside the message.
pub(super) type Calls = InterceptedService<Channel, Meta>;

/// A member that is connected.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Its URL, for people.
    pub(super) peer: String,
    channel: Channel,
    meta: Meta,
    /// When the token was given.
    since: Instant,
    timeout: Duration,
}

/// What went wrong with a call.
#[derive(Debug)]
pub(super) enum Failure {
    /// This call cannot be answered; others can.
    Query(String),
    /// The answer is longer than weir reads.
    TooLong(String),
    /// The session is of no use any more.
    Session(SessionError),
}

/// What each call needs: the token, and that a member without a leader says so.
#[derive(Clone, Default)]
pub(super) struct Meta(Option<MetadataValue<Ascii>>);

impl std::fmt::Debug for Meta {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_some() { "Meta(token)" } else { "Meta" })
    }
}

impl Interceptor for Meta {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

impl Server {
    /// Connects to the first member that answers, from number `turn` on; its number too.
    pub(super) async fn connect(settings: &Settings, turn: usize) -> Result<(usize, Self), SessionError> {
        let mut failures = Vec::new();
        let count = settings.endpoints.len();
        for number in (turn..turn.saturating_add(count)).map(|number| number % count) {
            let Some(url) = settings.endpoints.get(number) else { continue };
            match Self::connect_to(settings, url).await {
                Ok(server) => return Ok((number, server)),
                Err(why) => failures.push(format!("{url}: {why}")),
            }
        }
        Err(SessionError::Unreachable(failures.join("; ")))
    }

    async fn connect_to(settings: &Settings, url: &str) -> Result<Self, String> {
        let mut endpoint = Endpoint::from_shared(url.to_owned())
            .map_err(|error| chain(&error))?
            .connect_timeout(settings.timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(settings.keepalive)
            .keep_alive_timeout(settings.timeout)
            .keep_alive_while_idle(true);
        if url.starts_with("https:") {
            endpoint = endpoint.tls_config(tls(settings).await?).map_err(|error| chain(&error))?;
        }
        let channel = match timeout(settings.timeout, endpoint.connect()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(chain(&error)),
            Err(_) => return Err(format!("no connection within {:?}", settings.timeout)),
        };
        let peer = url.to_owned();
        Ok(Self { peer, channel, meta: Meta::default(), since: Instant::now(), timeout: settings.timeout })
    }

    /// Gets a token, if a user is configured and the last one is not a new one.
    pub(super) async fn authenticate(&mut self, settings: &Settings) -> Result<(), SessionError> {
        let Some((name, password)) = &settings.user else { return Ok(()) };
        if self.meta.0.is_some() && self.since.elapsed() <= FRESH {
            return Ok(());
        }
        let password = secret(password).await.map_err(SessionError::Unreachable)?;
        let request = AuthenticateRequest { name: name.clone(), password };
        let mut auth = AuthClient::new(self.channel.clone());
        let answer = self.ask(auth.authenticate(request)).await.map_err(|failure| match failure {
            Failure::Session(error) => error,
            Failure::Query(why) | Failure::TooLong(why) => self
                .refused(format!("{why}; if its authentication is off and that is meant, leave out `user`")),
        })?;
        let mut token = MetadataValue::try_from(answer.token).map_err(|_| SessionError::Protocol {
            peer: self.peer.clone(),
            why: "its token is no text".to_owned(),
        })?;
        token.set_sensitive(true);
        (self.meta, self.since) = (Meta(Some(token)), Instant::now());
        Ok(())
    }

    /// Awaits a call's answer, as long as answers may take.
    pub(super) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        match timeout(self.timeout, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.failure(&status)),
            Err(_) => Err(Failure::Session(self.lost(format!("no answer within {:?}", self.timeout)))),
        }
    }

    /// What an error of the server or of the way to it means.
    pub(super) fn failure(&self, status: &Status) -> Failure {
        let why = said(status);
        match status.code() {
            Code::OutOfRange if why.contains("message length too large") => Failure::TooLong(why),
            Code::PermissionDenied
            | Code::OutOfRange
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::NotFound => Failure::Query(why),
            Code::InvalidArgument if why.contains("too large") => Failure::Query(why),
            // An unknown user, a wrong password, a token that has ended.
            Code::Unauthenticated | Code::InvalidArgument => Failure::Session(self.refused(why)),
            Code::Unimplemented => Failure::Session(SessionError::Protocol { peer: self.peer.clone(), why }),
            _ => Failure::Session(self.lost(why)),
        }
    }

    /// The session is lost.
    pub(super) fn lost(&self, why: String) -> SessionError {
        SessionError::Lost { peer: self.peer.clone(), why }
    }

    /// Keys and values.
    pub(super) fn kv(&self) -> KvClient<Calls> {
        KvClient::with_interceptor(self.channel.clone(), self.meta.clone())
            .max_decoding_message_size(MAX_MESSAGE)
    }

    /// Watches.
    pub(super) fn watch(&self) -> WatchClient<Calls> {
        WatchClient::with_interceptor(self.channel.clone(), self.meta.clone())
            .max_decoding_message_size(MAX_MESSAGE)
    }

    /// Leases.
    pub(super) fn lease(&self) -> LeaseClient<Calls> {
        LeaseClient::with_interceptor(self.channel.clone(), self.meta.clone())
    }

    fn refused(&self, why: String) -> SessionError {
        SessionError::Refused { peer: self.peer.clone(), why }
    }
}

impl Failure {
    /// As the error of the whole session.
    pub(super) fn of_session(self, server: &Server) -> SessionError {
        match self {
            Self::Session(error) => error,
            Self::Query(why) | Self::TooLong(why) => server.lost(why),
        }
    }
}

async fn tls(settings: &Settings) -> Result<ClientTlsConfig, String> {
    let roots = match &settings.ca_file {
        Some(file) => read(file, "ca_file").await?,
        None => system_roots().await?,
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots));
    if let Some((cert, key)) = &settings.identity {
        tls = tls.identity(Identity::from_pem(read(cert, "cert_file").await?, read(key, "key_file").await?));
    }
    if let Some(name) = &settings.server_name {
        tls = tls.domain_name(name.clone());
    }
    Ok(tls)
}

async fn system_roots() -> Result<Vec<u8>, String> {
    for path in SYSTEM_ROOTS {
        if let Ok(roots) = tokio::fs::read(path).await {
            return Ok(roots);
        }
    }
    Err(format!("no system certificates at {}: name the cluster's with ca_file", SYSTEM_ROOTS.join(", ")))
}

async fn secret(password: &Password) -> Result<String, String> {
    match password {
        Password::File(path) => {
            let text = String::from_utf8(read(path, "password_file").await?)
                .map_err(|_| format!("password_file {}: not UTF-8", path.display()))?;
            let line =
                text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
            Ok(line.to_owned())
        }
        Password::Environment(name) => std::env::var(name)
            .map_err(|_| format!("the environment has no text {name}, which password_env names")),
    }
}

async fn read(path: &Path, key: &str) -> Result<Vec<u8>, String> {
    let length = tokio::fs::metadata(path).await.map(|metadata| metadata.len());
    match length {
        Ok(length) if length > MAX_FILE => {
            Err(format!("{key} {}: {length} bytes, more than {MAX_FILE}", path.display()))
        }
        Ok(_) => tokio::fs::read(path).await.map_err(|error| format!("{key} {}: {error}", path.display())),
        Err(error) => Err(format!("{key} {}: {error}", path.display())),
    }
}

/// What a status says, and what lies behind it.
fn said(status: &Status) -> String {
    let behind = status.source().map(|error| format!(" ({})", chain(error))).unwrap_or_default();
    format!("{}{behind}", status.message())
}

/// An error and what caused it, as one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Longest answer or notification, bytes.
const MAX_MESSAGE: usize = 16 << 20;
/// Longest certificate, key or password file, bytes.
const MAX_FILE: u64 = 4 << 20;
/// For so long a token is surely good; etcd's simple ones live 5 min unused.
pub(super) const FRESH: Duration = Duration::from_secs(60);
/// Where systems keep the certificates that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
