//! A driver with clients that do everything wrong, with short times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::future::BoxFuture;

use super::*;
use crate::registry::source::{Ended, Order, Query, Session, SessionError};

/// Does what the script says for each session, and the last line for ever.
struct Scripted {
    script: Vec<Act>,
    sessions: Arc<AtomicU64>,
}

#[derive(Clone, Copy)]
enum Act {
    Fail,
    Refuse,
    Panic,
    Hang,
    /// Connects, tells so many events without waiting for anything, then fails.
    Talk(usize),
    /// Connects and follows orders.
    Serve,
}

impl Client for Scripted {
    fn session<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Ended, SessionError>> {
        Box::pin(async move {
            let number = usize::try_from(self.sessions.fetch_add(1, Ordering::SeqCst)).unwrap();
            let act = self.script.get(number).or(self.script.last()).copied().unwrap();
            let why = || "as told".to_owned();
            let peer = || "server".to_owned();
            match act {
                Act::Fail => Err(SessionError::Unreachable(why())),
                Act::Refuse => Err(SessionError::Refused { peer: peer(), why: why() }),
                Act::Panic => panic!("as told"),
                Act::Hang => std::future::pending().await,
                Act::Talk(events) => {
                    session.events.send(Event::Connected { peer: peer() }).await.unwrap();
                    for _ in 0..events {
                        session.events.send(gone()).await.unwrap();
                    }
                    Err(SessionError::Lost { peer: peer(), why: why() })
                }
                Act::Serve => {
                    session.events.send(Event::Connected { peer: peer() }).await.unwrap();
                    loop {
                        let order = *session.order.borrow_and_update();
                        match order {
                            Order::HandOver => {
                                let socket = std::fs::File::open("/dev/null").unwrap().into();
                                return Ok(Ended::HandedOver(Some(Parcel { socket, state: vec![7] })));
                            }
                            Order::Resync(_) => session.events.send(gone()).await.unwrap(),
                            Order::Run => {}
                        }
                        session.order.changed().await.unwrap();
                    }
                }
            }
        })
    }
}

fn query() -> Arc<Query> {
    Arc::new(Query { service: "web".into(), options: Default::default() })
}

fn gone() -> Event {
    Event::Gone { query: query(), why: String::new() }
}

type Reports = mpsc::Receiver<(Arc<str>, Report)>;

fn start(script: &[Act], room: usize) -> (Handle, Reports, Arc<AtomicU64>) {
    let (events, reports) = mpsc::channel(room);
    let sessions: Arc<AtomicU64> = Arc::default();
    let client = Scripted { script: script.to_vec(), sessions: sessions.clone() };
    let handle = Driver::spawn("a".into(), Box::new(client), tuning(), events);
    (handle, reports, sessions)
}

fn tuning() -> Tuning {
    let ms = Duration::from_millis;
    Tuning {
        first_delay: ms(1),
        longest_delay: ms(20),
        refused_delay: ms(100),
        lived: Duration::from_secs(10),
        connect: ms(50),
        hand_over: ms(100),
        resync: Some(ms(40)),
    }
}

fn wanted() -> Arc<Wanted> {
    Arc::new(Wanted { queries: [query()].into(), ..Wanted::default() })
}

async fn lost(reports: &mut Reports) -> String {
    loop {
        if let Report::Lost { why } = reports.recv().await.unwrap().1 {
            return why;
        }
    }
}

#[tokio::test]
async fn failures_panics_and_hangs_each_end_one_session() {
    let (handle, mut reports, sessions) =
        start(&[Act::Fail, Act::Panic, Act::Hang, Act::Refuse, Act::Fail], 8);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(
        (sessions.load(Ordering::SeqCst), handle.status().phase),
        (0, Phase::Idle),
        "nothing is wanted"
    );
    handle.set_wanted(wanted());
    assert_eq!(lost(&mut reports).await, "no server answers: as told");
    assert!(lost(&mut reports).await.contains("a fault of weir: as told"));
    assert_eq!(lost(&mut reports).await, "not connected after 50ms");
    assert!(lost(&mut reports).await.contains("refuses weir"));
    let refused = Instant::now();
    lost(&mut reports).await;
    assert!(refused.elapsed() >= Duration::from_millis(100), "a refusal is not hammered at");
    lost(&mut reports).await;
    let status = handle.status();
    assert!(status.sessions >= 6 && status.failures >= 5);
    assert!(status.last_error.is_some() && status.peer.is_none());
    handle.stop().await;
}

#[test]
fn pauses_grow_to_their_limit_and_vary() {
    let tuning = Tuning::default();
    let mut back_off = BackOff::new(&tuning);
    let pauses: Vec<_> = (0..20).map(|_| back_off.next(false)).collect();
    assert!((Duration::from_millis(100)..=Duration::from_millis(200)).contains(&pauses[0]));
    assert!(
        pauses[19] >= Duration::from_secs(15) && pauses.iter().all(|pause| *pause <= Duration::from_secs(30))
    );
    assert!(back_off.next(true) >= tuning.refused_delay);
}

#[tokio::test]
async fn events_keep_their_order_and_end_with_the_loss() {
    let (handle, mut reports, _) = start(&[Act::Talk(2_000), Act::Hang], 1);
    handle.set_wanted(wanted());
    assert!(matches!(reports.recv().await.unwrap().1, Report::Event(Event::Connected { .. })));
    assert_eq!(handle.status().peer.as_deref(), Some("server"));
    for _ in 0..2_000 {
        assert!(matches!(reports.recv().await.unwrap().1, Report::Event(Event::Gone { .. })));
    }
    assert!(matches!(reports.recv().await.unwrap().1, Report::Lost { .. }));
    assert_eq!(handle.status().events, 2_001);
}

#[tokio::test]
async fn a_session_is_asked_again_from_time_to_time_and_on_demand() {
    let (handle, mut reports, sessions) = start(&[Act::Serve], 8);
    handle.set_wanted(wanted());
    assert!(matches!(reports.recv().await.unwrap().1, Report::Event(Event::Connected { .. })));
    for _ in 0..3 {
        assert!(matches!(reports.recv().await.unwrap().1, Report::Event(Event::Gone { .. })));
    }
    handle.resync();
    assert!(matches!(reports.recv().await.unwrap().1, Report::Event(Event::Gone { .. })));
    assert_eq!((sessions.load(Ordering::SeqCst), handle.status().phase), (1, Phase::Connected));
}

#[tokio::test]
async fn a_connection_is_handed_over_though_nobody_reads_the_events() {
    let (handle, mut reports, _) = start(&[Act::Serve], 1);
    handle.set_wanted(wanted());
    assert!(matches!(reports.recv().await.unwrap().1, Report::Event(Event::Connected { .. })));
    for _ in 0..10 {
        handle.resync();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(handle.hand_over().await.unwrap().state, [7]);
    assert_eq!(handle.status().phase, Phase::Stopped);
    assert!(handle.hand_over().await.is_none());
    // A client that does not let go of it is cut.
    let (handle, _reports, _) = start(&[Act::Hang], 1);
    handle.set_wanted(wanted());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(handle.hand_over().await.is_none());
}

#[tokio::test]
async fn dropping_the_handle_ends_the_session() {
    let (handle, mut reports, _) = start(&[Act::Serve], 8);
    handle.set_wanted(wanted());
    assert!(reports.recv().await.is_some());
    drop(handle);
    assert!(reports.recv().await.is_none());
}

#[tokio::test]
async fn a_hand_over_is_answered_though_the_end_of_the_session_cannot_be_told() {
    // Room for one report: the driver waits with events of the session that has ended, or with its end.
    for events in [0, 1, 100] {
        let (handle, _reports, _) = start(&[Act::Talk(events)], 1);
        handle.set_wanted(wanted());
        tokio::time::sleep(Duration::from_millis(30)).await;
        let answer = tokio::time::timeout(Duration::from_secs(5), handle.hand_over()).await;
        assert!(answer.unwrap().is_none(), "after {events} events");
    }
}

#[tokio::test]
async fn a_session_begins_on_demand_though_nothing_is_wanted() {
    let (handle, mut reports, sessions) = start(&[Act::Serve], 8);
    handle.begin();
    assert!(matches!(reports.recv().await.unwrap().1, Report::Event(Event::Connected { .. })));
    assert_eq!(sessions.load(Ordering::SeqCst), 1);
    assert_eq!(handle.hand_over().await.unwrap().state, [7]);
}

#[tokio::test]
async fn the_time_that_was_spent_on_connecting_does_not_shorten_the_pauses() {
    // Each session hangs for 50 ms before it is given up: longer than a session has to live.
    let tuning = Tuning { lived: Duration::from_millis(40), ..tuning() };
    let (events, _reports) = mpsc::channel(100);
    let client = Scripted { script: vec![Act::Hang], sessions: Arc::default() };
    let sessions = client.sessions.clone();
    let tuning =
        Tuning { longest_delay: Duration::from_secs(100), connect: Duration::from_millis(50), ..tuning };
    let handle = Driver::spawn("a".into(), Box::new(client), tuning, events);
    handle.set_wanted(wanted());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    // Pauses of at least 1, 2, 4, ... ms and 50 ms for each session.
    let begun = sessions.load(Ordering::SeqCst);
    assert!((2..=11).contains(&begun), "{begun}");
}
