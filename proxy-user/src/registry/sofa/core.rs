//! What is registered at the server, and what it answers. No I/O: frames out, answers and pushes in, time as an argument.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::book::{Book, News};
use super::hessian::error_text;
use super::inbox::{Inbox, Pushed, Reply};
use super::message::{Dialect, Registration, encode};
use super::outbox::Outbox;
use super::query::{Asked, publisher, subscriber};
use super::settings::Settings;
use crate::registry::endpoint::shown;
use crate::registry::source::{Event, Publication, Query, SessionError, Wanted};
use crate::wire::bolt::status;

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
    in_flight: HashMap<u32, String>,
    todo: VecDeque<String>,
    pub(super) outbox: Outbox,
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
    failures: u32,
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
                        *book = Book::new(Asked::of(query, &self.settings));
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
            let book = Book::new(Asked::of(&query, &self.settings));
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

    fn queue(&mut self, name: String) {
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

    fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = if id >= MAX_ID { 1 } else { id + 1 };
        id
    }

    fn write(&self, name: &str, id: u32, clock: i64, out: &mut Vec<u8>) {
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

    /// Takes an answer.
    pub(super) fn answered(
        &mut self,
        reply: &Reply,
        now: Instant,
        inbox: &Inbox,
    ) -> Result<(), SessionError> {
        let Some(name) = self.in_flight.remove(&reply.id) else { return Ok(()) };
        let answer = match reply.status {
            status::SUCCESS => {
                self.dialect.answer(&reply.content).map_err(|why| format!("its answer: {why}"))
            }
            code => {
                let text = error_text(&reply.content).unwrap_or_default();
                Err(format!("status {code:#x} {}", shown(&text)).trim_end().to_owned())
            }
        };
        match answer {
            Ok(answer) => {
                self.proven = true;
                if answer.success && !answer.refused {
                    self.done(&name, now, inbox);
                    return Ok(());
                }
                let word = if answer.refused { "refused" } else { "no success" };
                self.failed(&name, &format!("{word}: {}", shown(&answer.message)), now)
            }
            Err(why) if self.proven => self.failed(&name, &why, now),
            Err(why) if self.dialect == Dialect::Protobuf => {
                tracing::info!(
                    peer = self.peer,
                    why,
                    "SOFARegistry's server takes no Protobuf: Hessian from now on"
                );
                self.dialect = Dialect::Hessian;
                if let Some(entry) = self.entries.get_mut(&name) {
                    entry.phase = Phase::Queued;
                    self.todo.push_front(name);
                }
                Ok(())
            }
            Err(why) => Err(SessionError::Refused {
                peer: self.peer.clone(),
                why: format!("a registration in Protobuf and the same in Hessian; the latter with {why}"),
            }),
        }
    }

    fn done(&mut self, name: &str, now: Instant, inbox: &Inbox) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.failures = 0;
        entry.phase = Phase::Done { since: now };
        let ending = entry.ending;
        if let Subject::Publication(publication) = &entry.subject {
            let publication = Arc::clone(publication);
            self.outbox.put(if ending {
                Event::Withdrawn { publication }
            } else {
                Event::Published { publication, result: Ok(()) }
            });
        }
        if ending {
            inbox.unsubscribe(name);
            self.entries.remove(name);
        }
    }

    fn failed(&mut self, name: &str, why: &str, now: Instant) -> Result<(), SessionError> {
        let Some(entry) = self.entries.get_mut(name) else { return Ok(()) };
        entry.failures += 1;
        let wait = FIRST_WAIT.saturating_mul(1 << entry.failures.min(5)).min(LONGEST_WAIT);
        entry.phase = Phase::Waiting { until: now + wait };
        match &entry.subject {
            Subject::Publication(_) if entry.ending && entry.failures >= MAX_TRIES => {
                let why = format!("it does not end a registration ({why}); the end of the connection does");
                return Err(SessionError::Lost { peer: self.peer.clone(), why });
            }
            Subject::Query(query, _) if !entry.ending => {
                let why = format!("the server refuses the subscription: {why}");
                self.outbox.put(Event::Gone { query: Arc::clone(query), why });
            }
            Subject::Publication(publication) if !entry.ending => {
                let publication = Arc::clone(publication);
                self.outbox.put(Event::Published { publication, result: Err(why.to_owned()) });
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes what was pushed to a subscription.
    pub(super) fn pushed(&mut self, name: &str, pushed: &Pushed) {
        let Some(Entry { subject: Subject::Query(query, book), ending: false, .. }) =
            self.entries.get_mut(name)
        else {
            return;
        };
        let query = Arc::clone(query);
        match book.read(pushed) {
            Some(News::Set(set)) => self.outbox.put(Event::Reset { query, set }),
            Some(News::Unknown(why)) => self.outbox.put(Event::Gone { query, why }),
            None => {}
        }
    }

    /// Sends again what was not answered or failed, and says which queries stay without a push.
    pub(super) fn tick(&mut self, now: Instant, clock: i64, out: &mut Vec<u8>) -> Result<(), SessionError> {
        let limit = self.settings.answer_timeout;
        let (mut again, mut queue) = (Vec::new(), Vec::new());
        for (name, entry) in &mut self.entries {
            match entry.phase {
                Phase::Sent { since, tries, .. } if now >= since + limit => {
                    if tries >= MAX_TRIES {
                        let why = format!("{MAX_TRIES} times no answer to a registration within {limit:?}");
                        return Err(SessionError::Lost { peer: self.peer.clone(), why });
                    }
                    again.push((name.clone(), tries));
                }
                Phase::Waiting { until } if now >= until => queue.push(name.clone()),
                Phase::Done { since } if now >= since + SILENCE => {
                    // Said once: the phase is not looked at again until something is sent.
                    entry.phase = Phase::Done { since: now + FOREVER };
                    if let Subject::Query(query, book) = &entry.subject
                        && !book.heard()
                    {
                        let why =
                            "subscribed, but nothing was pushed: has somebody stopped the server's pushes?";
                        self.outbox.put(Event::Gone { query: Arc::clone(query), why: why.to_owned() });
                    }
                }
                _ => {}
            }
        }
        for (name, tries) in again {
            let id = self.take_id();
            if let Some(entry) = self.entries.get_mut(&name) {
                if let Phase::Sent { id: old, .. } = entry.phase {
                    self.in_flight.remove(&old);
                }
                entry.phase = Phase::Sent { id, since: now, tries: tries + 1 };
            }
            self.write(&name, id, clock, out);
            self.in_flight.insert(id, name);
        }
        queue.into_iter().for_each(|name| self.queue(name));
        Ok(())
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
const MAX_TRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A first push takes less than 2 s.
const SILENCE: Duration = Duration::from_secs(10);
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Heartbeats have higher ones.
const MAX_ID: u32 = 0x3fff_ffff;
