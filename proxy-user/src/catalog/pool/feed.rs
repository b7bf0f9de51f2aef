//! What is known of one query. Events change it; nothing here decides what becomes of a backend.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::remember::{RememberedEndpoint, RememberedSet};
use super::setup::Now;
use crate::catalog::snapshot::{Knowledge, SourceStatus};
use crate::model::BackendAddr;
use crate::registry::endpoint::secret;
use crate::registry::source::{Endpoint, MAX_LABEL_TEXT, MAX_LABELS, Query, Rejected, Set};

/// Number of a feed within its pool.
pub(super) type FeedId = u32;

/// Labels, shared by all that carry the same.
pub(super) type Labels = Arc<BTreeMap<Arc<str>, Arc<str>>>;

/// What a registry says of an address.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub weight: Option<f64>,
    pub enabled: bool,
    pub zone: Option<Arc<str>>,
    pub labels: Labels,
}

impl Entry {
    /// Whether the registry wants new flows there.
    pub(super) fn takes(&self) -> bool {
        self.enabled && self.weight.is_none_or(|weight| weight > 0.0)
    }
}

/// One query of one registry.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    pub registry: Arc<str>,
    pub query: Arc<Query>,
    pub state: Knowledge,
    since: jiff::Timestamp,
    /// Since when it has answered without a break; none while nothing is known.
    pub answering: Option<Instant>,
    /// Whether a whole set has come since this pool began.
    pub synced: bool,
    last_success: Option<jiff::Timestamp>,
    version: Option<String>,
    rejected: u64,
    examples: Arc<[Rejected]>,
    /// The last set; while nothing is known it stays in use.
    pub entries: BTreeMap<BackendAddr, Entry>,
    /// Endpoints that were leaving when the set was remembered.
    pub left: Vec<(BackendAddr, Entry, jiff::Timestamp)>,
    /// Most endpoints: the largest cap of the services that use it.
    pub cap: usize,
    /// Names of the services that use it.
    pub users: Vec<String>,
    /// A set of this session was refused here, so that changes say nothing until a whole one comes.
    refused: bool,
    /// When to ask for a whole set, and when that was done last.
    pub resync: Option<Instant>,
    asked: Option<Instant>,
    /// What was remembered of it last, and whether that may be out of date.
    pub memory: Option<Arc<RememberedSet>>,
    pub stale: bool,
}

impl Feed {
    pub(super) fn new(
        registry: Arc<str>,
        query: Arc<Query>,
        remembered: Option<&RememberedSet>,
        now: Now,
    ) -> Self {
        let mut feed = Self {
            registry,
            query,
            state: Knowledge::Unknown {
                why: "it has not answered yet".into(),
                remembered: remembered.is_some(),
            },
            since: now.wall,
            answering: None,
            synced: false,
            last_success: remembered.map(|set| set.received),
            version: remembered.and_then(|set| set.version.clone()),
            rejected: 0,
            examples: Arc::default(),
            entries: BTreeMap::new(),
            left: Vec::new(),
            cap: usize::MAX,
            users: Vec::new(),
            refused: false,
            resync: None,
            asked: None,
            memory: None,
            stale: true,
        };
        for RememberedEndpoint { endpoint, leaving } in remembered.iter().flat_map(|set| &set.endpoints) {
            let entry = entry(endpoint, None);
            match leaving {
                Some(until) => feed.left.push((endpoint.addr, entry, *until)),
                None => {
                    feed.entries.insert(endpoint.addr, entry);
                }
            }
        }
        feed
    }

    /// The whole set. Refused, so that nothing is known any more, where it is too large, or where nothing of it can be
    /// used although it is not empty: that is no word for an empty set.
    pub(super) fn reset(&mut self, set: Set, now: Now) {
        self.note_refused(&set);
        self.resync = None;
        if let Err(why) = self.fits(set.endpoints.len()) {
            return self.refuse(&why, now);
        }
        if set.endpoints.is_empty() && set.rejected_count > 0 {
            let first = set.rejected.first().map_or("", |rejected| &rejected.why);
            return self.refuse(&format!("all {} entries were refused: {first}", set.rejected_count), now);
        }
        self.refused = false;
        let old = std::mem::take(&mut self.entries);
        self.take(set.endpoints, &old);
        self.version = set.version;
        self.last_success = Some(now.wall);
        self.synced = true;
        self.answering.get_or_insert(now.instant);
        self.settle(now);
    }

    /// Further endpoints. While nothing is known they only join the last set.
    pub(super) fn add(&mut self, set: Set, now: Now) {
        self.note_refused(&set);
        let new = set.endpoints.iter().filter(|endpoint| !self.entries.contains_key(&endpoint.addr)).count();
        if let Err(why) = self.fits(self.entries.len() + new) {
            return self.refuse(&why, now);
        }
        self.ask_if_refused(now);
        for endpoint in set.endpoints {
            let entry = entry(&endpoint, self.entries.get(&endpoint.addr));
            self.entries.insert(endpoint.addr, entry);
        }
        self.version = set.version.or(self.version.take());
        self.settle(now);
    }

    /// Endpoints that are no longer in the set. While nothing is known this says nothing.
    pub(super) fn remove(&mut self, addrs: &[BackendAddr], version: Option<String>, now: Now) {
        self.ask_if_refused(now);
        if self.answering.is_none() {
            return;
        }
        for addr in addrs {
            self.entries.remove(addr);
        }
        self.version = version.or(self.version.take());
        self.settle(now);
    }

    /// Another cap. A set that was refused may fit.
    pub(super) fn limit(&mut self, cap: usize, now: Now) {
        if cap > self.cap {
            self.ask_if_refused(now);
        }
        self.cap = cap;
    }

    /// Whether to ask for a whole set now. Answers so once.
    pub(super) fn asks(&mut self, now: Now) -> bool {
        let due = self.resync.is_some_and(|at| at <= now.instant);
        if due {
            (self.resync, self.asked) = (None, Some(now.instant));
        }
        due
    }

    fn ask_if_refused(&mut self, now: Now) {
        if self.refused {
            let next = self.asked.map_or(now.instant, |asked| now.instant.max(asked + ASK_AGAIN));
            self.resync.get_or_insert(next);
        }
    }

    fn refuse(&mut self, why: &str, now: Now) {
        let resync = self.resync;
        self.lose(why, now);
        (self.refused, self.resync) = (true, resync);
    }

    /// Nothing is known from now on. The last set stays.
    pub(super) fn lose(&mut self, why: &str, now: Now) {
        (self.refused, self.resync) = (false, None);
        let remembered = matches!(self.state, Knowledge::Unknown { remembered: true, .. });
        self.answering = None;
        self.enter(Knowledge::Unknown { why: why.to_owned(), remembered }, now);
    }

    /// Whether it has an address, and wants new flows there.
    pub(super) fn offers(&self, addr: &BackendAddr) -> bool {
        self.entries.get(addr).is_some_and(Entry::takes)
    }

    pub(super) fn status(&self) -> SourceStatus {
        SourceStatus {
            registry: self.registry.clone(),
            query: self.query.clone(),
            state: self.state.clone(),
            since: self.since,
            last_success: self.last_success,
            version: self.version.clone(),
            endpoints: self.entries.len(),
            rejected: self.rejected,
            examples: self.examples.clone(),
        }
    }

    /// When the set in use came; none if none ever came.
    pub(super) fn received(&self) -> Option<(jiff::Timestamp, Option<String>)> {
        self.last_success.map(|at| (at, self.version.clone()))
    }

    fn take(&mut self, endpoints: Vec<Endpoint>, old: &BTreeMap<BackendAddr, Entry>) {
        for endpoint in endpoints {
            let addr = endpoint.addr;
            self.entries.entry(addr).or_insert_with(|| entry(&endpoint, old.get(&addr)));
        }
    }

    fn note_refused(&mut self, set: &Set) {
        self.rejected = set.rejected_count;
        if self.examples.as_ref() != set.rejected.as_slice() {
            self.examples = set.rejected.clone().into();
        }
    }

    fn fits(&self, endpoints: usize) -> Result<(), String> {
        if endpoints <= self.cap {
            return Ok(());
        }
        Err(too_large(endpoints, self.cap))
    }

    /// While it answers, what is known follows from the set.
    fn settle(&mut self, now: Now) {
        self.stale = true;
        if self.answering.is_some() {
            let state = if self.entries.is_empty() { Knowledge::Empty } else { Knowledge::Known };
            self.enter(state, now);
        }
    }

    fn enter(&mut self, state: Knowledge, now: Now) {
        let unknown = |state: &Knowledge| matches!(state, Knowledge::Unknown { .. });
        if self.state != state && !(unknown(&self.state) && unknown(&state)) {
            self.since = now.wall;
        }
        self.state = state;
    }
}

/// Time between two requests for a whole set.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// What is wrong with a set above a cap.
pub(super) fn too_large(endpoints: usize, cap: usize) -> String {
    format!("a set of {endpoints} endpoints is larger than guard.max_endpoints = {cap} allows")
}

/// An endpoint without its address. Labels are cut to their limits, secrets are none, and they are shared with the entry before if they are the same.
fn entry(endpoint: &Endpoint, old: Option<&Entry>) -> Entry {
    let fits = |text: &str| text.len() <= MAX_LABEL_TEXT;
    let labels = match old {
        Some(old) if *old.labels == endpoint.labels => old.labels.clone(),
        _ => Arc::new(
            endpoint
                .labels
                .iter()
                .filter(|(key, value)| fits(key) && fits(value) && !secret(key))
                .take(MAX_LABELS)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        ),
    };
    let zone = endpoint.zone.clone().filter(|zone| fits(zone));
    Entry { weight: endpoint.weight, enabled: endpoint.enabled, zone, labels }
}
