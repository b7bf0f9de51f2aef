//! The next hops of all backends, kept up to date.
//!
//! One task reads the kernel's notifications, looks again at the addresses that they concern, and publishes the map
//! when it has changed. It also keeps the kernel's neighbour entries alive (see `prober`).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::batch::Batch;
use super::link::{self, Link};
use super::neighbour::{self, Neighbour};
use super::netlink::{Netlink, NetlinkError};
use super::nexthop::{self, Unreachable, Way, next_hop};
use super::prober::Prober;
use super::watch::{Change, Watch};
use crate::model::NextHop;

/// The way to each backend. An address is missing until it was looked up once.
pub type Ways = BTreeMap<IpAddr, Result<NextHop, Unreachable>>;

/// The follower. Ends when dropped, or when the sender of the backends' addresses is gone.
#[derive(Debug)]
pub struct NextHops {
    ways: watch::Receiver<Arc<Ways>>,
    task: AbortHandle,
}

impl NextHops {
    /// Follows the ways to the addresses that `backends` holds, in the network namespace of the calling thread. Must
    /// be called within a tokio runtime.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn follow(backends: watch::Receiver<BTreeSet<IpAddr>>) -> Result<Self, NetlinkError> {
        let (output, ways) = watch::channel(Arc::default());
        let mut follower = Follower {
            netlink: Netlink::open()?,
            batch: Batch::open()?,
            changes: Watch::open()?,
            backends,
            output,
            tracked: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            dirty_since: None,
            neighbours_since: None,
            last_look: Duration::ZERO,
        };
        let task = tokio::spawn(async move { follower.run().await }).abort_handle();
        Ok(Self { ways, task })
    }

    /// The ways; published only when they change.
    #[must_use]
    pub fn ways(&self) -> watch::Receiver<Arc<Ways>> {
        self.ways.clone()
    }
}

impl Drop for NextHops {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    netlink: Netlink,
    batch: Batch,
    changes: Watch,
    backends: watch::Receiver<BTreeSet<IpAddr>>,
    output: watch::Sender<Arc<Ways>>,
    tracked: BTreeMap<IpAddr, Tracked>,
    neighbours: BTreeMap<Hop, Asked>,
    /// When the first of the changes of links and routes not yet looked at came.
    dirty_since: Option<Instant>,
    /// The same for neighbours.
    neighbours_since: Option<Instant>,
    /// How long the last look took: with many addresses, changes of links and routes are looked at less often.
    last_look: Duration,
}

/// Interface and neighbour that packets are sent to.
type Hop = (u32, IpAddr);

/// What is remembered of a backend's address.
struct Tracked {
    /// To be looked at whatever its time.
    dirty: bool,
    /// When it was looked at last.
    seen: Instant,
    way: Result<Way, Unreachable>,
}

/// What is remembered of a neighbour; many backends may be behind one.
#[derive(Default)]
struct Asked {
    dirty: bool,
    prober: Prober,
    held: Held,
    neighbour: Option<Neighbour>,
}

impl Follower {
    async fn run(&mut self) {
        self.adopt();
        loop {
            let begun = Instant::now();
            if let Err(error) = self.look(begun).await {
                tracing::warn!(%error, "next hops not looked up; the last ones stay");
                self.reopen();
                tokio::time::sleep(RETRY).await;
                continue;
            }
            self.last_look = begun.elapsed();
            while !self.is_due(Instant::now()) {
                let wake = self.wake();
                tokio::select! {
                    changed = self.backends.changed() => match changed {
                        // New backends wait for nothing.
                        Ok(()) => if self.adopt() { break },
                        Err(_) => return,
                    },
                    change = self.changes.next() => self.mark(&change),
                    () = tokio::time::sleep_until(wake.into()) => {}
                }
            }
        }
    }

    fn reopen(&mut self) {
        if let Ok(fresh) = Netlink::open() {
            self.netlink = fresh;
        }
        if let Ok(fresh) = Batch::open() {
            self.batch = fresh;
        }
    }

    /// Takes over the wanted set of addresses; says whether there is something to look at or to forget.
    fn adopt(&mut self) -> bool {
        let wanted = self.backends.borrow_and_update().clone();
        let before = self.tracked.len();
        self.tracked.retain(|addr, _| wanted.contains(addr));
        let mut changed = before != self.tracked.len();
        let seen = Instant::now();
        for addr in wanted {
            self.tracked.entry(addr).or_insert_with(|| {
                changed = true;
                Tracked { dirty: true, seen, way: Err(Unreachable::NoRoute) }
            });
        }
        changed
    }

    /// Marks what a change concerns.
    fn mark(&mut self, change: &Change) {
        match change {
            // Of a busy link's neighbours only those in use.
            Change::Neighbour { index, addr } => {
                if let Some(asked) = self.neighbours.get_mut(&(*index, *addr)) {
                    asked.dirty = true;
                    self.neighbours_since.get_or_insert_with(Instant::now);
                }
            }
            // The kernel removes a link's routes without a word, and a better route may come with any change.
            _ => {
                self.tracked.values_mut().for_each(|tracked| tracked.dirty = true);
                if !self.tracked.is_empty() {
                    self.dirty_since.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.wake() <= now
    }

    fn wake(&self) -> Instant {
        let dirty = self.dirty_since.map(|since| since + DEBOUNCE.max(self.last_look * 4));
        let neighbours = self.neighbours_since.map(|since| since + NEIGHBOUR_DEBOUNCE);
        let slow = self.tracked.values().map(|tracked| tracked.seen + SLOW).min();
        let asked = self.neighbours.values().filter_map(|asked| asked.prober.due()).min();
        [dirty, neighbours, slow, asked].into_iter().flatten().min().unwrap_or_else(|| Instant::now() + SLOW)
    }

    /// Looks at every address and neighbour that is dirty or due, and publishes the ways if one is new.
    async fn look(&mut self, now: Instant) -> Result<(), NetlinkError> {
        (self.dirty_since, self.neighbours_since) = (None, None);
        let mut fresh = self.look_up_ways(now).await?;
        fresh.extend(self.look_up_neighbours(now).await?);
        let mut links: BTreeMap<u32, Option<Link>> = BTreeMap::new();
        let mut ways = Ways::clone(&self.output.borrow());
        ways.retain(|addr, _| self.tracked.contains_key(addr));
        for (addr, tracked) in &self.tracked {
            let way = match &tracked.way {
                Ok(way) => way,
                Err(unreachable) => {
                    ways.insert(*addr, Err(unreachable.clone()));
                    continue;
                }
            };
            let hop = (way.index, way.neighbour(*addr));
            if !fresh.contains(&hop) && ways.contains_key(addr) {
                continue;
            }
            if let Entry::Vacant(vacant) = links.entry(way.index) {
                vacant.insert(link::by_index(&self.netlink, way.index).await?);
            }
            let neighbour = self.neighbours.get(&hop).and_then(|asked| asked.neighbour);
            let link = links.get(&way.index).and_then(Option::as_ref);
            ways.insert(*addr, next_hop(*way, link, neighbour.unwrap_or(Neighbour::Absent)));
        }
        self.output.send_if_modified(|published| {
            let changed = **published != ways;
            if changed {
                *published = Arc::new(ways);
            }
            changed
        });
        Ok(())
    }

    /// Asks for routes; answers the neighbours that they lead to, which are to be asked for as well.
    async fn look_up_ways(&mut self, now: Instant) -> Result<BTreeSet<Hop>, NetlinkError> {
        let due = |tracked: &Tracked| tracked.dirty || tracked.seen + SLOW <= now;
        let addrs: Vec<IpAddr> =
            self.tracked.iter().filter(|(_, tracked)| due(tracked)).map(|(addr, _)| *addr).collect();
        let requests = addrs.iter().map(|addr| nexthop::request(*addr)).collect();
        let answers = self.batch.ask("look up routes", 0, requests).await?;
        for (addr, answer) in addrs.iter().zip(answers) {
            let Some(tracked) = self.tracked.get_mut(addr) else { continue };
            tracked.seen = now;
            tracked.way = match answer {
                Ok(answer) => nexthop::answered(answer.as_ref()),
                Err(error) => match nexthop::refused(error.raw_os_error()) {
                    Some(unreachable) => Err(unreachable),
                    None => {
                        tracing::warn!(%addr, %error, "next hop not looked up; the last one stays");
                        continue;
                    }
                },
            };
            tracked.dirty = false;
        }
        let hop = |(addr, tracked): (&IpAddr, &Tracked)| {
            tracked.way.as_ref().ok().map(|way| (way.index, way.neighbour(*addr)))
        };
        let in_use: BTreeSet<Hop> = self.tracked.iter().filter_map(hop).collect();
        self.neighbours.retain(|hop, _| in_use.contains(hop));
        for hop in in_use {
            self.neighbours.entry(hop).or_default();
        }
        Ok(addrs.iter().filter_map(|addr| hop((addr, self.tracked.get(addr)?))).collect())
    }

    /// Asks for the neighbours that are new, changed or due, makes the kernel resolve those that need it, and answers
    /// which were looked at.
    async fn look_up_neighbours(&mut self, now: Instant) -> Result<BTreeSet<Hop>, NetlinkError> {
        let due = |asked: &Asked| {
            asked.dirty || asked.neighbour.is_none() || asked.prober.due().is_some_and(|due| due <= now)
        };
        let hops: Vec<Hop> =
            self.neighbours.iter().filter(|(_, asked)| due(asked)).map(|(hop, _)| *hop).collect();
        let requests = hops.iter().map(|(index, addr)| neighbour::request(*index, *addr)).collect();
        let answers = self.batch.ask("look up neighbours", 0, requests).await?;
        let mut probes = Vec::new();
        for (hop, answer) in hops.iter().zip(answers) {
            let found = match answer {
                Ok(answer) => neighbour::answered(answer.as_ref()),
                Err(error) if error.raw_os_error().is_some_and(neighbour::is_absent) => Neighbour::Absent,
                Err(error) => {
                    tracing::warn!(addr = %hop.1, %error, "neighbour not looked up; the last answer stays");
                    continue;
                }
            };
            let Some(asked) = self.neighbours.get_mut(hop) else { continue };
            asked.dirty = false;
            if asked.prober.step(found, now, chance(hop.1, asked.prober.due())) {
                probes.push(neighbour::probe_request(hop.0, hop.1));
            }
            asked.neighbour = Some(asked.held.step(found, now));
        }
        let refused = self.batch.ask("probe neighbours", neighbour::PROBE_FLAGS, probes).await?;
        for error in refused.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "neighbour not probed");
        }
        Ok(hops.into_iter().collect())
    }
}

/// Keeps using a MAC address for a moment when the kernel has removed the entry without finding it wrong.
#[derive(Default)]
struct Held {
    mac: Option<[u8; 6]>,
    lost: Option<Instant>,
}

impl Held {
    fn step(&mut self, neighbour: Neighbour, now: Instant) -> Neighbour {
        match (neighbour, self.mac) {
            (Neighbour::Absent | Neighbour::Asking, Some(mac))
                if now < *self.lost.get_or_insert(now) + HOLD =>
            {
                Neighbour::Stale(mac)
            }
            _ => {
                *self = Self { mac: neighbour.mac(), lost: None };
                neighbour
            }
        }
    }
}

/// Differs by address and by turn; need not be unpredictable.
fn chance(addr: IpAddr, due: Option<Instant>) -> u8 {
    let mut hasher = DefaultHasher::new();
    (addr, due).hash(&mut hasher);
    let [byte, ..] = hasher.finish().to_ne_bytes();
    byte
}

/// From the first change to the look at it, so that a burst costs one look.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// The same for neighbours: each is one cheap look-up, and new flows may be waiting for it.
const NEIGHBOUR_DEBOUNCE: Duration = Duration::from_millis(1);
/// Between looks at an address that nothing reports a change of.
const SLOW: Duration = Duration::from_secs(30);
/// After a look that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Longer than the kernel needs to find a living neighbour again.
const HOLD: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_neighbour_is_used_for_a_moment_and_a_failed_one_is_not() {
        let now = Instant::now();
        let mac = [2; 6];
        let mut held = Held::default();
        assert_eq!(held.step(Neighbour::Absent, now), Neighbour::Absent);
        held.step(Neighbour::Confirmed(mac), now);
        assert_eq!(held.step(Neighbour::Absent, now), Neighbour::Stale(mac));
        assert_eq!(held.step(Neighbour::Asking, now + HOLD / 2), Neighbour::Stale(mac));
        assert_eq!(held.step(Neighbour::Asking, now + HOLD), Neighbour::Asking);
        held.step(Neighbour::Confirmed(mac), now);
        assert_eq!(held.step(Neighbour::Failed, now), Neighbour::Failed);
        assert_eq!(held.step(Neighbour::Asking, now), Neighbour::Asking);
    }
}
