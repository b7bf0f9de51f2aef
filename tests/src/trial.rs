//! One frame through all implementations, and what to print when they differ.

use std::fmt::Write as _;

use proxy_common::{Class, Reason};

use crate::engine;
use crate::host::Host;
use crate::object::{Object, Used};
use crate::oracle::Oracle;
use crate::world::World;

/// The implementations, set alike.
pub struct Trial<'a> {
    /// The naive one.
    pub oracle: Oracle,
    /// The library.
    pub host: Host,
    /// The loaded object, where there is one.
    pub object: Option<&'a mut Object>,
}

impl<'a> Trial<'a> {
    /// Sets all of them to a world, at the object's tick if there is one; room for so many flow entries.
    pub fn new(world: &World, capacity: usize, mut object: Option<&'a mut Object>) -> Self {
        let now = match &mut object {
            None => 1_000_000,
            Some(object) => {
                object.clear().expect("maps can be emptied");
                object.note(Used::of(world));
                let now = object.ticks().expect("the object tells the time");
                world.install(*object, now);
                now
            }
        };
        let mut oracle = Oracle::new(world.clone(), capacity);
        (oracle.now, oracle.installed_at) = (now, now);
        Self { oracle, host: Host::new(world, capacity, now), object }
    }

    /// Other settings of the same services, backends and lists; flows stay.
    pub fn set(&mut self, world: &World) {
        let now = match &self.object {
            None => self.oracle.now,
            Some(object) => object.ticks().expect("the object tells the time"),
        };
        self.advance_to(now);
        self.host.set(world, now);
        self.oracle.world = world.clone();
        self.oracle.installed_at = now;
        if let Some(object) = &mut self.object {
            object.note(Used::of(world));
            world.install(*object, now);
        }
    }

    /// Lets time pass; only without the object, whose clock is the kernel's.
    pub fn advance(&mut self, ticks: u32) {
        assert!(self.object.is_none(), "the kernel's clock can't be set");
        self.advance_to(self.oracle.now.wrapping_add(ticks));
    }

    fn advance_to(&mut self, now: u32) {
        (self.oracle.now, self.host.tables.now) = (now, now);
    }

    /// Runs a frame through all.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn run(&mut self, frame: &[u8], ingress: u32) -> Result<(Reason, engine::Result), String> {
        let (reason, expected) = self.oracle.run(frame, ingress);
        let (host_reason, host) = self.host.run(frame, ingress);
        if host_reason != reason {
            return Err(format!("reason: oracle {}, library {}", reason.label(), host_reason.label()));
        }
        if host.verdict != expected.verdict {
            return Err(format!("verdict: oracle {:?}, library {:?}", expected.verdict, host.verdict));
        }
        // The bytes of a dropped packet are nobody's.
        let compared = reason.class() != Class::Drop;
        if compared && host.frame != expected.frame {
            return Err(differing(reason, "oracle", &expected.frame, "library", &host.frame));
        }
        if self.oracle.flows.entries() != self.host.memory.flows.len() {
            let (oracle, host) = (self.oracle.flows.entries(), self.host.memory.flows.len());
            return Err(format!("{}: flow entries: oracle {oracle}, library {host}", reason.label()));
        }
        let Some(object) = &mut self.object else { return Ok((reason, expected)) };
        let result = object.run(frame, ingress).map_err(|error| format!("{error:#}"))?;
        let packets = self.host.counters.reasons[&reason.index()].packets;
        let counted = object.reason_packets(reason).map_err(|error| format!("{error:#}"))?;
        if counted != packets {
            return Err(format!(
                "{}: counted {counted} times by the object, {packets} by the library; verdict {:?}",
                reason.label(),
                result.verdict,
            ));
        }
        if result.verdict != host.verdict {
            return Err(format!("verdict: library {:?}, object {:?}", host.verdict, result.verdict));
        }
        if result.frame != host.frame {
            return Err(differing(reason, "library", &host.frame, "object", &result.frame));
        }
        Ok((reason, expected))
    }

    /// Compares all counters.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare_counters(&self) -> Result<(), String> {
        if self.oracle.counters != self.host.counters {
            return Err(format!(
                "counters: oracle {:#?}, library {:#?}",
                self.oracle.counters, self.host.counters
            ));
        }
        let Some(object) = &self.object else { return Ok(()) };
        let counted = object.counters().map_err(|error| format!("{error:#}"))?;
        if counted != self.host.counters {
            return Err(format!("counters: library {:#?}, object {counted:#?}", self.host.counters));
        }
        Ok(())
    }

    /// Compares the flow entries of library and object, but for their times.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare_flows(&self) -> Result<(), String> {
        let Some(object) = &self.object else { return Ok(()) };
        let entries = object.flow_entries().map_err(|error| format!("{error:#}"))?;
        if entries.len() != self.host.memory.flows.len() {
            return Err(format!(
                "flow entries: library {}, object {}",
                self.host.memory.flows.len(),
                entries.len()
            ));
        }
        for (key, mut value) in entries {
            let Some(host) = self.host.memory.flows.get(&key) else {
                return Err(format!("flow {key:?} is in the object only"));
            };
            value.last_seen = host.last_seen;
            if value != *host {
                return Err(format!("flow {key:?}: library {host:?}, object {value:?}"));
            }
        }
        Ok(())
    }
}

impl Used {
    /// The slots that a world uses.
    pub fn of(world: &World) -> Self {
        let mut maps = crate::host::Host::default().tables;
        world.install(&mut maps, 0);
        Self {
            filter_words: maps.filter.keys().copied().collect(),
            backends: world.backends.keys().copied().collect(),
            services: world.services.iter().map(|service| service.id).collect(),
            lists: (crate::world::FIRST_LIST..).zip(&world.lists).map(|(slot, _)| slot).collect(),
        }
    }
}

/// Two frames that should be one.
fn differing(reason: Reason, name: &str, frame: &[u8], other: &str, other_frame: &[u8]) -> String {
    let at =
        frame.iter().zip(other_frame).position(|(a, b)| a != b).unwrap_or(frame.len().min(other_frame.len()));
    format!(
        "{}: bytes from offset {at} on:\n  {name:8} {}\n  {other:8} {}",
        reason.label(),
        hex(frame),
        hex(other_frame)
    )
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
