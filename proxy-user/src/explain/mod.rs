//! What would happen to a packet, and why: the decision, run on a copy of the installed state. Pure; nothing that is
//! installed changes.

mod frame;
mod rewrites;
mod tables;
mod trace;

use std::collections::BTreeMap;

use proxy_common::{FlowKey, FlowValue};
use proxy_ebpf::memory::{FlowMemory, SliceFrame};
use thiserror::Error;

pub use frame::flow_key;

use crate::control::types::{ExplainAnswer, ExplainQuery};
use crate::model::Desired;
use crate::plan::Installed;
use trace::Trace;

/// What the packet meets.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// Content of the maps.
    pub installed: &'a Installed,
    /// Desired state, for names and origins.
    pub desired: &'a Desired,
    /// Names of interfaces by index, those that weir is attached to and those that backends are reached by.
    pub interfaces: &'a BTreeMap<u32, String>,
    /// Interface that the packet enters by where the query names none: the first attached one.
    pub default_interface: Option<u32>,
    /// Entries of `weir_flows` that stand under the packet's own [`flow_key`] and under that of its answers, if the
    /// caller has looked.
    pub flows: &'a [(FlowKey, FlowValue)],
    /// The current tick.
    pub now: u32,
}

/// Why a packet cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// No packet can have such addresses.
    #[error(
        "{from} and {to} are of different families: no packet can have both; give two IPv4 or two IPv6 addresses"
    )]
    Families {
        /// Source.
        from: std::net::IpAddr,
        /// Destination.
        to: std::net::IpAddr,
    },
    /// The named interface is not there.
    #[error("there is no interface `{name}` here; known are: {known}")]
    Interface {
        /// The name.
        name: String,
        /// Those that are.
        known: String,
    },
}

/// Runs the decision for the query's packet.
///
/// # Errors
/// [`ExplainError`] when there can be no such packet.
pub fn explain(scene: &Scene<'_>, query: &ExplainQuery) -> Result<ExplainAnswer, ExplainError> {
    let bytes =
        frame::frame(query).ok_or(ExplainError::Families { from: query.source, to: query.destination })?;
    let ifindex = interface(scene, query)?;
    let tables = tables::tables(scene.installed, scene.now);
    let mut memory = FlowMemory { flows: scene.flows.iter().copied().collect(), ..FlowMemory::default() };
    let mut after = SliceFrame::new(bytes.clone());
    let outcome = proxy_ebpf::memory::decide(&mut after, &tables, &mut memory, ifindex);
    let before = SliceFrame::new(bytes);
    let trace = Trace { scene, tables: &tables, memory: &memory, outcome: &outcome, key: flow_key(query) };
    Ok(trace.answer(&before, &after, query, ifindex))
}

fn interface(scene: &Scene<'_>, query: &ExplainQuery) -> Result<u32, ExplainError> {
    let Some(name) = &query.interface else {
        return Ok(scene.default_interface.unwrap_or(0));
    };
    let found = scene.interfaces.iter().find(|(_, known)| *known == name);
    found.map(|(index, _)| *index).ok_or_else(|| ExplainError::Interface {
        name: name.clone(),
        known: scene.interfaces.values().cloned().collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests;
