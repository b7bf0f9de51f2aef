//! Client of the control API over its Unix socket: one request for each connection, typed answers, typed errors.

mod exchange;
mod l7;
mod registry;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use self::exchange::{Call, dry_run, encode, with_query};
use super::types::{
    AclLists, Applied, BackendDocument, BackendPut, Code, DetachAnswer, ExplainAnswer, ExplainQuery, Health,
    ListDocument, ListPatch, ListPut, Lookup, Problem, ReloadAnswer, ServiceDocument, ServicePut, Services,
    StatsSnapshot, Status, WeightPut,
};

/// What can go wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("cannot reach the daemon at {}: {source} (is `weir run` running? another socket: --socket PATH)", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The socket's permissions keep this user out.
    #[error("not allowed to use {}: {source} (run it as root or as a member of the socket's group)", path.display())]
    NotPermitted {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The daemon refused.
    #[error("{}", problem_text(.0))]
    Refused(Box<Problem>),
    /// The connection broke, or the answer was not what this version understands.
    #[error("the daemon at {} did not answer in order: {detail} (a change may have been applied: check `weir status`)", path.display())]
    Protocol {
        /// The socket.
        path: PathBuf,
        /// What happened.
        detail: String,
    },
}

impl ClientError {
    /// The daemon's code, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            Self::NotPermitted { .. } => Some(Code::NotPermitted),
            Self::Unreachable { .. } | Self::Protocol { .. } => None,
        }
    }
}

/// An answer and the generation that it describes, from its ETag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged<T> {
    /// The answer.
    pub value: T,
    /// Generation; give it to a write as `if_match`.
    pub generation: Option<u64>,
}

/// How a change is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeOptions {
    /// Refuse unless this generation is in force.
    pub if_match: Option<u64>,
    /// Plan only.
    pub dry_run: bool,
}

/// Client of a daemon.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the daemon that listens on this socket. Nothing is connected yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), timeout: Duration::from_secs(60) }
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives up a call after this time, by default 60 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// Calls. Each returns [`ClientError`]; reads carry the generation.
#[expect(
    clippy::missing_errors_doc,
    reason = "every call has the same errors, described once at `ClientError`"
)]
impl Client {
    /// State of the daemon.
    pub async fn status(&self) -> Result<Tagged<Status>, ClientError> {
        self.get("/v1/status").await
    }

    /// Whether the daemon is ready; the answer is also given when it is not.
    pub async fn ready(&self) -> Result<Health, ClientError> {
        let answer = self.call(Call::new(Method::GET, "/v1/health/ready")).await?;
        self.decode(&answer.body)
    }

    /// All lists, without entries.
    pub async fn lists(&self) -> Result<Tagged<AclLists>, ClientError> {
        self.get("/v1/acl/lists").await
    }

    /// A list with up to `limit` entries after `after`.
    pub async fn list(
        &self,
        list: &str,
        limit: Option<u64>,
        after: Option<&str>,
    ) -> Result<Tagged<ListDocument>, ClientError> {
        let mut query = Vec::new();
        query.extend(limit.map(|limit| format!("limit={limit}")));
        query.extend(after.map(|after| format!("after={}", encode(after))));
        self.get(&with_query(&format!("/v1/acl/lists/{}", encode(list)), &query)).await
    }

    /// A list with all its entries, read page by page; refused if the generation changes in between.
    pub async fn whole_list(&self, list: &str) -> Result<Tagged<ListDocument>, ClientError> {
        let mut whole = self.list(list, Some(PAGE), None).await?;
        while let Some(after) = whole.value.next.take() {
            let page = self.list(list, Some(PAGE), Some(&after)).await?;
            if page.generation != whole.generation {
                let generation = page.generation.unwrap_or_default();
                return Err(ClientError::Refused(Box::new(Problem::new(
                    Code::StaleGeneration,
                    format!(
                        "the list changed while it was read (now generation {generation}); read it again"
                    ),
                ))));
            }
            whole.value.entries.extend(page.value.entries);
            whole.value.next = page.value.next;
        }
        Ok(whole)
    }

    /// Creates a list or replaces what the API added to it. Needs `if_match` if the list exists.
    pub async fn put_list(
        &self,
        list: &str,
        body: &ListPut,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        self.change(Method::PUT, &format!("/v1/acl/lists/{}", encode(list)), body, options, &[]).await
    }

    /// The same from text, a prefix on each line, `#` begins a comment. Order, action and scope stay, or are the
    /// defaults of a new list.
    pub async fn put_list_text(
        &self,
        list: &str,
        text: impl Into<Bytes>,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        let target = with_query(&format!("/v1/acl/lists/{}", encode(list)), &dry_run(options));
        let mut call = Call::new(Method::PUT, &target);
        call.body = Some(("text/plain", text.into()));
        call.if_match = options.if_match;
        let answer = self.call(call).await?;
        self.decode(&answer.checked()?.body)
    }

    /// Adds and removes entries. With `atomic`, one refused item refuses the whole.
    pub async fn patch_list(
        &self,
        list: &str,
        body: &ListPatch,
        atomic: bool,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        let target = format!("/v1/acl/lists/{}", encode(list));
        self.change(Method::PATCH, &target, body, options, &[format!("atomic={atomic}")]).await
    }

    /// Deletes a list of the API, or what the API added to a list of the file.
    pub async fn delete_list(&self, list: &str, options: ChangeOptions) -> Result<Applied, ClientError> {
        self.bare(Method::DELETE, &format!("/v1/acl/lists/{}", encode(list)), options).await
    }

    /// What the ACL says about a source.
    pub async fn lookup(&self, address: std::net::IpAddr) -> Result<Tagged<Lookup>, ClientError> {
        self.get(&format!("/v1/acl/lookup?ip={}", encode(&address.to_string()))).await
    }

    /// All services.
    pub async fn services(&self) -> Result<Tagged<Services>, ClientError> {
        self.get("/v1/services").await
    }

    /// A service.
    pub async fn service(&self, service: &str) -> Result<Tagged<ServiceDocument>, ClientError> {
        self.get(&format!("/v1/services/{}", encode(service))).await
    }

    /// Creates or replaces a service.
    pub async fn put_service(
        &self,
        service: &str,
        body: &ServicePut,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        self.change(Method::PUT, &format!("/v1/services/{}", encode(service)), body, options, &[]).await
    }

    /// Deletes a service of the API.
    pub async fn delete_service(
        &self,
        service: &str,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        self.bare(Method::DELETE, &format!("/v1/services/{}", encode(service)), options).await
    }

    /// A backend, such as `10.0.0.11:8080`.
    pub async fn backend(
        &self,
        service: &str,
        backend: &str,
    ) -> Result<Tagged<BackendDocument>, ClientError> {
        self.get(&backend_path(service, backend)).await
    }

    /// Creates or changes a backend.
    pub async fn put_backend(
        &self,
        service: &str,
        backend: &str,
        body: &BackendPut,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        self.change(Method::PUT, &backend_path(service, backend), body, options, &[]).await
    }

    /// Deletes a backend of the API.
    pub async fn delete_backend(
        &self,
        service: &str,
        backend: &str,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        self.bare(Method::DELETE, &backend_path(service, backend), options).await
    }

    /// Sets a backend's weight, whoever set the backend.
    pub async fn set_weight(
        &self,
        service: &str,
        backend: &str,
        weight: u16,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        let target = format!("{}/weight", backend_path(service, backend));
        self.change(Method::POST, &target, &WeightPut { weight }, options, &[]).await
    }

    /// Drains a backend: old flows only.
    pub async fn drain(
        &self,
        service: &str,
        backend: &str,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        self.bare(Method::POST, &format!("{}/drain", backend_path(service, backend)), options).await
    }

    /// Ends a drain.
    pub async fn undrain(
        &self,
        service: &str,
        backend: &str,
        options: ChangeOptions,
    ) -> Result<Applied, ClientError> {
        self.bare(Method::POST, &format!("{}/undrain", backend_path(service, backend)), options).await
    }

    /// All counters.
    pub async fn stats(&self) -> Result<Tagged<StatsSnapshot>, ClientError> {
        self.get("/v1/stats").await
    }

    /// Counters as Prometheus text.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        self.text("/metrics", "text/plain").await
    }

    /// The configuration in force as TOML.
    pub async fn config_toml(&self) -> Result<String, ClientError> {
        self.text("/v1/config", "application/toml").await
    }

    /// The configuration in force as JSON.
    pub async fn config(&self) -> Result<Tagged<serde_json::Value>, ClientError> {
        self.get("/v1/config").await
    }

    /// The description of the API.
    pub async fn openapi(&self) -> Result<serde_json::Value, ClientError> {
        Ok(self.get("/openapi.json").await?.value)
    }

    /// Reads the configuration file again.
    pub async fn reload(&self) -> Result<ReloadAnswer, ClientError> {
        self.bare(Method::POST, "/v1/reload", ChangeOptions::default()).await
    }

    /// What would become of a packet.
    pub async fn explain(&self, query: &ExplainQuery) -> Result<ExplainAnswer, ClientError> {
        self.change(Method::POST, "/v1/explain", query, ChangeOptions::default(), &[]).await
    }

    /// Removes everything from the kernel; the daemon ends.
    pub async fn detach(&self) -> Result<DetachAnswer, ClientError> {
        self.bare(Method::POST, "/v1/detach", ChangeOptions::default()).await
    }
}

fn problem_text(problem: &Problem) -> String {
    let mut text = problem.detail.clone();
    for error in &problem.errors {
        text.push_str(&format!("\n  {}: {}", error.pointer, error.message));
    }
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}

fn backend_path(service: &str, backend: &str) -> String {
    format!("/v1/services/{}/backends/{}", encode(service), encode(backend))
}

/// Entries of a page when a whole list is read.
const PAGE: u64 = 10_000;
