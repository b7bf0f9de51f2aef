//! What has changed, for the event log: worked out from two views of a service.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::service::flows;
use crate::catalog::snapshot::{Hold, HoldReason, Knowledge, Pooled, SourceStatus, Standing};
use crate::model::BackendAddr;

/// A change of a service's view.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When it was noticed.
    pub at: Timestamp,
    /// Service.
    pub service: String,
    /// What has changed.
    pub what: What,
}

/// What can change.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Backends stand otherwise than before.
    Backends {
        /// How they stood; none for new ones.
        from: Option<Standing>,
        /// How they stand; none for forgotten ones.
        to: Option<Standing>,
        /// Which, in order of address.
        addrs: Vec<BackendAddr>,
    },
    /// Another thing is known of a source.
    Source {
        /// Registry.
        registry: Arc<str>,
        /// Name of the service there.
        name: String,
        /// What is known.
        state: Knowledge,
        /// Endpoints in use of it.
        endpoints: usize,
    },
    /// Removals wait, or wait for another reason, or others do.
    Held(Hold),
    /// No removal waits any more.
    HoldOver,
    /// Whether so few are up that health is not looked at.
    Panic(bool),
    /// A source has not answered yet, and removals wait for it.
    Overdue {
        /// Registry.
        registry: Arc<str>,
    },
}

/// Everything that differs between two views of a service.
pub(super) fn differences(service: &str, old: &Pooled, new: &Pooled, at: Timestamp) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut say = |what| changes.push(Change { at, service: service.to_owned(), what });
    for status in &new.sources {
        let before =
            old.sources.iter().find(|old| old.registry == status.registry && old.query == status.query);
        if before.map(kind) != Some(kind(status)) {
            say(What::Source {
                registry: status.registry.clone(),
                name: status.query.service.clone(),
                state: status.state.clone(),
                endpoints: status.endpoints,
            });
        }
    }
    for ((from, to), addrs) in moves(old, new) {
        let (from, to) = (from.map(|place| place.0), to.map(|place| place.0));
        say(What::Backends { from, to, addrs });
    }
    match (&old.hold, &new.hold) {
        (Some(_), None) => say(What::HoldOver),
        (before, Some(hold))
            if before.as_ref().is_none_or(|old| old.why != hold.why || old.addrs != hold.addrs) =>
        {
            say(What::Held(hold.clone()));
        }
        _ => {}
    }
    if old.panic != new.panic {
        say(What::Panic(new.panic));
    }
    changes
}

/// Backends that stand otherwise, by how they stood and stand.
fn moves(old: &Pooled, new: &Pooled) -> BTreeMap<(Option<Place>, Option<Place>), Vec<BackendAddr>> {
    let mut moves: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (addr, candidate) in &new.candidates {
        let before = old.candidates.get(addr).map(|old| &old.standing);
        if before.map(stage) != Some(stage(&candidate.standing)) {
            let key = (before.cloned().map(Place), Some(Place(candidate.standing.clone())));
            moves.entry(key).or_default().push(*addr);
        }
    }
    for (addr, candidate) in old.candidates.iter().filter(|(addr, _)| !new.candidates.contains_key(addr)) {
        moves.entry((Some(Place(candidate.standing.clone())), None)).or_default().push(*addr);
    }
    moves
}

/// A standing that is the same for all that stand alike.
#[derive(Clone, Debug)]
struct Place(Standing);

impl Place {
    fn key(&self) -> (u8, &str) {
        let why = match &self.0 {
            Standing::Refused { why } => why.as_str(),
            _ => "",
        };
        (stage(&self.0), why)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

fn stage(standing: &Standing) -> u8 {
    match standing {
        Standing::Used => 0,
        Standing::Held => 1,
        Standing::Disabled => 2,
        Standing::Down => 3,
        Standing::Unchecked => 4,
        Standing::Standby => 5,
        Standing::Leaving { .. } => 6,
        Standing::Refused { .. } => 7,
    }
}

/// A source that fails for another reason than before is no news.
fn kind(status: &SourceStatus) -> (u8, bool) {
    match &status.state {
        Knowledge::Known => (0, false),
        Knowledge::Empty => (1, false),
        Knowledge::Unknown { remembered, .. } => (2, *remembered),
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backends { from, to, addrs } => {
                let verb = match (from, to) {
                    (_, None) => "forgotten",
                    (None, Some(Standing::Used)) => "found",
                    (Some(from), Some(Standing::Used)) if !flows(from) => "in use again",
                    (_, Some(to)) => word(to),
                };
                write!(f, "{} {verb}: {}", counted(addrs.len(), "backend"), First(addrs))?;
                match to {
                    Some(Standing::Refused { why }) => write!(f, ": {why}"),
                    _ => Ok(()),
                }
            }
            Self::Source { registry, name, state, endpoints } => {
                write!(f, "registry {registry}, {name:?}: ")?;
                match state {
                    Knowledge::Known => write!(f, "{} known", counted(*endpoints, "endpoint")),
                    Knowledge::Empty => write!(f, "it says that there are none"),
                    Knowledge::Unknown { why, .. } => {
                        write!(f, "unknown ({why}); {} stay in use", counted(*endpoints, "endpoint"))
                    }
                }
            }
            Self::Held(hold) => {
                let why = match hold.why {
                    HoldReason::FirstSync => "a source has not answered yet",
                    HoldReason::Minimum => "fewer than guard.min would be left",
                    HoldReason::Share => "more than guard.max_removed would go at once",
                };
                write!(f, "{} held: {}: {why}", counted(hold.addrs.len(), "removal"), First(&hold.addrs))?;
                match hold.until {
                    Some(until) => write!(f, "; until {until}, or `weir registry accept`"),
                    None => write!(f, "; until `weir registry accept`"),
                }
            }
            Self::HoldOver => write!(f, "no removal is held any more"),
            Self::Panic(true) => write!(f, "too few backends are up: health is not looked at"),
            Self::Panic(false) => write!(f, "enough backends are up: health is looked at again"),
            Self::Overdue { registry } => write!(
                f,
                "registry {registry} has not answered yet: no endpoint is removed until it does, or \
                 `weir registry accept`"
            ),
        }
    }
}

fn word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Used => "in use",
        Standing::Held => "in use, though no longer registered",
        Standing::Disabled => "disabled by the registry",
        Standing::Down => "down",
        Standing::Unchecked => "not checked yet",
        Standing::Standby => "standing by",
        Standing::Leaving { .. } => "no longer registered",
        Standing::Refused { .. } => "refused",
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The first few of many addresses.
struct First<'a>(&'a [BackendAddr]);

impl fmt::Display for First<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, addr) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{addr}", if index == 0 { "" } else { ", " })?;
        }
        if self.0.len() > SHOWN { write!(f, ", ...") } else { Ok(()) }
    }
}

/// Addresses that a line of the log names.
const SHOWN: usize = 8;
