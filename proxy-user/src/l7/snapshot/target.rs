//! Other targets: for the upstream of a request, or for a client that is sent elsewhere.

use serde::{Deserialize, Serialize};

/// What an upstream gets instead of what the client has sent (HTTP). The query stays, `OPTIONS *` and `CONNECT` as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rewrite {
    /// Another path.
    pub path: Option<PathChange>,
    /// Another `Host`, with or without port.
    pub host: Option<String>,
}

/// Another path: what was matched is what is replaced, byte by byte, and the rest stays as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathChange {
    /// This instead of the prefix that the route matches. A slash at the end of either counts for nothing; empty takes the prefix
    /// away. A path of which nothing is left is `/`.
    Prefix(String),
    /// This.
    Whole(String),
}

/// Where a client is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Location {
    /// There, whatever it has asked for.
    Fixed(String),
    /// To the URL that it has asked for, with other parts.
    Url(Url),
}

impl From<&str> for Location {
    fn from(location: &str) -> Self {
        Self::Fixed(location.to_owned())
    }
}

/// Other parts of a URL. Of what is not said here, the client keeps its own; a worker does not know its scheme, which a
/// reference without one leaves as it is (RFC 3986, 4.2). The query stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Url {
    /// Another scheme: with the port that is its own, if neither `host` nor `port` says one.
    pub scheme: Option<Scheme>,
    /// Another host, with or without port.
    pub host: Option<String>,
    /// Another port; not with a `host` that has one.
    pub port: Option<u16>,
    /// Another path.
    pub path: Option<PathChange>,
}

/// Scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// `http`, port 80.
    Http,
    /// `https`, port 443.
    Https,
}

impl Scheme {
    /// As a URL has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that need not be said.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}
