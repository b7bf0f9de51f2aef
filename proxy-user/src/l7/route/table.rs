//! Virtual hosts, compiled.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::matches::{self, Asking};
use super::ranges::Ranges;
use super::target::{Elsewhere, Rewriting};
use crate::l7::codec::HeaderEdit;
use crate::l7::snapshot::{Action, HeaderChange, Matches, Mirror, Retry, Route, VirtualHost};
use crate::l7::stats::Tally;

/// Virtual hosts of one service.
#[derive(Debug)]
pub struct VirtualHosts {
    exact: HashMap<Vec<u8>, usize>,
    /// Domains with their leading dot, longest first.
    under: Vec<(Vec<u8>, usize)>,
    any: Option<usize>,
    hosts: Vec<Vec<Compiled>>,
}

#[derive(Debug)]
struct Compiled {
    matches: Matches,
    /// [`Matches::sources`], for look-ups.
    sources: Ranges,
    /// [`Route::looks_at_path`].
    looks_at_path: bool,
    taken: Rc<Taken>,
}

/// A route as a request takes it.
#[derive(Debug)]
pub struct Taken {
    /// Its name: `HOST/ROUTE`.
    pub name: String,
    /// What becomes of the request.
    pub does: Does,
    /// What the upstream gets instead of path and host; none: what the client has sent.
    pub rewriting: Option<Rewriting>,
    /// For the whole request; none: the service's.
    pub timeout: Option<Duration>,
    /// What is tried again.
    pub retry: Retry,
    /// Changes to the request's headers.
    pub request_headers: Vec<HeaderChange>,
    /// Changes to the answer's headers.
    pub response_headers: Vec<HeaderChange>,
    /// Who gets a copy.
    pub mirror: Option<Mirror>,
    /// For [`Taken::mirrors`].
    mirror_turn: Cell<u8>,
    /// What is counted of it. A route of the same name goes on with them after a change.
    pub counters: Rc<RouteCounters>,
}

/// Counters of a route.
#[derive(Debug, Default)]
pub struct RouteCounters {
    /// Requests so far.
    pub requests: Cell<u64>,
    /// Their answers.
    pub answers: Tally,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Does {
    /// It goes to one of these.
    Forward(Turns),
    /// `Location` with a status.
    Redirect(u16, Elsewhere),
    /// A status with a body.
    Direct(u16, String),
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// To the service that it came to.
    Itself,
    /// To a service of this name.
    Named(&'a str),
}

/// Weighted destinations in turn: of as many requests as the weights add up to, each gets its weight.
#[derive(Debug)]
pub struct Turns {
    /// Each with the sum of the weights up to it.
    bounds: Vec<(u64, String)>,
    turn: Cell<u64>,
    stride: u64,
}

impl Turns {
    fn new(destinations: &[(String, u64)]) -> Self {
        let mut total: u64 = 0;
        let bounds: Vec<_> = destinations
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(name, weight)| {
                total += weight;
                (total, name.clone())
            })
            .collect();
        // Steps over the sum that meet every place once, and spread the turns of each destination.
        let near = total * 618 / 1000;
        let stride = (near.max(1)..).find(|stride| gcd(*stride, total.max(1)) == 1).unwrap_or(1);
        Self { bounds, turn: Cell::new(0), stride }
    }

    /// Where the next request goes; `None`: all weights are 0.
    pub fn next(&self) -> Option<Target<'_>> {
        let total = self.bounds.last().map_or(0, |(bound, _)| *bound);
        let turn = self.turn.get();
        self.turn.set((turn + self.stride) % total.max(1));
        self.bounds.iter().find(|(bound, _)| turn < *bound).map(|(_, name)| Target::Named(name))
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Taken {
    /// The route of a service that has none: to itself.
    #[must_use]
    pub fn to_itself() -> Self {
        Self::of(String::new(), &Route::default())
    }

    fn of(name: String, route: &Route) -> Self {
        let does = match &route.action {
            Action::Forward(to) => {
                let to: Vec<_> = to.iter().map(|to| (to.service.clone(), u64::from(to.weight))).collect();
                Does::Forward(Turns::new(&to))
            }
            Action::Redirect { status, location } => Does::Redirect(*status, Elsewhere::of(route, location)),
            Action::Direct { status, body } => Does::Direct(*status, body.clone()),
        };
        Self {
            name,
            does,
            rewriting: Rewriting::of(route),
            timeout: route.timeout,
            retry: route.retry.clone(),
            request_headers: route.request_headers.clone(),
            response_headers: route.response_headers.clone(),
            mirror: route.mirror.clone(),
            mirror_turn: Cell::new(0),
            counters: Rc::default(),
        }
    }

    /// The service that gets a copy of the next request, if it is one that is copied.
    pub fn mirrors(&self) -> Option<&str> {
        let mirror = self.mirror.as_ref().filter(|mirror| mirror.percent > 0)?;
        let sum = self.mirror_turn.get() + mirror.percent.min(100);
        self.mirror_turn.set(sum % 100);
        (sum >= 100).then_some(mirror.service.as_str())
    }

    /// Where a request goes that is forwarded; `None`: to nobody.
    pub fn target(&self) -> Option<Target<'_>> {
        match &self.does {
            Does::Forward(turns) if turns.bounds.is_empty() => Some(Target::Itself),
            Does::Forward(turns) => turns.next(),
            Does::Redirect(..) | Does::Direct(..) => None,
        }
    }
}

/// Changes as a codec takes them: shown to `with`, without an allocation unless they are many.
pub(in crate::l7) fn with_edits<R>(changes: &[HeaderChange], with: impl FnOnce(&[HeaderEdit<'_>]) -> R) -> R {
    if changes.len() > MANY_CHANGES {
        return with(&changes.iter().map(edit_of).collect::<Vec<_>>());
    }
    let mut edits = [HeaderEdit::Remove(b""); MANY_CHANGES];
    let mut count = 0;
    for (place, change) in edits.iter_mut().zip(changes) {
        *place = edit_of(change);
        count += 1;
    }
    with(edits.get(..count).unwrap_or_default())
}

/// The headers of an answer of weir's own, with those that a route sets or adds; `own` is there unless the route sets it.
pub(in crate::l7) fn with_fields<R>(
    changes: &[HeaderChange],
    own: Option<Field<'_>>,
    with: impl FnOnce(&[Field<'_>]) -> R,
) -> R {
    if changes.is_empty() {
        return with(own.as_slice());
    }
    let fields = changes.iter().filter_map(|change| match change {
        HeaderChange::Set(name, value) | HeaderChange::Add(name, value) => {
            Some((name.as_bytes(), value.as_bytes()))
        }
        HeaderChange::Remove(_) => None,
    });
    let set = |name: &[u8]| {
        changes.iter().any(|change| {
            matches!(change, HeaderChange::Set(other, _) | HeaderChange::Remove(other)
                if other.as_bytes().eq_ignore_ascii_case(name))
        })
    };
    let own = own.filter(|(name, _)| !set(name));
    with(&own.into_iter().chain(fields).collect::<Vec<_>>())
}

/// Name and value of a header.
type Field<'a> = (&'a [u8], &'a [u8]);

fn edit_of(change: &HeaderChange) -> HeaderEdit<'_> {
    match change {
        HeaderChange::Set(name, value) => HeaderEdit::Set(name.as_bytes(), value.as_bytes()),
        HeaderChange::Add(name, value) => HeaderEdit::Add(name.as_bytes(), value.as_bytes()),
        HeaderChange::Remove(name) => HeaderEdit::Remove(name.as_bytes()),
    }
}

/// Header changes of a route that take no memory.
const MANY_CHANGES: usize = 16;

impl VirtualHosts {
    /// Compiles the virtual hosts of a service. Of two with one name the first counts.
    #[must_use]
    pub fn compile(hosts: &[VirtualHost]) -> Self {
        Self::compile_after(hosts, None)
    }

    /// The same for hosts that follow others: routes of the same name go on counting where those were.
    #[must_use]
    pub fn compile_after(hosts: &[VirtualHost], before: Option<&Self>) -> Self {
        let counters: HashMap<&str, &Rc<RouteCounters>> = before
            .into_iter()
            .flat_map(Self::all)
            .map(|taken| (taken.name.as_str(), &taken.counters))
            .collect();
        let mut table = Self { exact: HashMap::new(), under: Vec::new(), any: None, hosts: Vec::new() };
        for (number, host) in hosts.iter().enumerate() {
            for name in &host.hosts {
                let name = name.to_ascii_lowercase();
                if name == "*" {
                    table.any.get_or_insert(number);
                } else if let Some(domain) = name.strip_prefix('*') {
                    table.under.push((domain.as_bytes().to_vec(), number));
                } else {
                    table.exact.entry(name.into_bytes()).or_insert(number);
                }
            }
            let routes = host.routes.iter().map(|route| {
                let mut taken = Taken::of(full_name(&host.name, &route.name), route);
                if let Some(counters) = counters.get(taken.name.as_str()) {
                    taken.counters = Rc::clone(counters);
                }
                let sources = Ranges::of(&route.matches.sources);
                let looks_at_path = route.looks_at_path();
                Compiled { matches: route.matches.clone(), sources, looks_at_path, taken: Rc::new(taken) }
            });
            table.hosts.push(routes.collect());
        }
        table.under.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.len()));
        table
    }

    /// The route of a request; `None`: there is none.
    #[must_use]
    pub fn route(&self, asking: &Asking<'_>) -> Option<&Rc<Taken>> {
        let host = self.host(asking.host())?;
        if self.ambiguous(host, asking) {
            return None;
        }
        self.hosts
            .get(host)?
            .iter()
            .find(|route| matches::hold(&route.matches, &route.sources, asking))
            .map(|route| &route.taken)
    }

    /// Whether a request's path can be read in two ways where routes look at paths: no route has it then, or it would go
    /// around one in front.
    #[must_use]
    pub fn ambiguous(&self, host: usize, asking: &Asking<'_>) -> bool {
        asking.head.keys.path_is_odd
            && self.hosts.get(host).is_some_and(|routes| routes.iter().any(|route| route.looks_at_path))
    }

    /// The place of the virtual host that has a request's host; `None`: none has it.
    #[must_use]
    pub fn chosen(&self, asking: &Asking<'_>) -> Option<usize> {
        self.host(asking.host())
    }

    /// All routes, for their counters.
    pub fn all(&self) -> impl Iterator<Item = &Rc<Taken>> {
        self.hosts.iter().flatten().map(|route| &route.taken)
    }

    fn host(&self, name: &[u8]) -> Option<usize> {
        if self.exact.is_empty() && self.under.is_empty() {
            return self.any;
        }
        let mut room = [0; LONGEST_HOST];
        let Some(lower) = room.get_mut(..name.len()) else { return self.any };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let lower: &[u8] = lower.strip_suffix(b".").unwrap_or(lower);
        let under = || {
            let longer = |domain: &[u8]| lower.len() > domain.len() && lower.ends_with(domain);
            self.under.iter().find(|(domain, _)| longer(domain)).map(|(_, number)| *number)
        };
        self.exact.get(lower).copied().or_else(under).or(self.any)
    }
}

/// Name of a route in metrics and logs.
#[must_use]
pub fn full_name(host: &str, route: &str) -> String {
    format!("{host}/{route}")
}

/// Longest name that the DNS has.
const LONGEST_HOST: usize = 255;
