//! Which registrations are wanted, from what is served and what the registries said.

use super::*;
use crate::catalog::snapshot::{Candidate, Pooled};
use crate::model::{Announce, Backend, BackendAddr, Forward, Origin, Protocol, Publish, UnknownPort, Vip};

/// One or two services on 192.0.2.10:80, each registered as `web` with the registry `a`.
struct Bench {
    publications: Publications,
    desired: Desired,
    api: ApiState,
    pool: Snapshot,
    unserved: BTreeMap<String, &'static str>,
    resumed: BTreeSet<String>,
}

fn backend() -> BackendAddr {
    BackendAddr { addr: "10.0.0.1".parse().unwrap(), port: 80 }
}

fn publication() -> Arc<Publication> {
    let address = BackendAddr { addr: "192.0.2.10".parse().unwrap(), port: 80 };
    Arc::new(Publication { service: "web".into(), options: BTreeMap::new(), address })
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            publications: Publications::default(),
            desired: crate::config::Part::default().into_desired((1_024, 2_047), 0),
            api: ApiState::default(),
            pool: Snapshot::default(),
            unserved: BTreeMap::new(),
            resumed: BTreeSet::new(),
        };
        bench.put("web", Protocol::Tcp, AdminState::Active);
        bench
    }

    fn put(&mut self, name: &str, protocol: Protocol, state: AdminState) {
        let vip = Vip { protocol, addr: "192.0.2.10".parse().unwrap(), port: 80 };
        let service = Service {
            vip,
            forward: Forward::Nat,
            announce: Announce::None,
            unknown_port: UnknownPort::Drop,
            syn_budget: 1_000,
            origin: Origin::File,
            backends: [(backend(), Backend { weight: 100, state, origin: Origin::File })].into(),
            discovery: None,
            health: None,
            l7: None,
            publish: vec![Arc::new(Publish { registry: "a".into(), publication: publication() })],
        };
        self.desired.services.insert(name.to_owned(), service);
    }

    fn unchecked(&mut self) {
        let candidate = Candidate {
            weight: 100,
            sources: Vec::new(),
            zone: None,
            labels: Arc::default(),
            standing: Standing::Unchecked,
            since: Timestamp::now(),
            health: None,
        };
        let pooled = Pooled { candidates: [(backend(), candidate)].into(), ..Pooled::default() };
        self.pool.services.insert("web".into(), Arc::new(pooled));
    }

    fn want(&mut self) -> State {
        let Self { publications, desired, api, pool, unserved, resumed } = self;
        publications.want(&Scene { desired, api, pool, unserved, resumed });
        self.state()
    }

    fn state(&self) -> State {
        self.publications.known[&("a".to_owned(), publication())].state.clone()
    }

    fn wanted(&self) -> usize {
        self.publications.wanted("a").len()
    }

    fn registered() -> Self {
        let mut bench = Self::new();
        assert_eq!((bench.want(), bench.wanted()), (State::Asked, 1));
        bench.publications.answered("a", &publication(), &Ok(()));
        bench
    }
}

#[test]
fn a_vip_is_registered_only_while_clients_reach_it() {
    let mut bench = Bench::new();
    bench.unserved.insert("web".into(), "not attached");
    assert_eq!((bench.want(), bench.wanted()), (State::Idle("not attached"), 0));
    bench.unserved.clear();
    assert_eq!(bench.want(), State::Asked);
    bench.publications.answered("a", &publication(), &Ok(()));
    bench.unserved.insert("web".into(), "not attached");
    assert_eq!((bench.want(), bench.wanted()), (State::Ending, 0));
    bench.unserved.clear();
    assert_eq!(bench.want(), State::Asked, "served again: no rest");
}

#[test]
fn what_was_taken_over_stays_while_nothing_has_been_checked() {
    // At the start of a daemon the registration lives on the connection of the one before.
    for (resumed, registered) in [(true, 1), (false, 0)] {
        let mut bench = Bench::new();
        bench.put("web", Protocol::Tcp, AdminState::Drain);
        bench.unchecked();
        bench.resumed.extend(resumed.then(|| "a".to_owned()));
        bench.want();
        assert_eq!(bench.wanted(), registered);
        bench.resumed.clear();
        bench.want();
        assert_eq!(bench.wanted(), registered);
        // The verdicts have come: all are down.
        bench.pool.services.clear();
        bench.want();
        assert_eq!(bench.wanted(), 0);
    }
}

#[test]
fn a_backend_that_comes_and_goes_does_not_take_the_vip_with_it_each_time() {
    let mut bench = Bench::registered();
    bench.put("web", Protocol::Tcp, AdminState::Drain);
    assert_eq!(bench.want(), State::Ending);
    bench.publications.ended("a", &publication());
    bench.put("web", Protocol::Tcp, AdminState::Active);
    assert_eq!((bench.want(), bench.wanted()), (State::Idle("withdrawn"), 0));
    let due = bench.publications.next_wake().unwrap();
    assert!(due > Instant::now() && due <= Instant::now() + REST);
    let key = ("a".to_owned(), publication());
    bench.publications.known.get_mut(&key).unwrap().rests = Some(Instant::now());
    assert_eq!((bench.want(), bench.wanted()), (State::Asked, 1));
    assert_eq!(bench.publications.next_wake(), None);
}

#[test]
fn what_is_about_to_go_ends_before_the_state_forgets_it() {
    let mut bench = Bench::registered();
    assert!(!bench.publications.retire(|_, _| true), "nothing goes");
    assert!(bench.publications.retire(|_, _| false));
    assert_eq!((bench.want(), bench.publications.retiring()), (State::Ending, true));
    // Whatever happens meanwhile does not bring it back.
    assert_eq!((bench.want(), bench.wanted()), (State::Ending, 0));
    bench.publications.ended("a", &publication());
    assert!(!bench.publications.retiring());
    assert!(!bench.publications.retire(|_, _| false), "nobody has it any more");
    // The change was refused, or a detach has left something: it counts again.
    bench.publications.revive();
    assert_eq!((bench.want(), bench.wanted()), (State::Asked, 1));
}

#[test]
fn a_lost_session_ends_what_has_no_lease() {
    for (leased, state) in [(false, "withdrawn"), (true, "it ends there with its lease")] {
        let mut bench = Bench::registered();
        bench.publications.retire(|_, _| false);
        bench.want();
        bench.publications.lost("a", leased);
        assert_eq!((bench.state(), bench.publications.retiring()), (State::Idle(state), false));
        bench.publications.revive();
        bench.want();
        bench.publications.answered("a", &publication(), &Ok(()));
        bench.publications.lost("a", leased);
        assert_eq!(bench.state(), State::Asked, "it is asked for again in the next session");
    }
}

#[test]
fn services_of_two_protocols_share_a_registration() {
    let mut bench = Bench::registered();
    bench.put("web-udp", Protocol::Udp, AdminState::Drain);
    assert_eq!(bench.want(), State::Registered, "one of them takes flows");
    bench.put("web-udp", Protocol::Udp, AdminState::Active);
    bench.put("web", Protocol::Tcp, AdminState::Drain);
    assert_eq!(bench.want(), State::Registered);
    assert_eq!(bench.publications.statuses("a")[0].service, "web-udp");
    bench.desired.services.remove("web");
    assert_eq!(bench.want(), State::Registered);
    bench.put("web-udp", Protocol::Udp, AdminState::Drain);
    assert_eq!(bench.want(), State::Ending);
}
