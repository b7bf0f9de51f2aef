//! The client's network is denied through the API; then its packets must end in XDP, and none may reach a backend.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use proxy_common::Reason;

use super::daemon::Daemon;
use super::error::DemoError;
use super::syn::{self, Ends};
use super::topology::{BACKEND_PORT, CLIENTS, Topology, VIP, backend_addresses};
use crate::control::client::ChangeOptions;
use crate::control::types::{EntryAdd, ListPatch, StatsSnapshot};
use crate::lab::http::Get;
use crate::lab::{FrameSocket, LabError, run_in};
use crate::model::Action;

/// What became of the denied packets.
#[derive(Debug)]
pub(super) struct Denied {
    /// Sent by the client.
    pub(super) sent: u64,
    /// Counted as dropped by the list in XDP.
    pub(super) dropped: u64,
    /// Seen on a backend's interface, or accepted by its server.
    pub(super) reached: u64,
    /// Connections that weir has counted for each backend since its start, by the backend's name.
    pub(super) counted_per_backend: BTreeMap<String, u64>,
}

/// Denies the network and sends from it: first frames from many of its addresses, then real connection attempts.
pub(super) fn deny(lab: &Topology, daemon: &Daemon) -> Result<Denied, DemoError> {
    let add = EntryAdd { prefix: CLIENTS.to_string(), ttl: Some(TTL.into()), ..EntryAdd::default() };
    let patch = ListPatch { action: Some(Action::Drop), add: vec![add], ..ListPatch::default() };
    daemon.ask(daemon.client().patch_list(LIST, &patch, true, ChangeOptions::default()))?;

    let accepted = accepted(lab);
    let sockets: Vec<FrameSocket> =
        lab.backends.iter().map(|backend| FrameSocket::open(&backend.port)).collect::<Result<_, _>>()?;
    send_frames(lab, &CLIENTS.hosts().collect::<Vec<_>>())?;
    let answered = attempt_connections(lab, None)?;
    let stats = wait_for_drops(daemon, SENT)?;

    let mut reached = answered.max(self::accepted(lab) - accepted);
    for socket in &sockets {
        reached += arrived(socket)?;
    }
    let dropped = dropped(&stats);
    Ok(Denied { sent: SENT, dropped, reached, counted_per_backend: counted(&stats) })
}

impl Denied {
    /// For people.
    pub(super) fn describe(&self) -> String {
        format!(
            "weir acl add {CLIENTS} --list {LIST} --create --ttl {TTL}\n{} packets sent, {} dropped in XDP, {} reached a backend",
            self.sent, self.dropped, self.reached
        )
    }
}

fn accepted(lab: &Topology) -> u64 {
    lab.backends.iter().map(|backend| backend.server.connections()).sum()
}

/// Sends [`FRAMES`] SYNs to the VIP from these addresses in turn.
pub(super) fn send_frames(lab: &Topology, hosts: &[Ipv4Addr]) -> Result<(), LabError> {
    let socket = FrameSocket::open(&lab.client_port)?;
    let macs = (lab.client_port.mac(), lab.front.mac());
    for (number, host) in (0..FRAMES).zip(hosts.iter().cycle()) {
        let from = SocketAddrV4::new(*host, FIRST_PORT + number);
        socket.send(&syn::frame(&Ends { macs, from, to: VIP }))?;
        if number % BURST == BURST - 1 {
            // A veth keeps 256 frames and loses the others silently.
            thread::sleep(Duration::from_micros(500));
        }
    }
    Ok(())
}

/// Each attempt is one packet: it is given up before its SYN is repeated, after 1 s. Returns how many were answered.
pub(super) fn attempt_connections(lab: &Topology, from: Option<IpAddr>) -> Result<u64, LabError> {
    let get = Get { to: SocketAddr::V4(VIP), from, timeout: ATTEMPT_TIME };
    let answered = run_in(&lab.client, || {
        thread::scope(|scope| {
            let attempts: Vec<_> = (0..ATTEMPTS).map(|_| scope.spawn(|| get.send().is_ok())).collect();
            attempts
                .into_iter()
                .filter_map(|attempt| attempt.join().ok())
                .filter(|answered| *answered)
                .count()
        })
    })?;
    Ok(answered as u64)
}

/// The daemon reads its counters at most once a second. What is missing at the end stays missing.
pub(super) fn wait_for_drops(daemon: &Daemon, expected: u64) -> Result<StatsSnapshot, DemoError> {
    let end = Instant::now() + COUNT_TIME;
    loop {
        let stats = daemon.ask(daemon.client().stats())?.value;
        if dropped(&stats) >= expected || Instant::now() > end {
            return Ok(stats);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn dropped(stats: &StatsSnapshot) -> u64 {
    let reasons = stats.interfaces.iter().flat_map(|interface| &interface.reasons);
    reasons.filter(|count| count.reason == Reason::AclDrop.label()).map(|count| count.packets).sum()
}

fn counted(stats: &StatsSnapshot) -> BTreeMap<String, u64> {
    let backends = || stats.services.iter().flat_map(|service| &service.backends);
    let of = |address: &str| {
        backends().filter(|found| found.address == address).map(|found| found.traffic.connections).sum()
    };
    backend_addresses().map(|(name, address)| (name.to_owned(), of(&address))).collect()
}

/// Everything sent here is a SYN, and nothing else of the client sends one any more.
fn arrived(socket: &FrameSocket) -> Result<u64, LabError> {
    let mut count = 0;
    let ours = |frame: &[u8]| syn::is_syn_to(frame, BACKEND_PORT);
    while socket.recv_matching(Duration::from_millis(10), ours)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// The list.
pub(super) const LIST: &str = "block";
const TTL: &str = "1m";
const FRAMES: u16 = 1_000;
const FIRST_PORT: u16 = 20_000;
const BURST: u16 = 64;
const ATTEMPTS: u64 = 4;
/// By [`send_frames`] and [`attempt_connections`] together.
pub(super) const SENT: u64 = FRAMES as u64 + ATTEMPTS;
const ATTEMPT_TIME: Duration = Duration::from_millis(250);
const COUNT_TIME: Duration = Duration::from_secs(3);
