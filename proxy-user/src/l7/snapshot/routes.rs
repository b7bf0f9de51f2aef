//! Which request goes where.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::target::{Location, PathChange, Rewrite};

/// Routes of services. A service without any sends all to its own endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Routes {
    /// Virtual hosts by service.
    pub services: BTreeMap<String, Vec<VirtualHost>>,
}

/// Routes of some hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VirtualHost {
    /// Its name in metrics.
    pub name: String,
    /// Host names without port, of any case; `*.example.com` for names under a domain, of which the longest counts;
    /// `*` for all others, and for requests without a host.
    pub hosts: Vec<String>,
    /// In order: the first that matches counts. None: no route.
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// Its name in metrics.
    pub name: String,
    /// Whom it has; all must match.
    pub matches: Matches,
    /// What becomes of them.
    pub action: Action,
    /// What the upstream gets instead of path and host.
    pub rewrite: Rewrite,
    /// For the whole request; none: the service's.
    pub timeout: Option<Duration>,
    /// What is tried again.
    pub retry: Retry,
    /// Changes to the request's headers.
    pub request_headers: Vec<HeaderChange>,
    /// Changes to the answer's headers.
    pub response_headers: Vec<HeaderChange>,
    /// Who gets a copy of the request.
    pub mirror: Option<Mirror>,
}

/// A copy of requests goes to another service, whose answers are thrown away. It never delays a request nor fails one: where
/// there is no connection for it at once, or its service is slower than the request, the copy is given up, and counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mirror {
    /// A service of the snapshot, of the same protocol.
    pub service: String,
    /// Of a hundred requests, so many are copied, exactly (of each worker); 0 to 100.
    pub percent: u8,
}

impl Default for Mirror {
    fn default() -> Self {
        Self { service: String::new(), percent: 100 }
    }
}

/// Whom a route has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Matches {
    /// RPC service.
    pub service: Option<TextMatch>,
    /// Methods, of RPC or HTTP; empty: any.
    pub methods: Vec<String>,
    /// Path. A request whose path could be read as another (dot segments, `//`, encoded slashes or letters) has no route in a
    /// virtual host where some route has an `Exact` path or a `Prefix` other than `/`, or replaces the prefix.
    pub path: Option<TextMatch>,
    /// Parameters of the query.
    pub query: Vec<QueryMatch>,
    /// Headers.
    pub headers: Vec<HeaderMatch>,
    /// The peer's address is in one of these; empty: any.
    pub sources: Vec<ipnet::IpNet>,
}

impl Route {
    /// Names of the services that it sends requests or copies to.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        let to: &[Destination] = match &self.action {
            Action::Forward(to) => to,
            Action::Redirect { .. } | Action::Direct { .. } => &[],
        };
        let copies = self.mirror.iter().map(|mirror| mirror.service.as_str());
        to.iter().map(|to| to.service.as_str()).chain(copies)
    }

    /// The other path that it makes of the request's, for whomever.
    #[must_use]
    pub fn path_change(&self) -> Option<&PathChange> {
        match &self.action {
            Action::Forward(_) => self.rewrite.path.as_ref(),
            Action::Redirect { location: Location::Url(url), .. } => url.path.as_ref(),
            Action::Redirect { .. } | Action::Direct { .. } => None,
        }
    }

    /// Whether it depends on how a request's path is read: it is told apart by it, or another is made of it.
    #[must_use]
    pub fn looks_at_path(&self) -> bool {
        self.matches.looks_at_path() || matches!(self.path_change(), Some(PathChange::Prefix(_)))
    }
}

impl Matches {
    /// Whether requests are told apart by their path.
    #[must_use]
    pub fn looks_at_path(&self) -> bool {
        match &self.path {
            Some(TextMatch::Exact(_)) => true,
            Some(TextMatch::Prefix(prefix)) => prefix != "/",
            Some(TextMatch::Present | TextMatch::Absent) | None => false,
        }
    }
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextMatch {
    /// Is this.
    Exact(String),
    /// Begins so; for paths, up to a segment's end.
    Prefix(String),
    /// Is there.
    Present,
    /// Is not there.
    Absent,
}

/// A parameter of a query, as forms write them: decoded, and the first of the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryMatch {
    /// Its name, decoded.
    pub name: String,
    /// Its value, decoded.
    pub value: TextMatch,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: TextMatch,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It goes to one of these services, by weight, exactly: of as many requests as the weights add up to, each service gets
    /// its weight (of each worker). Empty: the service itself.
    Forward(Vec<Destination>),
    /// It is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// `Location`.
        location: Location,
    },
    /// It is answered here.
    Direct {
        /// HTTP status.
        status: u16,
        /// Body.
        body: String,
    },
}

impl Default for Action {
    fn default() -> Self {
        Self::Forward(Vec::new())
    }
}

/// Where a request may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// A service of the snapshot.
    pub service: String,
    /// Its share; 0 gets none.
    pub weight: u32,
}

/// What is tried again: a request of which nothing was sent, or one that may be sent twice (GET, HEAD, OPTIONS, PUT, DELETE
/// without a body) and of which no answer has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// How often.
    pub tries: u8,
    /// How many retries for a hundred requests, of each worker and service; a few are always allowed.
    pub budget_percent: u8,
    /// Answers with one of these HTTP statuses, 400 to 599, count as none if the request may be sent twice: it is sent again,
    /// to another endpoint if there is one. The last answer is passed on.
    pub statuses: Vec<u16>,
}

impl Default for Retry {
    fn default() -> Self {
        Self { tries: 2, budget_percent: 20, statuses: Vec::new() }
    }
}

/// One change to headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeaderChange {
    /// This and no other of the name.
    Set(String, String),
    /// One more.
    Add(String, String),
    /// None.
    Remove(String),
}
