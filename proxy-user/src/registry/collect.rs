//! Endpoints of one answer of a registry, gathered one by one within the limits that hold for all.

use std::collections::HashSet;
use std::fmt::Display;
use std::time::Instant;

use thiserror::Error;

use super::endpoint;
use super::source::{Endpoint, MAX_ENDPOINTS, MAX_EXAMPLES, Rejected, Set};
use crate::model::BackendAddr;

/// A set that is refused whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("more than {MAX_ENDPOINTS} endpoints; the set is refused whole")]
pub struct TooMany;

/// Gathers a [`Set`]. An address that comes twice counts once, the first time.
#[derive(Debug)]
pub struct Collector {
    set: Set,
    seen: HashSet<BackendAddr>,
    too_many: bool,
}

impl Collector {
    /// Nothing yet of an answer whose last byte was read at `received`.
    pub fn new(received: Instant) -> Self {
        let set =
            Set { endpoints: Vec::new(), rejected: Vec::new(), rejected_count: 0, version: None, received };
        Self { set, seen: HashSet::new(), too_many: false }
    }

    /// Takes an endpoint.
    pub fn add(&mut self, endpoint: Endpoint) {
        if self.seen.len() >= MAX_ENDPOINTS && !self.seen.contains(&endpoint.addr) {
            self.too_many = true;
        } else if self.seen.insert(endpoint.addr) {
            self.set.endpoints.push(endpoint);
        }
    }

    /// Counts an entry that cannot be one, and keeps the first of them as examples.
    pub fn reject(&mut self, text: &str, why: impl Display) {
        self.set.rejected_count = self.set.rejected_count.saturating_add(1);
        if self.set.rejected.len() < MAX_EXAMPLES {
            self.set.rejected.push(Rejected { text: endpoint::shown(text), why: why.to_string() });
        }
    }

    /// The set, with its position in the registry's own terms.
    pub fn finish(self, version: Option<String>) -> Result<Set, TooMany> {
        if self.too_many {
            return Err(TooMany);
        }
        Ok(Set { version, ..self.set })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_count_once_and_examples_are_few() {
        let mut collector = Collector::new(Instant::now());
        for text in ["10.0.0.1:80?weight=1", "10.0.0.1:80?weight=2", "10.0.0.2:80"] {
            collector.add(endpoint::parse(text, None).unwrap());
        }
        (0..20).for_each(|_| collector.reject("x", "no"));
        let set = collector.finish(Some("7".to_owned())).unwrap();
        assert_eq!((set.endpoints.len(), set.endpoints[0].weight), (2, Some(1.0)));
        assert_eq!((set.rejected.len(), set.rejected_count), (MAX_EXAMPLES, 20));
    }

    #[test]
    fn too_many_are_refused_whole() {
        let mut collector = Collector::new(Instant::now());
        for port in 0..=u32::try_from(MAX_ENDPOINTS).unwrap() {
            let addr = BackendAddr { addr: std::net::Ipv4Addr::from_bits(port).into(), port: 80 };
            collector.add(Endpoint {
                addr,
                weight: None,
                enabled: true,
                zone: None,
                labels: Default::default(),
            });
        }
        assert_eq!(collector.finish(None).unwrap_err(), TooMany);
    }
}
