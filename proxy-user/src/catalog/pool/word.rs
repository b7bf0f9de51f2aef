//! What the sources of a service say together, and how much their word is worth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::feed::{Entry, Feed, FeedId};
use super::member::Member;
use crate::catalog::weight;
use crate::model::{BackendAddr, Combine, Discovery};

/// What all sources together say of an address.
pub(super) struct Word<'a> {
    pub entry: &'a Entry,
    /// Whether the entry is of a source that answers.
    answered: bool,
    pub sources: Vec<FeedId>,
}

/// A service's sources.
pub(super) struct Sources<'a> {
    /// In the service's order.
    pub ids: &'a [FeedId],
    pub feeds: &'a BTreeMap<FeedId, Feed>,
    pub discovery: &'a Discovery,
    pub drained: &'a BTreeSet<BackendAddr>,
}

impl<'a> Sources<'a> {
    fn each(&self) -> impl DoubleEndedIterator<Item = (FeedId, &'a Feed)> {
        self.ids.iter().filter_map(|id| self.feeds.get(id).map(|feed| (*id, feed)))
    }

    /// What all say together. The first source that answers and has an address describes it; else the first that has it.
    pub(super) fn word(
        &self,
        refused: impl Fn(BackendAddr) -> Option<String>,
    ) -> (BTreeMap<BackendAddr, Word<'a>>, BTreeMap<BackendAddr, String>) {
        let mut word: BTreeMap<BackendAddr, Word<'a>> = BTreeMap::new();
        let mut never = BTreeMap::new();
        for (id, feed) in self.each() {
            let answers = feed.answering.is_some();
            for (addr, entry) in &feed.entries {
                if let Some(said) = word.get_mut(addr) {
                    said.sources.push(id);
                    if answers && !said.answered {
                        (said.entry, said.answered) = (entry, true);
                    }
                } else if let Some(why) = weight::unusable(entry.weight).or_else(|| refused(*addr)) {
                    never.insert(*addr, why);
                } else {
                    word.insert(*addr, Word { entry, answered: answers, sources: vec![id] });
                }
            }
        }
        never.retain(|addr, _| !word.contains_key(addr));
        (word, never)
    }

    /// Whether every source has answered since weir began, or is not waited for.
    pub(super) fn synced(&self, let_go: &BTreeSet<FeedId>) -> bool {
        self.each().all(|(id, feed)| feed.synced || let_go.contains(&id))
    }

    /// Since when all of these have answered without a break, at the earliest from `since`.
    pub(super) fn answering_since(&self, last: &[FeedId], since: Instant) -> Option<Instant> {
        let mut from = since;
        for id in last {
            from = from.max(self.feeds.get(id)?.answering?);
        }
        Some(from)
    }

    /// Whether a second source that had the endpoint lacks it, too, and is known not to be empty.
    pub(super) fn confirmed(&self, addr: &BackendAddr, member: &Member) -> bool {
        let lacks = |feed: &Feed| feed.known() && !feed.offers(addr);
        let mut witnesses = member
            .had
            .iter()
            .filter(|id| self.feeds.get(id).is_some_and(lacks))
            .map(|id| member.last.contains(id));
        // One beside those that had it last, or two of any.
        witnesses.clone().any(|last| !last) || witnesses.nth(1).is_some()
    }

    pub(super) fn tier(&self, sources: &[FeedId]) -> usize {
        if self.discovery.combine != Combine::Fallback {
            return 0;
        }
        self.ids.iter().position(|id| sources.contains(id)).unwrap_or(0)
    }
}
