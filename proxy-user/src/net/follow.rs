//! The next hops of all backends, kept up to date.
//!
//! One task reads the kernel's notifications, looks again at the addresses that they concern, and publishes the map
//! when it has changed. It also keeps the kernel's neighbour entries alive (see `prober`).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

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
            changes: Watch::open()?,
            backends,
            output,
            tracked: BTreeMap::new(),
            dirty_since: None,
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
    changes: Watch,
    backends: watch::Receiver<BTreeSet<IpAddr>>,
    output: watch::Sender<Arc<Ways>>,
    tracked: BTreeMap<IpAddr, Tracked>,
    /// When the first of the changes not yet looked at came.
    dirty_since: Option<Instant>,
}

/// What is remembered of a backend's address.
struct Tracked {
    /// To be looked at whatever its time.
    dirty: bool,
    /// When it was looked at last.
    seen: Instant,
    way: Option<Way>,
    prober: Prober,
    held: Held,
}

impl Follower {
    async fn run(&mut self) {
        self.adopt();
        loop {
            self.look().await;
            while !self.is_due(Instant::now()) {
                let wake = self.wake();
                tokio::select! {
                    changed = self.backends.changed() => match changed {
                        Ok(()) => self.adopt(),
                        Err(_) => return,
                    },
                    change = self.changes.next() => self.mark(&change),
                    () = tokio::time::sleep_until(wake.into()) => {}
                }
            }
        }
    }

    /// Takes over the wanted set of addresses.
    fn adopt(&mut self) {
        let wanted = self.backends.borrow_and_update().clone();
        self.tracked.retain(|addr, _| wanted.contains(addr));
        for addr in wanted {
            self.tracked.entry(addr).or_insert_with(|| Tracked {
                dirty: true,
                seen: Instant::now(),
                way: None,
                prober: Prober::default(),
                held: Held::default(),
            });
        }
        self.dirty_since.get_or_insert_with(Instant::now);
    }

    /// Marks what a change concerns.
    fn mark(&mut self, change: &Change) {
        let mut any = false;
        for (addr, tracked) in &mut self.tracked {
            let concerns = match change {
                // Of a busy link's neighbours only those in use.
                Change::Neighbour { index, addr: neighbour } => {
                    tracked.way.is_some_and(|way| way.index == *index && way.neighbour(*addr) == *neighbour)
                }
                // The kernel removes a link's routes without a word, and a better route may come with any change.
                _ => true,
            };
            tracked.dirty |= concerns;
            any |= concerns;
        }
        if any {
            self.dirty_since.get_or_insert_with(Instant::now);
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.wake() <= now
    }

    fn wake(&self) -> Instant {
        let dirty = self.dirty_since.map(|since| since + DEBOUNCE);
        let timed = self.tracked.values().map(Tracked::due).min();
        [dirty, timed].into_iter().flatten().min().unwrap_or_else(|| Instant::now() + SLOW)
    }

    /// Looks at every address that is dirty or due and publishes the ways if one is new.
    async fn look(&mut self) {
        let now = Instant::now();
        self.dirty_since = None;
        let mut links: BTreeMap<u32, Option<Link>> = BTreeMap::new();
        let mut ways = Ways::clone(&self.output.borrow());
        ways.retain(|addr, _| self.tracked.contains_key(addr));
        for (addr, tracked) in &mut self.tracked {
            if !tracked.dirty && tracked.due() > now {
                continue;
            }
            tracked.seen = now;
            match tracked.look(&self.netlink, *addr, now, &mut links).await {
                Ok(way) => {
                    tracked.dirty = false;
                    ways.insert(*addr, way);
                }
                Err(error) => {
                    tracing::warn!(%addr, %error, "next hop not looked up; the last one stays");
                    tracked.dirty = true;
                    if let (NetlinkError::Lost { .. }, Ok(fresh)) = (&error, Netlink::open()) {
                        self.netlink = fresh;
                    }
                }
            }
        }
        self.output.send_if_modified(|published| {
            let changed = **published != ways;
            if changed {
                *published = Arc::new(ways);
            }
            changed
        });
    }
}

impl Tracked {
    /// When to look if no change is reported; a look that failed leaves the address dirty.
    fn due(&self) -> Instant {
        match (self.dirty, self.prober.due()) {
            (true, _) => self.seen + RETRY,
            (false, Some(due)) => due.min(self.seen + SLOW),
            (false, None) => self.seen + SLOW,
        }
    }

    async fn look(
        &mut self,
        netlink: &Netlink,
        addr: IpAddr,
        now: Instant,
        links: &mut BTreeMap<u32, Option<Link>>,
    ) -> Result<Result<NextHop, Unreachable>, NetlinkError> {
        let way = match nexthop::way(netlink, addr).await? {
            Ok(way) => way,
            Err(unreachable) => {
                (self.way, self.prober, self.held) = (None, Prober::default(), Held::default());
                return Ok(Err(unreachable));
            }
        };
        let target = (way.index, way.neighbour(addr));
        if self.way.is_some_and(|old| (old.index, old.neighbour(addr)) != target) {
            (self.prober, self.held) = (Prober::default(), Held::default());
        }
        self.way = Some(way);
        if let std::collections::btree_map::Entry::Vacant(vacant) = links.entry(way.index) {
            vacant.insert(link::by_index(netlink, way.index).await?);
        }
        let neighbour = neighbour::look_up(netlink, target.0, target.1).await?;
        if self.prober.step(neighbour, now, chance(addr, self.prober.due()))
            && let Err(error) = neighbour::probe(netlink, target.0, target.1).await
        {
            tracing::debug!(%addr, %error, "neighbour not probed");
        }
        let neighbour = self.held.step(neighbour, now);
        Ok(next_hop(way, links.get(&way.index).and_then(Option::as_ref), neighbour))
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
