//! All names of one registry, each with its own clock; a name that is slow or broken delays no other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::task::{AbortHandle, JoinSet};

use super::exchange::Servers;
use super::follow::Follow;
use super::lookup::{Answer, look_up};
use super::settings::{Settings, question};
use crate::registry::source::{Ended, Event, Order, Query, Session, SessionError, Wanted};

/// One session; there is no connection, so it ends only when it is told to.
pub(super) async fn run(settings: &Settings, session: &mut Session) -> Result<Ended, SessionError> {
    let asks = Arc::new(Asks::of(settings).map_err(SessionError::Unreachable)?);
    let mut names = Names { settings, asks, names: BTreeMap::new(), looks: JoinSet::new() };
    session.wanted.mark_changed();
    if session.events.send(names.connected()).await.is_err() {
        return Ok(Ended::Unwanted);
    }
    loop {
        names.begin();
        let next = names.names.values().filter(|name| name.look.is_none()).map(|name| name.due).min();
        let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        let event = tokio::select! {
            changed = session.wanted.changed() => {
                let wanted = Arc::clone(&session.wanted.borrow_and_update());
                if changed.is_err() {
                    return Ok(Ended::Unwanted);
                }
                names.want(&wanted);
                None
            }
            changed = session.order.changed() => {
                let order = *session.order.borrow_and_update();
                match (changed, order) {
                    (Err(_), _) => return Ok(Ended::Unwanted),
                    (_, Order::HandOver) => return Ok(Ended::HandedOver(None)),
                    (_, Order::Resync(_)) => names.resync(),
                    (_, Order::Run) => None,
                }
            }
            Some(ended) = names.looks.join_next() => {
                // A look that was broken off is nobody's.
                ended.ok().and_then(|(query, answer)| names.answered(query, answer))
            }
            () = tokio::time::sleep_until(next.into()) => None,
            () = session.events.closed() => return Ok(Ended::Unwanted),
        };
        if let Some(event) = event
            && session.events.send(event).await.is_err()
        {
            return Ok(Ended::Unwanted);
        }
    }
}

/// Whom to ask, and how.
#[derive(Debug)]
struct Asks {
    servers: Servers,
    peer: String,
    search: Vec<Name>,
    ndots: usize,
}

impl Asks {
    fn of(settings: &Settings) -> Result<Self, String> {
        let system = (settings.servers.is_empty() || settings.search)
            .then(|| {
                std::fs::read(RESOLV_CONF).map_err(|error| format!("cannot read {RESOLV_CONF}: {error}"))
            })
            .transpose()?;
        let system = system
            .map(|text| parse_resolv_conf(text).map_err(|error| format!("{RESOLV_CONF}: {error}")))
            .transpose()?;
        let mut addrs = settings.servers.clone();
        let (mut search, mut ndots) = (Vec::new(), 1);
        if let Some((config, options)) = system {
            if addrs.is_empty() {
                addrs = config.name_servers.iter().map(|server| SocketAddr::new(server.ip, 53)).collect();
            }
            if settings.search {
                (search, ndots) = (config.search, options.ndots);
            }
        }
        let peer = addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Ok(Self { servers: Servers::new(addrs, settings.timeout, settings.attempts), peer, search, ndots })
    }
}

struct Names<'a> {
    settings: &'a Settings,
    asks: Arc<Asks>,
    names: BTreeMap<Arc<Query>, Followed>,
    looks: JoinSet<(Arc<Query>, Answer)>,
}

struct Followed {
    follow: Follow,
    due: Instant,
    look: Option<AbortHandle>,
    again: bool,
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(look) = &self.look {
            look.abort();
        }
    }
}

impl Names<'_> {
    fn connected(&self) -> Event {
        Event::Connected { peer: self.asks.peer.clone() }
    }

    fn want(&mut self, wanted: &Wanted) {
        let now = Instant::now();
        self.names.retain(|query, _| wanted.queries.contains(query));
        for query in &wanted.queries {
            self.names.entry(Arc::clone(query)).or_insert_with(|| Followed {
                follow: Follow::default(),
                due: now,
                look: None,
                again: false,
            });
        }
    }

    /// Asks for everything at once, of the servers that the system names now.
    fn resync(&mut self) -> Option<Event> {
        let before = Arc::clone(&self.asks);
        match Asks::of(self.settings) {
            Ok(asks) => self.asks = Arc::new(asks),
            Err(error) => tracing::warn!(%error, "asking the same name servers as before"),
        }
        let now = Instant::now();
        for name in self.names.values_mut() {
            (name.due, name.again) = (now, name.look.is_some());
            name.follow.tell_again();
        }
        (before.peer != self.asks.peer).then(|| self.connected())
    }

    fn begin(&mut self) {
        let now = Instant::now();
        for (query, name) in self.names.iter_mut().filter(|(_, name)| name.look.is_none() && name.due <= now)
        {
            let (query, asks) = (Arc::clone(query), Arc::clone(&self.asks));
            let look = self.looks.spawn(async move {
                // In a task of its own, so that whatever happens to it there is an answer.
                let inner = Arc::clone(&query);
                let mut inner = JoinSet::from_iter([async move { asks.answer(&inner).await }]);
                let broken = || Answer::Failed("the look-up itself failed".to_owned());
                (query, inner.join_next().await.and_then(Result::ok).unwrap_or_else(broken))
            });
            name.look = Some(look);
        }
    }

    fn answered(&mut self, query: Arc<Query>, answer: Answer) -> Option<Event> {
        let name = self.names.get_mut(&query)?;
        let now = Instant::now();
        let (told, wait) = name.follow.answered(now, answer, self.settings, fastrand::f64());
        name.look = None;
        name.due = if std::mem::take(&mut name.again) { now } else { now + wait };
        Some(match told? {
            Ok(set) => Event::Reset { query, set },
            Err(why) => Event::Gone { query, why },
        })
    }
}

impl Asks {
    async fn answer(&self, query: &Query) -> Answer {
        match question(query) {
            Ok(question) => look_up(&self.servers, &question, &self.search, self.ndots).await,
            Err(fault) => Answer::Failed(fault.to_string()),
        }
    }
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
