//! What the server answers and pushes, and what becomes of a registration that it does not take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::book::News;
use super::core::{Core, Entry, Phase, Subject};
use super::hessian::error_text;
use super::inbox::{Inbox, Pushed, Reply};
use super::message::Dialect;
use crate::registry::endpoint::shown;
use crate::registry::source::{Event, Query, SessionError};
use crate::wire::bolt::status;

impl Core {
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
        if let Some(news) = book.read(pushed) {
            self.outbox.put(news.event(query));
        }
    }

    /// Sends again what was not answered or failed, and says which queries stay without a push.
    pub(super) fn tick(&mut self, now: Instant, clock: i64, out: &mut Vec<u8>) -> Result<(), SessionError> {
        let limit = self.settings.answer_timeout;
        let (mut again, mut queue) = (Vec::new(), Vec::new());
        for (name, entry) in &mut self.entries {
            if let Subject::Query(query, book) = &mut entry.subject
                && !entry.ending
                && let Some(news) = book.tick(now)
            {
                self.outbox.put(news.event(Arc::clone(query)));
            }
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

impl News {
    fn event(self, query: Arc<Query>) -> Event {
        match self {
            Self::Set(set) => Event::Reset { query, set },
            Self::Part(set) => Event::Add { query, set },
            Self::Unknown(why) => Event::Gone { query, why },
        }
    }
}

const MAX_TRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A first push takes less than 2 s.
const SILENCE: Duration = Duration::from_secs(10);
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);
