//! What the codecs of a service are able to do, for keys that need it.

use crate::l7::codec::{self, PoolMode};
use crate::model::L7;

/// What at least one codec of a service is able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Speaks {
    /// Tell requests apart.
    pub(super) requests: bool,
    /// Pass bytes on without looking at them.
    pub(super) opaque: bool,
    /// Have requests share a connection.
    pub(super) shared: bool,
    /// HTTP: hosts, paths, redirects.
    pub(super) http: bool,
    /// Bolt: RPC services, go-away, headers of any name.
    pub(super) bolt: bool,
}

impl Speaks {
    pub(super) fn of(l7: &L7) -> Self {
        let mut all = Self::default();
        for codec in l7.codecs().filter_map(codec::by_name) {
            let opaque = codec.pool() == PoolMode::OneToOne;
            all.opaque |= opaque;
            all.requests |= !opaque;
            all.shared |= codec.pool() == PoolMode::Multiplex;
            all.http |= codec.name() == "http1";
            all.bolt |= codec.name() == "bolt";
        }
        all
    }
}
