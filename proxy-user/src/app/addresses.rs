//! VIP addresses on interfaces, for services with `announce = "address"`; and the check that no backend is this host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;

use super::daemon::Daemon;
use crate::control::types::DetachAnswer;
use crate::model::{Announce, Desired, UnknownPort};
use crate::net::announce::{self, Added, Announcer};
use crate::net::host;
use crate::net::link::{self, Link};
use crate::net::netlink::Netlink;

/// The host's own addresses.
pub(super) async fn own(netlink: &Netlink) -> Result<BTreeSet<IpAddr>> {
    Ok(host::addresses(netlink).await?.into_iter().map(|found| found.addr.addr()).collect())
}

/// Why the desired state cannot be served from this host, if a backend is the host itself.
pub(super) async fn local_backends(netlink: &Netlink, desired: &Desired) -> Result<Option<String>> {
    let own = own(netlink).await?;
    let vips: BTreeSet<IpAddr> = desired.services.values().map(|service| service.vip.addr).collect();
    let mut forwarded = desired.services.iter().filter(|(_, service)| service.is_forwarded());
    Ok(forwarded.find_map(|(name, service)| {
        let backend = service.backends.keys().find(|backend| own.contains(&backend.addr) && !vips.contains(&backend.addr))?;
        Some(format!(
            "service {name:?}: backend {} is this host itself, and XDP cannot forward to its own host: run the backend on \
             another host, or in a network namespace with an address of its own",
            backend.addr
        ))
    }))
}

impl Daemon {
    /// Adds the addresses that are wanted and missing, and removes those of weir's that are no longer wanted.
    pub(super) async fn follow_addresses(&mut self) {
        if let Err(error) = self.try_follow_addresses().await {
            tracing::warn!(%error, "VIP addresses could not be followed");
        }
        self.look_at_host().await;
    }

    /// Reads which addresses this host has: endpoints there are no backends.
    pub(super) async fn look_at_host(&mut self) {
        match own(&self.netlink).await {
            Ok(own) => {
                self.discovery.set_own(own.clone());
                self.host = own;
            }
            Err(error) => tracing::warn!(%error, "the host's own addresses could not be read"),
        }
    }

    /// The host's own addresses may be others.
    pub(super) async fn follow_own(&mut self) {
        self.look_at_host().await;
        self.follow_endpoints().await;
    }

    /// Whether some service announces this address.
    pub(super) fn announces(&self, addr: IpAddr) -> bool {
        let services = self.state.laid.merged.desired.services.values();
        services.into_iter().any(|service| service.announce == Announce::Address && service.vip.addr == addr)
    }

    async fn try_follow_addresses(&mut self) -> Result<()> {
        let wanted: BTreeSet<IpAddr> = self
            .state
            .laid
            .merged
            .desired
            .services
            .values()
            .filter(|service| service.announce == Announce::Address)
            .map(|service| service.vip.addr)
            .collect();
        let own = self.announcer.own().await?;
        self.note_host_vips(&own).await?;
        if wanted.is_empty() && own.is_empty() {
            return Ok(());
        }
        let attached = self.ports.attached_names();
        let links: Vec<Link> = link::list(&self.netlink)
            .await?
            .into_iter()
            .filter(|link| attached.contains(&link.name))
            .collect();
        for (index, addr) in own.iter().filter(|(_, addr)| !wanted.contains(addr)) {
            self.announcer.remove(*index, *addr).await?;
            tracing::info!(%addr, "VIP address removed");
        }
        for addr in wanted {
            let Some(link) = self.link_for(&links, addr).await? else { continue };
            for (index, _) in own.iter().filter(|(index, other)| *other == addr && *index != link.index) {
                self.announcer.remove(*index, addr).await?;
                tracing::info!(%addr, "VIP address taken off the interface that it was on before");
            }
            if own.contains(&(link.index, addr)) {
                continue;
            }
            let added = self.announcer.add(&link, addr).await?;
            if added == Added::New {
                tracing::info!(%addr, interface = link.name, "VIP address added");
            }
            self.tasks.spawn(async move {
                if let Err(error) = announce::announce(&link, addr).await {
                    tracing::warn!(%error, "VIP not announced");
                }
            });
        }
        Ok(())
    }

    /// VIPs that the host has as addresses of its own, not from weir: clients lose the host's other services there.
    async fn note_host_vips(&mut self, own: &BTreeSet<(u32, IpAddr)>) -> Result<()> {
        let services = self.state.laid.merged.desired.services.values();
        let guarded: BTreeSet<IpAddr> = services
            .filter(|service| service.unknown_port == UnknownPort::Drop)
            .map(|service| service.vip.addr)
            .collect();
        let host = host::addresses(&self.netlink).await?;
        self.problems.host_vips = host
            .into_iter()
            .filter(|found| {
                guarded.contains(&found.addr.addr()) && !own.contains(&(found.index, found.addr.addr()))
            })
            .map(|found| found.addr.addr())
            .collect();
        Ok(())
    }

    /// The interface for a VIP: the one whose network it lies in, else the first.
    async fn link_for(&self, links: &[Link], addr: IpAddr) -> Result<Option<Link>> {
        let addresses = host::addresses(&self.netlink).await?;
        let near = links.iter().find(|link| {
            addresses.iter().any(|found| {
                found.index == link.index
                    && found.addr.prefix_len() < found.addr.max_prefix_len()
                    && found.addr.contains(&addr)
            })
        });
        Ok(near.or_else(|| links.first()).cloned())
    }
}

/// Removes every address that weir has added.
pub(super) async fn remove_all(announcer: &mut Announcer, answer: &mut DetachAnswer) {
    let own = match announcer.own().await {
        Ok(own) => own,
        Err(error) => {
            answer.left.push(error.to_string());
            return;
        }
    };
    for (index, addr) in own {
        match announcer.remove(index, addr).await {
            Ok(_) => answer.removed.push(format!("address {addr}")),
            Err(error) => answer.left.push(error.to_string()),
        }
    }
}
