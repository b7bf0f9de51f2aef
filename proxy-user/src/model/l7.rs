//! How the L7 path serves a service.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::l7::codec;
use crate::l7::snapshot::{ClientAddress, Limits, Route, Rules, Timeouts, VirtualHost};

/// How the L7 path serves a service. The parts that workers take as they are have the workers' own types. Settings are equal
/// that do the same and are written the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L7 {
    /// Name of the codec; where several are detected ([`Rules::detect`]), the first of them.
    pub codec: String,
    /// Bounds on what it may use.
    pub limits: Limits,
    /// Times after which something is given up.
    pub timeouts: Timeouts,
    /// How the client's address is passed on.
    pub client_address: ClientAddress,
    /// All else, but for the entries of `access_lists`.
    pub rules: Rules,
    /// Lists of the source ACL whose entries follow the rules of [`Rules::access`], by the ACL's order.
    pub access_lists: BTreeSet<String>,
    /// Virtual hosts with their routes; none: everything goes to the service's own backends.
    pub hosts: Vec<VirtualHost>,
    /// All of this as it was written: `codec`, `l7`, `host`, `route` in the vocabulary of the configuration file.
    pub written: Arc<Map<String, Value>>,
}

impl Default for L7 {
    fn default() -> Self {
        Self {
            codec: codec::FALLBACK.to_owned(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            client_address: ClientAddress::default(),
            rules: Rules::default(),
            access_lists: BTreeSet::new(),
            hosts: Vec::new(),
            written: Arc::new(Map::from_iter([("codec".to_owned(), "tcp".into())])),
        }
    }
}

impl L7 {
    /// The codecs that a connection may turn out to speak.
    pub fn codecs(&self) -> impl Iterator<Item = &str> {
        let detected = self.rules.detect.iter().map(String::as_str);
        let fallback = self.rules.fallback.then_some(codec::FALLBACK);
        let only = self.rules.detect.is_empty().then_some(self.codec.as_str());
        detected.chain(fallback).chain(only)
    }

    /// Whether other settings do the same, however they are written.
    #[must_use]
    pub fn does_as(&self, other: &Self) -> bool {
        let Self { codec, limits, timeouts, client_address, rules, access_lists, hosts, written: _ } = self;
        *codec == other.codec
            && *limits == other.limits
            && *timeouts == other.timeouts
            && *client_address == other.client_address
            && *rules == other.rules
            && *access_lists == other.access_lists
            && *hosts == other.hosts
    }

    /// Names of the services that its routes send requests or copies to, as often as they do.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().flat_map(|host| &host.routes).flat_map(Route::destinations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_those_detected_or_the_only_one() {
        let of = |l7: &L7| l7.codecs().map(str::to_owned).collect::<Vec<_>>();
        let mut l7 = L7::default();
        assert_eq!(of(&l7), ["tcp"]);
        l7.rules.detect = vec!["bolt".into(), "http1".into()];
        l7.codec = "bolt".into();
        assert_eq!(of(&l7), ["bolt", "http1"]);
        l7.rules.fallback = true;
        assert_eq!(of(&l7), ["bolt", "http1", "tcp"]);
    }
}
