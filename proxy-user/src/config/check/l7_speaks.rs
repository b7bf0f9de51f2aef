//! What the codecs of a service are able to do, for keys that need it.

use crate::l7::codec::{self, PoolMode};
use crate::model::L7;

/// What at least one codec of a service is able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Speaks {
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

impl Speaks {
    pub(super) fn of(l7: &L7) -> Self {
        let mut all = Self::default();
        for codec in l7.codecs().filter_map(codec::by_name) {
            let has = codec.abilities();
            all.requests |= codec.pool() != PoolMode::OneToOne;
            all.shared |= codec.pool() == PoolMode::Multiplex;
            all.http |= has.http;
            all.rpc |= has.rpc;
            all.goaway |= has.goaway;
            all.proxy |= has.proxy;
        }
        all
    }
}
