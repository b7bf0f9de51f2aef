//! One session: servers, connection, registrations and events brought together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::MissedTickBehavior;

use super::core::{Core, Subject};
use super::handover::{Received, pack, unpack};
use super::inbox::{End, Mail};
use super::link::Link;
use super::page::Pages;
use super::servers::Servers;
use super::settings::Settings;
use crate::registry::source::{
    Client, Ended, Event, Order, Parcel, Publication, Query, Session, SessionError,
};

/// What outlives a session.
#[derive(Debug)]
pub(super) struct SofaClient {
    settings: Arc<Settings>,
    servers: Servers,
    /// The server of the last session, which has ended.
    failed: Option<SocketAddr>,
    /// VIPs whose end nobody has been told yet.
    published: BTreeSet<Arc<Publication>>,
    parcel: Option<Parcel>,
    /// What the last session knew of data centres: the next hears of them one by one.
    left: BTreeMap<Arc<Query>, Pages>,
}

/// A session that runs.
struct Running {
    peer: SocketAddr,
    link: Link,
    core: Core,
    frames: Vec<u8>,
    /// When a push that cannot be read was last answered by asking for everything.
    mended: Option<Instant>,
}

impl SofaClient {
    pub(super) fn new(settings: Settings, parcel: Option<Parcel>) -> Self {
        let settings = Arc::new(settings);
        let servers = Servers::new(Arc::clone(&settings));
        Self { settings, servers, failed: None, published: BTreeSet::new(), parcel, left: BTreeMap::new() }
    }

    async fn run(&mut self, session: &mut Session) -> Result<Ended, SessionError> {
        let order = *session.order.borrow_and_update();
        if order == Order::HandOver {
            return Ok(Ended::HandedOver(self.parcel.take()));
        }
        let mut running = tokio::select! {
            running = self.begin() => running?,
            ended = called_off(session) => return Ok(ended),
        };
        self.failed = Some(running.peer);
        running.core.left = std::mem::take(&mut self.left);
        running.core.outbox.put(Event::Connected { peer: running.peer.to_string() });
        let wanted = Arc::clone(&session.wanted.borrow_and_update());
        running.core.want(&wanted, running.link.inbox());
        running.core.tell_published();
        // Their connection has ended, and they with it.
        self.published.retain(|publication| {
            let stays = running.core.has(publication);
            if !stays {
                running.core.outbox.put(Event::Withdrawn { publication: Arc::clone(publication) });
            }
            stays
        });

        let ended = self.serve(&mut running, session, order).await;
        self.left = running.core.leave();
        match ended? {
            Some(ended) => Ok(ended),
            None => Ok(Ended::HandedOver(running.hand_over().await)),
        }
    }

    /// Serves a session to its end; none if it is to be handed over.
    async fn serve(
        &mut self,
        running: &mut Running,
        session: &mut Session,
        mut order: Order,
    ) -> Result<Option<Ended>, SessionError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refresh = std::pin::pin!(self.servers.clone().keep_fresh());
        loop {
            running.send();
            tokio::select! {
                changed = session.wanted.changed() => {
                    if changed.is_err() {
                        return Ok(Some(Ended::Unwanted));
                    }
                    let wanted = Arc::clone(&session.wanted.borrow_and_update());
                    running.core.want(&wanted, running.link.inbox());
                }
                changed = session.order.changed() => {
                    if changed.is_err() {
                        return Ok(Some(Ended::Unwanted));
                    }
                    let now = *session.order.borrow_and_update();
                    match now {
                        Order::HandOver => return Ok(None),
                        Order::Resync(_) if now != order => running.core.resync(),
                        Order::Resync(_) | Order::Run => {}
                    }
                    order = now;
                }
                room = session.events.reserve(), if !running.core.outbox.is_empty() => match room {
                    Ok(room) => if let Some(event) = running.core.outbox.next() {
                        self.published.note(&event);
                        room.send(event);
                    },
                    Err(_) => return Ok(Some(Ended::Unwanted)),
                },
                () = session.events.closed() => return Ok(Some(Ended::Unwanted)),
                () = running.link.inbox().wait() => running.read()?,
                _ = tick.tick() => running.core.tick(Instant::now(), clock(), &mut running.frames)?,
                () = &mut refresh => {}
            }
        }
    }

    /// Goes on with a connection that was handed over, or makes one.
    async fn begin(&mut self) -> Result<Running, SessionError> {
        let attributes = self.attributes().await?;
        if let Some(parcel) = self.parcel.take() {
            match unpack(parcel).and_then(|received| self.resume(received, attributes.clone())) {
                Ok(running) => return Ok(running),
                Err(why) => {
                    tracing::warn!(why, "the connection to SOFARegistry that was handed over is given up")
                }
            }
        }
        let mut faults = Vec::new();
        for peer in self.servers.order(self.failed).await? {
            let socket = Link::connect(peer, self.settings.connect_timeout).await;
            match socket.and_then(|socket| Link::serve(socket, &[], self.settings.heartbeat)) {
                Ok(link) => {
                    let core = Core::new(Arc::clone(&self.settings), attributes, peer.to_string());
                    return Ok(Running { peer, link, core, frames: Vec::new(), mended: None });
                }
                Err(error) => faults.push(format!("{peer}: {error}")),
            }
        }
        Err(SessionError::Unreachable(faults.join("; ")))
    }

    fn resume(&self, received: Received, attributes: BTreeMap<String, String>) -> Result<Running, String> {
        let peer = received.peer;
        let mut core = Core::new(Arc::clone(&self.settings), attributes, peer.to_string());
        let socket = received.socket.try_clone().map_err(|error| error.to_string())?;
        let link = Link::serve(socket, &received.unread, self.settings.heartbeat);
        let link = link.map_err(|error| error.to_string())?;
        if !received.restore(&mut core, link.inbox()) {
            return Err("something would be registered in another way today".to_owned());
        }
        Ok(Running { peer, link, core, frames: Vec::new(), mended: None })
    }

    /// Attributes of registrations, with those that are in files.
    async fn attributes(&self) -> Result<BTreeMap<String, String>, SessionError> {
        let mut attributes = self.settings.attributes.clone();
        for (key, path) in &self.settings.attribute_files {
            let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                SessionError::Unreachable(format!("attribute \"{key}\" from {}: {error}", path.display()))
            })?;
            attributes.insert(key.clone(), text.trim_end_matches(['\r', '\n']).to_owned());
        }
        Ok(attributes)
    }
}

impl Client for SofaClient {
    fn session<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Ended, SessionError>> {
        self.run(session).boxed()
    }
}

/// Waits until there is no use for a session, before it has begun.
async fn called_off(session: &mut Session) -> Ended {
    loop {
        tokio::select! {
            changed = session.order.changed() => match changed {
                Ok(()) if *session.order.borrow() == Order::HandOver => return Ended::HandedOver(None),
                Ok(()) => {}
                Err(_) => return Ended::Unwanted,
            },
            () = session.events.closed() => return Ended::Unwanted,
        }
    }
}

impl Running {
    /// Sends what may be sent.
    fn send(&mut self) {
        self.core.send(Instant::now(), clock(), &mut self.frames);
        if !self.frames.is_empty() {
            self.link.send(std::mem::take(&mut self.frames));
        }
    }

    /// Reads all that has come.
    fn read(&mut self) -> Result<(), SessionError> {
        let now = Instant::now();
        let Mail { pushes, answers, broken, ended } = self.link.inbox().take();
        for reply in &answers {
            self.core.answered(reply, now, self.link.inbox())?;
        }
        for (name, pushed) in &pushes {
            self.core.pushed(name, pushed);
        }
        if let Some(why) = broken {
            tracing::warn!(peer = %self.peer, why, "a push of SOFARegistry cannot be read");
            if self.mended.is_none_or(|last| now >= last + MEND) {
                self.mended = Some(now);
                self.core.resync();
            }
        }
        let peer = self.peer.to_string();
        match ended {
            Some(End::Lost(why)) => Err(SessionError::Lost { peer, why }),
            Some(End::Protocol(why)) => Err(SessionError::Protocol { peer, why }),
            None => Ok(()),
        }
    }

    /// Stops between two frames and packs what the next process needs.
    async fn hand_over(mut self) -> Option<Parcel> {
        let stopped = self.link.stop().await?;
        // What came meanwhile is acknowledged; the next process asks for all sets anew.
        self.core.outbox = Default::default();
        pack(&self.core, self.peer, stopped)
    }
}

/// Keeps which VIPs are registered.
trait Note {
    fn note(&mut self, event: &Event);
}

impl Note for BTreeSet<Arc<Publication>> {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Published { publication, result: Ok(()) } => {
                self.insert(Arc::clone(publication));
            }
            Event::Withdrawn { publication } => {
                self.remove(publication);
            }
            _ => {}
        }
    }
}

impl Core {
    /// Whether a VIP is registered here, or is to be, or is to end.
    fn has(&self, publication: &Arc<Publication>) -> bool {
        self.entries
            .values()
            .any(|entry| matches!(&entry.subject, Subject::Publication(p) if p == publication))
    }
}

fn clock() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

const TICK: Duration = Duration::from_millis(250);
/// Between two times that everything is asked for because a push cannot be read.
const MEND: Duration = Duration::from_secs(30);
