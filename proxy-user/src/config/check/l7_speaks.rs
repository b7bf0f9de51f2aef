//! What the codecs of a service are able to do, for keys that need it.

use std::ops::Range;

use super::Checker;
use crate::config::problem::Code;
use crate::config::raw::RawService;
use crate::l7::codec::{self, Codec, PoolMode};
use crate::model::L7;

/// What at least one codec of a service is able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Speaks {
    /// Whether the service says its codec; if not, it is `tcp`.
    pub(super) said: bool,
    /// Tell requests apart.
    pub(super) requests: bool,
    /// Have requests share a connection.
    pub(super) shared: bool,
    /// HTTP: hosts, paths, redirects.
    pub(super) http: bool,
    /// RPC services and methods.
    pub(super) rpc: bool,
    /// A message to say that no more requests are to come.
    pub(super) goaway: bool,
    /// The PROXY protocol's header in front.
    pub(super) proxy: bool,
}

/// What a key needs a codec to be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Requests,
    Shared,
    Http,
    Rpc,
    Goaway,
}

impl Speaks {
    pub(super) fn of(raw: &RawService, l7: &L7) -> Self {
        let mut all = Self { said: raw.codec.is_some(), ..Self::default() };
        for codec in l7.codecs().filter_map(codec::by_name) {
            all.requests |= Need::Requests.met(codec);
            all.shared |= Need::Shared.met(codec);
            all.http |= Need::Http.met(codec);
            all.rpc |= Need::Rpc.met(codec);
            all.goaway |= Need::Goaway.met(codec);
            all.proxy |= codec.abilities().proxy;
        }
        all
    }

    pub(super) const fn has(self, need: Need) -> bool {
        match need {
            Need::Requests => self.requests,
            Need::Shared => self.shared,
            Need::Http => self.http,
            Need::Rpc => self.rpc,
            Need::Goaway => self.goaway,
        }
    }
}

impl Need {
    fn met(self, codec: &dyn Codec) -> bool {
        match self {
            Self::Requests => codec.pool() != PoolMode::OneToOne,
            Self::Shared => codec.pool() == PoolMode::Multiplex,
            Self::Http => codec.abilities().http,
            Self::Rpc => codec.abilities().rpc,
            Self::Goaway => codec.abilities().goaway,
        }
    }

    const fn why(self) -> &'static str {
        match self {
            Self::Requests => "codec `tcp` knows no requests",
            Self::Shared => "no codec of this service shares connections to backends among requests",
            Self::Http => "no codec of this service is HTTP",
            Self::Rpc => "no codec of this service has RPC services",
            Self::Goaway => "no codec of this service has a go-away",
        }
    }

    /// The codecs that meet it, as they are written.
    fn codecs(self) -> String {
        let able = codec::CODECS.iter().rev().filter(|codec| self.met(**codec));
        able.map(|codec| format!("codec = \"{}\"", codec.name())).collect::<Vec<_>>().join(" or ")
    }
}

impl Checker<'_> {
    /// A key that no codec of the service can do anything with.
    pub(super) fn unmet(&mut self, key: &str, span: Range<usize>, speaks: Speaks, need: Need) {
        let (why, codecs) = (need.why(), need.codecs());
        let message = format!("`{key}` has no effect here: {why}");
        let hint = match speaks.said {
            true => format!("leave it out; it is for {codecs}"),
            false => format!(
                "add {codecs} to the service, which has no `codec` and so is `tcp`, or leave this out"
            ),
        };
        self.report.error(Code::NoEffect, message, hint, self.source.place(span, ""));
    }
}
