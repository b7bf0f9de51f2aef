//! What is registered at the server. No I/O: frames out, time as an argument; `answers` takes what comes in.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::book::Book;
use super::inbox::Inbox;
use super::message::{Dialect, Registration, encode};
use super::outbox::Outbox;
use super::page::Pages;
use super::query::{Asked, publisher, subscriber};
use super::settings::Settings;
use crate::registry::source::{Event, Publication, Query, Wanted};

/// One session's registrations.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: Arc<Settings>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) peer: String,
    pub(super) dialect: Dialect,
    /// Whether the server has answered in it.
    pub(super) proven: bool,
    pub(super) next_id: u32,
    /// By their names at the server.
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) in_flight: HashMap<u32, String>,
    pub(super) todo: VecDeque<String>,
    pub(super) outbox: Outbox,
    /// What earlier sessions have left of queries.
    pub(super) left: BTreeMap<Arc<Query>, Pages>,
}

/// A registration.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) subject: Subject,
    pub(super) version: i64,
    pub(super) phase: Phase,
    /// Whether it is to end.
    pub(super) ending: bool,
    /// Failures in a row.
    pub(super) failures: u32,
}

/// What is registered.
#[derive(Debug)]
pub(super) enum Subject {
    Query(Arc<Query>, Book),
    Publication(Arc<Publication>),
}

/// How far a registration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// To be sent; is in `todo`.
    Queued,
    /// Sent so often, the last time under this number.
    Sent { id: u32, since: Instant, tries: u32 },
    /// The server has it.
    Done { since: Instant },
    /// It failed; to be sent again.
    Waiting { until: Instant },
}

impl Core {
    /// Nothing is registered.
    pub(super) fn new(settings: Arc<Settings>, attributes: BTreeMap<String, String>, peer: String) -> Self {
        Self {
            settings,
            attributes,
            peer,
            dialect: Dialect::Protobuf,
            proven: false,
            next_id: 1,
            entries: BTreeMap::new(),
            in_flight: HashMap::new(),
            todo: VecDeque::new(),
            outbox: Outbox::default(),
            left: BTreeMap::new(),
        }
    }

    /// Takes over what is wanted from now on.
    pub(super) fn want(&mut self, wanted: &Wanted, inbox: &Inbox) {
        let mut missing = wanted.clone();
        let mut changed = Vec::new();
        for (name, entry) in &mut self.entries {
            let live = match &entry.subject {
                Subject::Query(query, _) => missing.queries.remove(query),
                Subject::Publication(publication) => missing.publications.remove(publication),
            };
            if live == entry.ending {
                entry.ending = !live;
                changed.push(name.clone());
                if let Subject::Query(query, book) = &mut entry.subject {
                    if live {
                        inbox.subscribe(name);
                        *book = Book::new(Asked::of(query, &self.settings), Pages::new());
                    } else {
                        inbox.unsubscribe(name);
                        self.outbox.forget(query);
                    }
                }
            }
        }
        // VIPs before queries: a consumer waits for them. What is new before what ends, so that there is no gap.
        for publication in missing.publications {
            self.add(Subject::Publication(publication), None);
        }
        for name in changed {
            self.queue(name);
        }
        for query in missing.queries {
            let pages = self.left.remove(&query).unwrap_or_default();
            let book = Book::new(Asked::of(&query, &self.settings), pages);
            let name = self.add(Subject::Query(query, book), None);
            inbox.subscribe(&name);
        }
    }

    /// Adds a registration, under the name and version that it had.
    pub(super) fn add(&mut self, subject: Subject, known: Option<(String, i64)>) -> String {
        let (name, version) = known.unwrap_or_else(|| (format!("weir-{:032x}", fastrand::u128(..)), 0));
        let entry = Entry { subject, version, phase: Phase::Queued, ending: false, failures: 0 };
        self.entries.insert(name.clone(), entry);
        self.todo.push_back(name.clone());
        name
    }

    /// Goes on with a registration of an earlier process; `done` if the server has it.
    pub(super) fn restore(
        &mut self,
        subject: Subject,
        known: (String, i64),
        ending: bool,
        done: Option<Instant>,
    ) {
        let name = self.add(subject, Some(known));
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.ending = ending;
            if let Some(since) = done {
                entry.phase = Phase::Done { since };
                self.todo.retain(|other| *other != name);
            }
        }
    }

    /// Says which VIPs an earlier process has registered already.
    pub(super) fn tell_published(&mut self) {
        for entry in self.entries.values() {
            if let (Subject::Publication(publication), Phase::Done { .. }) = (&entry.subject, entry.phase) {
                self.outbox.put(Event::Published { publication: Arc::clone(publication), result: Ok(()) });
            }
        }
    }

    pub(super) fn queue(&mut self, name: String) {
        if let Some(entry) = self.entries.get_mut(&name)
            && entry.phase != Phase::Queued
        {
            if let Phase::Sent { id, .. } = entry.phase {
                self.in_flight.remove(&id);
            }
            entry.phase = Phase::Queued;
            self.todo.push_back(name);
        }
    }

    /// Asks for everything again.
    pub(super) fn resync(&mut self) {
        let queries = self.entries.iter_mut().filter_map(|(name, entry)| match &mut entry.subject {
            Subject::Query(_, book) if !entry.ending => {
                book.ask_anew();
                Some(name.clone())
            }
            _ => None,
        });
        for name in queries.collect::<Vec<_>>() {
            self.queue(name);
        }
    }

    /// What this session leaves of queries.
    pub(super) fn leave(&self) -> BTreeMap<Arc<Query>, Pages> {
        let mut left = BTreeMap::new();
        for entry in self.entries.values().filter(|entry| !entry.ending) {
            if let Subject::Query(query, book) = &entry.subject {
                left.insert(Arc::clone(query), book.pages());
            }
        }
        left
    }

    /// Writes what may be sent now. `clock` is milliseconds since 1970.
    pub(super) fn send(&mut self, now: Instant, clock: i64, out: &mut Vec<u8>) {
        // One alone, until it is known which way the server is spoken to.
        let window = if self.proven { WINDOW } else { 1 };
        for _ in 0..self.todo.len() {
            if self.in_flight.len() >= window {
                return;
            }
            let Some(name) = self.todo.pop_front() else { return };
            if self.has_to_wait(&name) {
                self.todo.push_back(name);
                continue;
            }
            let id = self.take_id();
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            // Higher than any before, under another process, too: a lower one is ignored without a word.
            entry.version = clock.max(entry.version + 1);
            entry.phase = Phase::Sent { id, since: now, tries: 1 };
            self.write(&name, id, clock, out);
            self.in_flight.insert(id, name);
        }
    }

    /// A registration ends after the one that takes its place has begun.
    fn has_to_wait(&self, name: &str) -> bool {
        let Some(Entry { ending: true, subject: Subject::Publication(old), .. }) = self.entries.get(name)
        else {
            return false;
        };
        self.entries.values().any(|entry| {
            matches!(&entry.subject, Subject::Publication(new) if new.service == old.service)
                && !entry.ending
                && matches!(entry.phase, Phase::Queued | Phase::Sent { .. })
        })
    }

    pub(super) fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = if id >= MAX_ID { 1 } else { id + 1 };
        id
    }

    pub(super) fn write(&self, name: &str, id: u32, clock: i64, out: &mut Vec<u8>) {
        let Some(entry) = self.entries.get(name) else { return };
        let registration = Registration {
            end: entry.ending,
            version: entry.version,
            timestamp: clock,
            attributes: self.attributes.clone(),
            ..entry.subject.registration(&self.settings, name)
        };
        encode(&registration, self.dialect, id, out);
    }
}

impl Subject {
    /// As it is registered, without version and time.
    pub(super) fn registration(&self, settings: &Settings, name: &str) -> Registration {
        match self {
            Self::Query(query, _) => subscriber(query, settings, name),
            Self::Publication(publication) => publisher(publication, settings, name),
        }
    }
}

/// Registrations that may be unanswered at once.
const WINDOW: usize = 128;
/// Heartbeats have higher ones.
const MAX_ID: u32 = 0x3fff_ffff;
