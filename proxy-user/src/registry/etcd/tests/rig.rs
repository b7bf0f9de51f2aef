//! A session with the driver's end in the test's hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::model::BackendAddr;
use crate::registry::etcd::client;
use crate::registry::etcd::settings::Settings;
use crate::registry::source::{
    Ended, Endpoint, Event, Order, Publication, Query, Session, SessionError, Wanted,
};

/// A session that runs. Dropping it ends it.
pub(super) struct Rig {
    wanted: watch::Sender<Arc<Wanted>>,
    pub(super) order: watch::Sender<Order>,
    pub(super) events: mpsc::Receiver<Event>,
    task: JoinHandle<Result<Ended, SessionError>>,
    /// What is known of each query: ports by address, refused entries; none after [`Event::Gone`].
    known: BTreeMap<Arc<Query>, Option<Known>>,
    /// What was said of registrations.
    pub(super) registered: Vec<Told>,
}

/// A registration, and what the server says of it; none if it is withdrawn.
pub(super) type Told = (Arc<Publication>, Option<Result<(), String>>);

/// A set as the events have made it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    pub(super) endpoints: BTreeMap<BackendAddr, Endpoint>,
    pub(super) rejected: u64,
}

impl Known {
    /// The endpoints' ports, in order.
    pub(super) fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.endpoints.keys().map(|addr| addr.port).collect();
        ports.sort_unstable();
        ports
    }
}

/// A query with options.
pub(super) fn query(service: &str, options: &[(&str, &str)]) -> Arc<Query> {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Arc::new(Query { service: service.to_owned(), options })
}

impl Rig {
    /// Begins a session that follows these queries.
    pub(super) fn begin(settings: &Settings, queries: &[&Arc<Query>]) -> Self {
        let (wanted, wanted_rx) = watch::channel(Arc::new(Wanted::default()));
        let (order, order_rx) = watch::channel(Order::Run);
        let (events_tx, events) = mpsc::channel(16);
        let mut client = client(settings, None);
        let mut session = Session { wanted: wanted_rx, order: order_rx, events: events_tx };
        let rig = Self {
            wanted,
            order,
            events,
            task: tokio::spawn(async move { client.session(&mut session).await }),
            known: BTreeMap::new(),
            registered: Vec::new(),
        };
        rig.want(queries, &[]);
        rig
    }

    /// Changes what is wanted.
    pub(super) fn want(&self, queries: &[&Arc<Query>], publications: &[&Arc<Publication>]) {
        let queries: BTreeSet<_> = queries.iter().map(|query| Arc::clone(query)).collect();
        let publications = publications.iter().map(|publication| Arc::clone(publication)).collect();
        self.wanted.send_replace(Arc::new(Wanted { queries, publications }));
    }

    /// The next event; what it says of sets is taken over.
    pub(super) async fn event(&mut self) -> Event {
        let event = timeout(PATIENCE, self.events.recv()).await.expect("no event");
        let Some(event) = event else { panic!("the session has ended: {:?}", (&mut self.task).await) };
        match &event {
            Event::Reset { query, set } => {
                let endpoints =
                    set.endpoints.iter().map(|endpoint| (endpoint.addr, endpoint.clone())).collect();
                self.known.insert(Arc::clone(query), Some(Known { endpoints, rejected: set.rejected_count }));
            }
            Event::Add { query, set } => {
                let known = self.known.get_mut(query).unwrap().as_mut().unwrap();
                known
                    .endpoints
                    .extend(set.endpoints.iter().map(|endpoint| (endpoint.addr, endpoint.clone())));
                known.rejected = set.rejected_count;
            }
            Event::Remove { query, addrs, .. } => {
                let known = self.known.get_mut(query).unwrap().as_mut().unwrap();
                addrs.iter().for_each(|addr| {
                    known.endpoints.remove(addr).unwrap();
                });
            }
            Event::Gone { query, .. } => drop(self.known.insert(Arc::clone(query), None)),
            Event::Published { publication, result } => {
                self.registered.push((Arc::clone(publication), Some(result.clone())));
            }
            Event::Withdrawn { publication } => self.registered.push((Arc::clone(publication), None)),
            Event::Connected { .. } => {}
        }
        event
    }

    /// Waits until a query's set has these ports.
    pub(super) async fn ports(&mut self, query: &Arc<Query>, ports: &[u16]) {
        self.until(query, |known| known.ports() == ports).await;
    }

    /// Waits until a query's set is as meant.
    pub(super) async fn until(&mut self, query: &Arc<Query>, meant: impl Fn(&Known) -> bool) {
        let known = |rig: &Self| rig.known.get(query).cloned().flatten();
        while !known(self).is_some_and(|known| meant(&known)) {
            let event = timeout(PATIENCE, self.event()).await;
            assert!(event.is_ok(), "{query:?} stays {:?}", known(self));
        }
    }

    /// Waits for the session's end.
    pub(super) async fn end(mut self) -> Result<Ended, SessionError> {
        let end = async {
            while self.events.recv().await.is_some() {}
            (&mut self.task).await.unwrap()
        };
        timeout(PATIENCE, end).await.expect("the session does not end")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
