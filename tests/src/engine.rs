//! What the three implementations of the decision have in common for a test.

use std::collections::BTreeMap;

use proxy_common::{Class, Count, Reason, TrafficCount};

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Result {
    /// The verdict.
    pub verdict: Verdict,
    /// The frame after it.
    pub frame: Vec<u8>,
}

/// The verdicts of XDP that weir gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the host.
    Pass,
    /// Dropped.
    Drop,
    /// Out of the interface it came in by.
    Tx,
    /// Out of another interface.
    Redirect,
}

impl Verdict {
    /// By the class of the reason and, for steered packets, the interfaces.
    pub fn of(reason: Reason, ingress: u32, egress: u32) -> Self {
        match reason.class() {
            Class::Pass => Self::Pass,
            Class::Drop => Self::Drop,
            Class::Steer if ingress == egress => Self::Tx,
            Class::Steer => Self::Redirect,
        }
    }
}

/// Counters that are not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By reason.
    pub reasons: BTreeMap<u32, Count>,
    /// By list slot.
    pub lists: BTreeMap<u32, Count>,
    /// By service id.
    pub services: BTreeMap<u32, TrafficCount>,
    /// By backend slot.
    pub backends: BTreeMap<u32, TrafficCount>,
}

/// What a decision says beside the verdict; the counters follow from it by the rules of [`Counters::add`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Ethernet header to the end of the IP packet, or the frame.
    pub bytes: u64,
    /// The list that decided.
    pub list: Option<u16>,
    /// The service, 0 for none.
    pub service: u16,
    /// The backend, 0 for none.
    pub backend: u16,
    /// Began a flow.
    pub new_flow: bool,
    /// Travels from the backend to the client.
    pub reply: bool,
}

impl Counters {
    /// Counts a packet: under its reason, under the list that decided, and, where it is steered, under its service and
    /// backend; where it goes to the L7 path, under its service.
    pub fn add(&mut self, reason: Reason, facts: &Facts) {
        let once = |count: &mut Count| {
            count.packets += 1;
            count.bytes += facts.bytes;
        };
        once(self.reasons.entry(reason.index()).or_default());
        if let Some(list) = facts.list {
            once(self.lists.entry(u32::from(list)).or_default());
        }
        let steered = reason.class() == Class::Steer;
        if !(steered || reason == Reason::Deliver) || facts.service == 0 {
            return;
        }
        let backend = steered.then_some((&mut self.backends, facts.backend));
        for (of, number) in std::iter::once((&mut self.services, facts.service)).chain(backend) {
            let count = of.entry(u32::from(number)).or_default();
            if facts.reply {
                count.reply_packets += 1;
                count.reply_bytes += facts.bytes;
            } else {
                count.packets += 1;
                count.bytes += facts.bytes;
                count.connections += u64::from(facts.new_flow);
            }
        }
    }
}
