//! What weir registers: one key for each publication, all on one lease that is kept alive while the session lasts. A key that
//! somebody deletes is written again, and so are all after a lease that has ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tonic::Response;

use super::generated::{
    DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, RangeRequest,
};
use super::register::Registration;
use super::server::{Failure, Server};
use super::settings::Settings;
use crate::registry::source::{Event, Publication, SessionError, Wanted};

/// Registers what is wanted, and says why it cannot any more.
pub(super) async fn run(
    settings: &Settings,
    server: Server,
    mut wanted: watch::Receiver<Arc<Wanted>>,
    events: mpsc::Sender<Event>,
) -> SessionError {
    let mut registrar = Registrar { settings, server, events, lease: None, keys: BTreeMap::new() };
    loop {
        let now = Arc::clone(&wanted.borrow_and_update());
        if let Err(error) = registrar.bring_about(&now).await {
            return error;
        }
        let idle = registrar.keys.is_empty();
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() {
                // Whoever follows ends the session.
                std::future::pending::<()>().await;
            },
            () = sleep(settings.lease / PARTS), if !idle => if let Err(error) = registrar.keep().await {
                return error;
            },
        }
    }
}

struct Registrar<'a> {
    settings: &'a Settings,
    server: Server,
    events: mpsc::Sender<Event>,
    lease: Option<i64>,
    /// What is registered or tried: its key, and whether it is there.
    keys: BTreeMap<Arc<Publication>, (String, bool)>,
}

impl Registrar<'_> {
    /// Withdraws what is no longer wanted, and registers what is not there.
    async fn bring_about(&mut self, wanted: &Wanted) -> Result<(), SessionError> {
        let gone: Vec<_> = self
            .keys
            .keys()
            .filter(|publication| !wanted.publications.contains(*publication))
            .cloned()
            .collect();
        if gone.is_empty() && wanted.publications.is_empty() {
            return Ok(());
        }
        self.server.authenticate(self.settings).await?;
        for publication in gone {
            self.withdraw(publication, wanted).await?;
        }
        for publication in &wanted.publications {
            if self.keys.get(publication).is_none_or(|(_, there)| !there) {
                self.register(publication).await?;
            }
        }
        Ok(())
    }

    async fn register(&mut self, publication: &Arc<Publication>) -> Result<(), SessionError> {
        let result = match Registration::of(publication) {
            Err(fault) => Err(fault.to_string()),
            Ok(Registration { key, value }) => {
                self.keys.insert(Arc::clone(publication), (key.clone(), false));
                let put = self.put(&key, value).await;
                let result = refusal(put)?;
                self.keys.insert(Arc::clone(publication), (key, result.is_ok()));
                result
            }
        };
        self.tell(Event::Published { publication: Arc::clone(publication), result }).await;
        Ok(())
    }

    async fn put(&mut self, key: &str, value: String) -> Result<(), Failure> {
        let lease = self.lease().await?;
        let request = PutRequest { key: key.to_owned().into_bytes(), value: value.into_bytes(), lease };
        self.server.ask(self.server.kv().put(request)).await.map(drop)
    }

    /// Deletes a registration's key. One that the server does not delete is tried again with the lease's next sign of life.
    async fn withdraw(&mut self, publication: Arc<Publication>, wanted: &Wanted) -> Result<(), SessionError> {
        let Some((key, _)) = self.keys.get(&publication).cloned() else { return Ok(()) };
        // Another publication of the same key has it from now on.
        let inherited = wanted
            .publications
            .iter()
            .any(|other| Registration::of(other).is_ok_and(|registration| registration.key == key));
        if !inherited {
            let request = DeleteRangeRequest { key: key.clone().into_bytes(), range_end: Vec::new() };
            if let Err(why) = refusal(self.server.ask(self.server.kv().delete_range(request)).await)? {
                tracing::warn!(
                    peer = self.server.peer,
                    key,
                    why,
                    "etcd does not delete a registration of weir's"
                );
                return Ok(());
            }
        }
        self.keys.remove(&publication);
        self.tell(Event::Withdrawn { publication }).await;
        Ok(())
    }

    /// Gives the lease its next sign of life and looks whether the keys are there.
    async fn keep(&mut self) -> Result<(), SessionError> {
        self.server.authenticate(self.settings).await?;
        if let Some(id) = self.lease {
            let request = stream::iter([LeaseKeepAliveRequest { id }]);
            let mut lease = self.server.lease();
            let answer = async {
                lease.lease_keep_alive(request).await?.into_inner().message().await.map(Response::new)
            };
            let answer = refusal(self.server.ask(answer).await)?;
            if let Err(why) = &answer {
                tracing::warn!(
                    peer = self.server.peer,
                    why,
                    "etcd does not renew the lease of weir's registrations"
                );
            } else if answer.is_ok_and(|answer| answer.is_none_or(|answer| answer.ttl <= 0)) {
                tracing::warn!(
                    peer = self.server.peer,
                    "etcd: the lease of weir's registrations has ended; they are written again"
                );
                self.lease = None;
                self.keys.values_mut().for_each(|(_, there)| *there = false);
            }
        }
        for (key, there) in self.keys.values_mut().filter(|(_, there)| *there) {
            let request = RangeRequest { key: key.clone().into_bytes(), limit: 1, ..RangeRequest::default() };
            if let Ok(found) = refusal(self.server.ask(self.server.kv().range(request)).await)? {
                *there = !found.kvs.is_empty();
            }
        }
        Ok(())
    }

    async fn lease(&mut self) -> Result<i64, Failure> {
        if let Some(lease) = self.lease {
            return Ok(lease);
        }
        let ttl = i64::try_from(self.settings.lease.as_secs()).unwrap_or(i64::MAX);
        let granted = self.server.ask(self.server.lease().lease_grant(LeaseGrantRequest { ttl })).await?;
        self.lease = Some(granted.id);
        Ok(granted.id)
    }

    async fn tell(&self, event: Event) {
        // If nobody listens, whoever follows ends the session.
        let _ = self.events.send(event).await;
    }
}

/// What the server refuses of one registration; the session goes on, and others with it.
fn refusal<T>(answer: Result<T, Failure>) -> Result<Result<T, String>, SessionError> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(Failure::Query(why) | Failure::TooLong(why)) => Ok(Err(why)),
        Err(Failure::Session(error)) => Err(error),
    }
}

/// Signs of life within a lease's time.
const PARTS: u32 = 3;
