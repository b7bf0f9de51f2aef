//! A worker's body: one thread, one runtime, its own listeners. Until codecs are there, every service is opaque TCP.

mod relay;

use std::cell::RefCell;
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::process::control::{Control, Event};
use relay::Relay;

/// What a worker accepts connections from. Nobody but this worker accepts from them while it lives; what waits in them
/// outlives it.
#[derive(Debug)]
pub struct Listeners {
    /// The worker's number, from 0.
    pub number: u32,
    /// How many workers there are: a bound of a service is divided by it.
    pub workers: u32,
    /// For IPv4. Accepted sockets have the VIP and port that the client dialled as their local address.
    pub v4: Option<StdListener>,
    /// For IPv6.
    pub v6: Option<StdListener>,
}

/// Runs until drained. Nothing is accepted before the first snapshot.
///
/// # Errors
/// A listener cannot be used.
pub async fn run(listeners: Listeners, control: Control) -> io::Result<()> {
    LocalSet::new().run_until(serve(listeners, control)).await
}

async fn serve(listeners: Listeners, mut control: Control) -> io::Result<()> {
    let mut v4 = listeners.v4.map(TcpListener::from_std).transpose()?;
    let mut v6 = listeners.v6.map(TcpListener::from_std).transpose()?;
    let relay = Rc::new(RefCell::new(Relay::default()));
    let mut ready = false;
    let mut deadline: Option<Instant> = None;
    let mut report = interval(REPORT);
    report.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = control.next() => match event {
                Event::Snapshot(snapshot) => {
                    let generation = snapshot.generation;
                    relay.borrow_mut().serve_by(*snapshot);
                    ready = true;
                    control.acknowledge(generation);
                }
                Event::Drain(patience) => {
                    (v4, v6) = (None, None);
                    let end = Instant::now() + patience;
                    deadline = Some(deadline.map_or(end, |before| before.min(end)));
                }
            },
            accepted = accept(v4.as_ref()), if ready => begin(&relay, accepted).await,
            accepted = accept(v6.as_ref()), if ready => begin(&relay, accepted).await,
            // Also where the end of the last connection is noticed, which no other branch tells.
            _ = report.tick() => control.report(&relay.borrow().stats()),
            () = until(deadline) => return Ok(()),
        }
        if deadline.is_some() && relay.borrow().is_idle() {
            return Ok(());
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn begin(relay: &Rc<RefCell<Relay>>, accepted: io::Result<TcpStream>) {
    match accepted {
        Ok(client) => drop(tokio::task::spawn_local(relay::relay(relay.clone(), client))),
        // No descriptor is left: what waits goes on waiting.
        Err(_) => tokio::time::sleep(EXHAUSTED).await,
    }
}

const REPORT: Duration = Duration::from_secs(1);
const EXHAUSTED: Duration = Duration::from_millis(50);
