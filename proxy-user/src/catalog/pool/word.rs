//! What the sources of a service say together, and how much their word is worth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::feed::{Entry, Feed, FeedId, too_large};
use super::member::Member;
use crate::catalog::snapshot::{Knowledge, SourceStatus};
use crate::catalog::weight;
use crate::model::{BackendAddr, Combine, Discovery};
use crate::registry::source::{MAX_EXAMPLES, Rejected};

/// What all sources together say of an address.
pub(super) struct Word<'a> {
    pub entry: &'a Entry,
    /// Whether the entry is of a source that answers.
    answered: bool,
    pub sources: Vec<FeedId>,
}

/// A source, as far as the service can use it.
pub(super) struct Source<'a> {
    pub id: FeedId,
    pub feed: &'a Feed,
    /// Entries that can never be backends of the service, and why.
    pub refused: BTreeMap<BackendAddr, String>,
    /// The cap of the service, if the set is larger: nothing is known by it then.
    above: Option<usize>,
}

impl<'a> Source<'a> {
    fn new(id: FeedId, feed: &'a Feed, cap: u32, refused: impl Fn(BackendAddr) -> Option<String>) -> Self {
        let why = |(addr, entry): (&BackendAddr, &Entry)| {
            weight::unusable(entry.weight).or_else(|| refused(*addr)).map(|why| (*addr, why))
        };
        let cap = usize::try_from(cap).unwrap_or(usize::MAX);
        let above = (feed.entries.len() > cap).then_some(cap);
        Self { id, feed, refused: feed.entries.iter().filter_map(why).collect(), above }
    }

    fn answering(&self) -> Option<Instant> {
        self.feed.answering.filter(|_| self.above.is_none())
    }

    fn usable(&self) -> usize {
        self.feed.entries.len().saturating_sub(self.refused.len())
    }

    /// Whether it can bear witness that an endpoint is gone: it is known, has something that is of use, and lacks it.
    fn lacks(&self, addr: &BackendAddr) -> bool {
        self.answering().is_some() && self.usable() > 0 && !self.feed.offers(addr)
    }

    /// As the service sees it: a set of which it can use nothing is as good as empty.
    pub(super) fn status(&self) -> SourceStatus {
        let mut status = self.feed.status();
        status.endpoints = self.usable();
        if !self.refused.is_empty() {
            status.rejected += u64::try_from(self.refused.len()).unwrap_or(u64::MAX);
            let own =
                self.refused.iter().map(|(addr, why)| Rejected { text: addr.to_string(), why: why.clone() });
            status.examples = status.examples.iter().cloned().chain(own).take(MAX_EXAMPLES).collect();
        }
        match (self.above, &status.state) {
            (_, Knowledge::Unknown { .. }) => {}
            (Some(cap), _) => {
                let why = too_large(self.feed.entries.len(), cap);
                status.state = Knowledge::Unknown { why, remembered: false };
            }
            (None, _) if status.endpoints == 0 => status.state = Knowledge::Empty,
            (None, _) => {}
        }
        status
    }
}

/// A service's sources.
pub(super) struct Sources<'a> {
    /// In the service's order.
    pub all: Vec<Source<'a>>,
    pub discovery: &'a Discovery,
    pub drained: &'a BTreeSet<BackendAddr>,
}

impl<'a> Sources<'a> {
    /// `refused` says why an address can never be a backend of the service.
    pub(super) fn new(
        ids: &[FeedId],
        feeds: &'a BTreeMap<FeedId, Feed>,
        discovery: &'a Discovery,
        drained: &'a BTreeSet<BackendAddr>,
        refused: impl Fn(BackendAddr) -> Option<String>,
    ) -> Self {
        let cap = discovery.guard.max_endpoints;
        let found = ids.iter().filter_map(|id| feeds.get(id).map(|feed| (*id, feed)));
        let all = found.map(|(id, feed)| Source::new(id, feed, cap, &refused)).collect();
        Self { all, discovery, drained }
    }

    /// What all say together. The first source that answers and has an address describes it; else the first that has it. Of
    /// a set that is too large only what the service has already counts.
    pub(super) fn word(&self, has: impl Fn(&BackendAddr) -> bool) -> BTreeMap<BackendAddr, Word<'a>> {
        let mut word: BTreeMap<BackendAddr, Word<'a>> = BTreeMap::new();
        for source in &self.all {
            let (feed, answers) = (source.feed, source.answering().is_some());
            for (addr, entry) in &feed.entries {
                if source.refused.contains_key(addr) || (source.above.is_some() && !has(addr)) {
                    continue;
                }
                if let Some(said) = word.get_mut(addr) {
                    said.sources.push(source.id);
                    if answers && !said.answered {
                        (said.entry, said.answered) = (entry, true);
                    }
                } else {
                    word.insert(*addr, Word { entry, answered: answers, sources: vec![source.id] });
                }
            }
        }
        word
    }

    /// Whether every source has answered once, or is not waited for.
    pub(super) fn synced(&self, let_go: &BTreeSet<FeedId>) -> bool {
        self.all.iter().all(|source| source.feed.synced || let_go.contains(&source.id))
    }

    /// Since when all of these have answered without a break, at the earliest from `since`.
    pub(super) fn answering_since(&self, last: &[FeedId], since: Instant) -> Option<Instant> {
        let mut from = since;
        for id in last {
            from = from.max(self.of(*id)?.answering()?);
        }
        Some(from)
    }

    /// Whether a second source that had the endpoint lacks it, too, and is known not to be empty.
    pub(super) fn confirmed(&self, addr: &BackendAddr, member: &Member) -> bool {
        let mut witnesses = member
            .had
            .iter()
            .filter(|id| self.of(**id).is_some_and(|source| source.lacks(addr)))
            .map(|id| member.last.contains(id));
        // One beside those that had it last, or two of any.
        witnesses.clone().any(|last| !last) || witnesses.nth(1).is_some()
    }

    pub(super) fn tier(&self, sources: &[FeedId]) -> usize {
        if self.discovery.combine != Combine::Fallback {
            return 0;
        }
        self.all.iter().position(|source| sources.contains(&source.id)).unwrap_or(0)
    }

    fn of(&self, id: FeedId) -> Option<&Source<'a>> {
        self.all.iter().find(|source| source.id == id)
    }
}
