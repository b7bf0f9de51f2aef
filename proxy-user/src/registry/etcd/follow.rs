//! What weir follows in one session: each query is listed, then watched from the revision after the list's. No input or
//! output here: what comes in are answers, what goes out is what to ask and what to tell.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::generated::watch_request::RequestUnion;
use super::generated::{WatchCancelRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use super::keys::Keys;
use super::layout::Layout;
use super::range;
use crate::registry::source::{Event, Query};

/// What to do next.
#[derive(Debug)]
pub(super) enum Action {
    /// List the keys of a query, and say [`Follow::listed`] with this number.
    List { query: Arc<Query>, layout: Arc<Layout>, number: u64 },
    /// Send on the watch stream.
    Send(WatchRequest),
    /// Tell the driver.
    Tell(Event),
}

/// A list that came.
#[derive(Debug)]
pub(super) struct Listed {
    /// What was there.
    pub(super) keys: Keys,
    /// As of which revision.
    pub(super) revision: i64,
    /// When its last byte was read.
    pub(super) received: Instant,
}

/// The server's data is not what it was: everything has to be listed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wiped {
    /// Revision that a query had.
    had: i64,
    /// Revision that the server has.
    has: i64,
}

impl std::fmt::Display for Wiped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "its revision went back from {} to {}: its data was lost or restored",
            self.had, self.has
        )
    }
}

/// All queries of a session.
#[derive(Debug, Default)]
pub(super) struct Follow {
    queries: BTreeMap<Arc<Query>, Followed>,
    /// Watches that are asked for; the server answers in this order.
    creating: VecDeque<(Arc<Query>, u64, Instant)>,
    watches: HashMap<i64, Arc<Query>>,
    /// Numbers the lists, so that an answer to an older one is known.
    next: u64,
}

#[derive(Debug)]
struct Followed {
    layout: Arc<Layout>,
    /// Number of its newest list.
    number: u64,
    state: State,
    /// Failures in a row.
    failures: u32,
}

#[derive(Debug)]
enum State {
    Listing,
    /// Listed; its watch is asked for or runs.
    Known {
        keys: Keys,
        revision: i64,
        since: Instant,
        watch: Option<i64>,
    },
    /// Listed again at this time.
    Failed {
        until: Instant,
    },
}

impl Follow {
    /// Takes over what is wanted from now on.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Arc<Query>>) -> Vec<Action> {
        let mut actions = Vec::new();
        let gone: Vec<_> = self.queries.keys().filter(|query| !wanted.contains(*query)).cloned().collect();
        for query in gone {
            self.unwatch(&query, &mut actions);
            self.queries.remove(&query);
        }
        for query in wanted {
            if self.queries.contains_key(query) {
                continue;
            }
            // The configuration's reader has refused options that make no sense; what comes past it is said, not watched.
            match Layout::of(query) {
                Ok(layout) => {
                    let followed =
                        Followed { layout: Arc::new(layout), number: 0, state: State::Listing, failures: 0 };
                    self.queries.insert(Arc::clone(query), followed);
                    self.list(query, &mut actions);
                }
                Err(fault) => {
                    actions
                        .push(Action::Tell(Event::Gone { query: Arc::clone(query), why: fault.to_string() }));
                }
            }
        }
        actions
    }

    /// Takes the answer to a list, or why there is none for this query.
    pub(super) fn listed(
        &mut self,
        query: &Arc<Query>,
        number: u64,
        answer: Result<Listed, String>,
        now: Instant,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(followed) = self.queries.get_mut(query).filter(|followed| followed.number == number) else {
            return actions;
        };
        let told = answer.and_then(|listed| {
            let event = listed.keys.reset(query, listed.revision, listed.received);
            event.map(|event| (listed, event)).map_err(|error| error.to_string())
        });
        match told {
            Ok((listed, event)) => {
                actions.push(Action::Tell(event));
                actions.push(Action::Send(create(&followed.layout, listed.revision)));
                self.creating.push_back((Arc::clone(query), number, now));
                let Listed { keys, revision, .. } = listed;
                followed.state = State::Known { keys, revision, since: now, watch: None };
            }
            Err(why) => self.fail(query, why, now, &mut actions),
        }
        actions
    }

    /// Takes what came on the watch stream.
    pub(super) fn response(&mut self, response: &WatchResponse, now: Instant) -> Result<Vec<Action>, Wiped> {
        let mut actions = Vec::new();
        let id = response.watch_id;
        let query = if response.created {
            let Some((query, number, _)) = self.creating.pop_front() else { return Ok(actions) };
            let followed = self.queries.get_mut(&query).filter(|followed| followed.number == number);
            match followed.map(|followed| &mut followed.state) {
                Some(State::Known { watch, .. }) if !response.canceled => {
                    *watch = Some(id);
                    self.watches.insert(id, Arc::clone(&query));
                }
                Some(_) => {}
                None if response.canceled => return Ok(actions),
                // No longer wanted, or listed again in between.
                None => return Ok(vec![Action::Send(cancel(id))]),
            }
            query
        } else if let Some(query) = self.watches.get(&id) {
            Arc::clone(query)
        } else {
            return Ok(actions);
        };
        let Some(followed) = self.queries.get_mut(&query) else { return Ok(actions) };
        let State::Known { keys, revision, .. } = &mut followed.state else { return Ok(actions) };
        let has = response.header.as_ref().map_or(*revision, |header| header.revision);
        // A watch that is refused has no revision.
        if has < *revision && !response.canceled {
            return Err(Wiped { had: *revision, has });
        }
        if response.canceled {
            // A watch that was refused at once has no number of its own.
            if !response.created {
                self.watches.remove(&id);
            }
            self.canceled(&query, response, now, &mut actions);
            return Ok(actions);
        }
        // A sign of life may overtake changes, so its revision is not remembered.
        if response.events.is_empty() {
            return Ok(actions);
        }
        *revision = has;
        match keys.apply(&query, &response.events, has, now) {
            Ok(event) => actions.extend(event.map(Action::Tell)),
            Err(error) => {
                self.unwatch(&query, &mut actions);
                self.fail(&query, error.to_string(), now, &mut actions);
            }
        }
        Ok(actions)
    }

    /// Begins lists whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Action> {
        let due = |followed: &Followed| matches!(followed.state, State::Failed { until } if until <= now);
        let due: Vec<_> = self
            .queries
            .iter()
            .filter(|(_, followed)| due(followed))
            .map(|(query, _)| Arc::clone(query))
            .collect();
        let mut actions = Vec::new();
        due.iter().for_each(|query| self.list(query, &mut actions));
        actions
    }

    /// When [`Self::due`] has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let until = |followed: &Followed| match followed.state {
            State::Failed { until } => Some(until),
            _ => None,
        };
        self.queries.values().filter_map(until).min()
    }

    /// Since when the server owes the answer to a watch that is asked for.
    pub(super) fn owed_since(&self) -> Option<Instant> {
        self.creating.front().map(|(_, _, since)| *since)
    }

    /// The server has ended a watch.
    fn canceled(
        &mut self,
        query: &Arc<Query>,
        response: &WatchResponse,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(followed) = self.queries.get_mut(query) else { return };
        let lived = match followed.state {
            State::Known { since, .. } => now.saturating_duration_since(since) >= LIVED,
            _ => false,
        };
        if lived {
            followed.failures = 0;
        }
        if response.compact_revision > 0 && followed.failures == 0 {
            // What lay between is no longer kept. The set stands until the new list is there.
            followed.failures = 1;
            self.list(query, actions);
        } else {
            let why = if response.compact_revision > 0 {
                format!("revisions up to {} are no longer kept, again and again", response.compact_revision)
            } else {
                format!("the server ended its watch: {}", response.cancel_reason)
            };
            self.fail(query, why, now, actions);
        }
    }

    fn list(&mut self, query: &Arc<Query>, actions: &mut Vec<Action>) {
        let Some(followed) = self.queries.get_mut(query) else { return };
        self.next += 1;
        (followed.number, followed.state) = (self.next, State::Listing);
        let (query, layout) = (Arc::clone(query), Arc::clone(&followed.layout));
        actions.push(Action::List { query, layout, number: self.next });
    }

    fn fail(&mut self, query: &Arc<Query>, why: String, now: Instant, actions: &mut Vec<Action>) {
        let Some(followed) = self.queries.get_mut(query) else { return };
        let pause = FIRST_PAUSE.saturating_mul(1 << followed.failures.min(10)).min(LONGEST_PAUSE);
        followed.failures = followed.failures.saturating_add(1);
        followed.state = State::Failed { until: now + pause };
        actions.push(Action::Tell(Event::Gone { query: Arc::clone(query), why }));
    }

    /// Ends a query's watch, if it has one. One that is still asked for ends when the answer comes.
    fn unwatch(&mut self, query: &Arc<Query>, actions: &mut Vec<Action>) {
        let Some(Followed { state: State::Known { watch: Some(id), .. }, .. }) = self.queries.get(query)
        else {
            return;
        };
        actions.push(Action::Send(cancel(*id)));
        self.watches.remove(id);
    }
}

fn create(layout: &Layout, revision: i64) -> WatchRequest {
    let (key, range_end) = range::of_prefix(layout.prefix());
    let create = WatchCreateRequest { key, range_end, start_revision: revision + 1, progress_notify: true };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

fn cancel(watch_id: i64) -> WatchRequest {
    WatchRequest { request_union: Some(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })) }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A watch that lived this long was a good one.
const LIVED: Duration = Duration::from_secs(30);
