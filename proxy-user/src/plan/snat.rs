//! Source-NAT addresses: which index of the pool's map holds which, and which run of indices a backend may use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proxy_common::SnatValue;

use super::Installed;
use super::convert::map_addr;
use super::problem::{PlanError, What};
use crate::model::SnatPool;

/// The pool as it shall be in the map.
#[derive(Debug, Default)]
pub(super) struct SnatPlan {
    /// Entry by index.
    pub entries: BTreeMap<u16, SnatValue>,
    /// The configured addresses of IPv4 and IPv6: first index and number.
    configured: [Option<(u16, u16)>; 2],
    /// Index of the hosts' own addresses, where none are configured for their family.
    own: BTreeMap<IpAddr, u16>,
}

impl SnatPlan {
    /// Places the configured addresses of each family that `backends` (those of `nat` services) need, and, for families
    /// without any, `sources`: the host's own addresses on the ways to them. A run that is installed stays where it is.
    pub(super) fn build(
        pool: &SnatPool,
        backends: &BTreeSet<IpAddr>,
        sources: &BTreeSet<IpAddr>,
        installed: &Installed,
        limit: u32,
    ) -> Result<Self, PlanError> {
        let configured = [true, false].map(|v4| {
            let needed = backends.iter().any(|addr| addr.is_ipv4() == v4);
            pool.addresses
                .iter()
                .copied()
                .filter(|addr| needed && addr.is_ipv4() == v4)
                .collect::<BTreeSet<_>>()
        });
        let [no_v4, no_v6] = [true, false].map(|v4| !pool.addresses.iter().any(|addr| addr.is_ipv4() == v4));
        let own: Vec<IpAddr> =
            sources.iter().copied().filter(|addr| if addr.is_ipv4() { no_v4 } else { no_v6 }).collect();

        let wanted = configured.iter().map(BTreeSet::len).sum::<usize>() + own.len();
        let limit = limit as usize;
        if wanted > limit {
            return Err(PlanError::TooMany { what: What::SnatAddresses, wanted, limit, cure: "" });
        }
        let value = |addr: &IpAddr| {
            let (port_min, port_max) = pool.ports;
            SnatValue { addr: map_addr(*addr), port_min, port_max, reserved: 0 }
        };
        let runs = configured.each_ref().map(|run| run.iter().map(value).collect::<Vec<_>>());
        let mut map = Placement { installed: &installed.snat, entries: BTreeMap::new(), limit };
        let [v4, v6] = runs;
        let configured = [map.place(&v4)?, map.place(&v6)?];
        let mut indices = BTreeMap::new();
        for addr in own {
            if let Some((index, _)) = map.place(&[value(&addr)])? {
                indices.insert(addr, index);
            }
        }
        Ok(Self { entries: map.entries, configured, own: indices })
    }

    /// First index and number of the addresses for a backend whose packets would leave from `source`.
    pub(super) fn range(&self, backend: IpAddr, source: Option<IpAddr>) -> Option<(u16, u16)> {
        let [v4, v6] = self.configured;
        let configured = if backend.is_ipv4() { v4 } else { v6 };
        configured.or_else(|| source.and_then(|source| Some((*self.own.get(&source)?, 1))))
    }
}

struct Placement<'a> {
    installed: &'a BTreeMap<u16, SnatValue>,
    entries: BTreeMap<u16, SnatValue>,
    limit: usize,
}

impl Placement<'_> {
    /// Places a run of entries at consecutive indices: where it begins already, else in the first room that neither the
    /// installed nor the planned pool uses.
    fn place(&mut self, run: &[SnatValue]) -> Result<Option<(u16, u16)>, PlanError> {
        let Some(first) = run.first() else { return Ok(None) };
        let starts = || (0_u16..).take((self.limit + 1).saturating_sub(run.len()));
        let begun = starts().find(|start| self.installed.get(start) == Some(first) && self.fits(*start, run));
        let start = begun.or_else(|| starts().find(|start| self.fits(*start, run))).ok_or_else(|| {
            let used: BTreeSet<&u16> = self.installed.keys().chain(self.entries.keys()).collect();
            let free = self.limit.saturating_sub(used.len());
            PlanError::NoRoomBeside { what: What::SnatAddresses, wanted: run.len(), free }
        })?;
        self.entries.extend((start..).zip(run.iter().copied()));
        Ok(Some((start, u16::try_from(run.len()).unwrap_or(u16::MAX))))
    }

    /// Whether each index of the run is free or holds what shall stand there.
    fn fits(&self, start: u16, run: &[SnatValue]) -> bool {
        (start..).zip(run).all(|(index, value)| {
            !self.entries.contains_key(&index)
                && self.installed.get(&index).is_none_or(|installed| installed == value)
        })
    }
}
