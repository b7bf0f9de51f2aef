//! Events that wait for room in the driver's channel: of each query and publication the newest.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::registry::source::{Event, Publication, Query};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Session,
    Query(Arc<Query>),
    Publication(Arc<Publication>),
}

/// In the order in which their subjects came; bounded by the number of subjects. A set is whole, or all that is known before one is, so the newest says all.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    order: VecDeque<Subject>,
    events: HashMap<Subject, Event>,
}

impl Outbox {
    /// Puts an event in the place of an earlier one of the same subject.
    pub(super) fn put(&mut self, event: Event) {
        let subject = match &event {
            Event::Connected { .. } => Subject::Session,
            Event::Reset { query, .. }
            | Event::Add { query, .. }
            | Event::Remove { query, .. }
            | Event::Gone { query, .. } => Subject::Query(Arc::clone(query)),
            Event::Published { publication, .. } | Event::Withdrawn { publication } => {
                Subject::Publication(Arc::clone(publication))
            }
        };
        if self.events.insert(subject.clone(), event).is_none() {
            self.order.push_back(subject);
        }
    }

    /// The next event.
    pub(super) fn next(&mut self) -> Option<Event> {
        let subject = self.order.pop_front()?;
        self.events.remove(&subject)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Nobody wants to know of this query any more.
    pub(super) fn forget(&mut self, query: &Arc<Query>) {
        let subject = Subject::Query(Arc::clone(query));
        if self.events.remove(&subject).is_some() {
            self.order.retain(|other| *other != subject);
        }
    }
}
