//! Which VIPs reach their backends through this host, and the order in which one ends: out of the registries first, out of
//! the maps when nobody looks for it there any more.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::daemon::Daemon;
use crate::model::{Announce, Desired, Vip};

/// How long a registry may take to answer a withdrawal.
const WITHDRAW_TIME: Duration = Duration::from_secs(3);
/// How long consumers may take to hear of it: SOFARegistry pushes within two seconds.
const LINGER: Duration = Duration::from_secs(3);

/// The services whose VIP is to be registered, and which clients do not reach through this host; and why.
pub(super) fn unserved(
    desired: &Desired,
    installed: impl Fn(&Vip) -> bool,
    attached: bool,
    host: &BTreeSet<IpAddr>,
) -> BTreeMap<String, &'static str> {
    let published = desired.services.iter().filter(|(_, service)| !service.publish.is_empty());
    let reasons = published.filter_map(|(name, service)| {
        let announced = service.announce == Announce::None || host.contains(&service.vip.addr);
        let reason = match (attached, installed(&service.vip), announced) {
            (false, _, _) => "weir is not attached to any interface",
            (_, false, _) => "it is not in the maps yet",
            (_, _, false) => "its address is not announced yet",
            (true, true, true) => return None,
        };
        Some((name.clone(), reason))
    });
    reasons.collect()
}

impl Daemon {
    /// Asks for what the state in force needs.
    pub(super) fn want_endpoints(&mut self) {
        let desired = &self.state.laid.merged.desired;
        let installed = |vip: &Vip| self.kernel.serves(vip);
        let attached = !self.ports.attached_names().is_empty();
        let unserved = unserved(desired, installed, attached, &self.host);
        self.discovery.want(desired, &self.state.api, &unserved);
    }

    /// Takes the VIPs that `next` serves no more out of their registries, and waits, so that no consumer meets one that
    /// nobody serves. Endpoints are followed meanwhile.
    pub(super) async fn retire(&mut self, next: Option<&Desired>) {
        let ends =
            |vip: &Vip| next.is_none_or(|next| next.services.values().all(|service| service.vip != *vip));
        let named = |desired: &Desired, registry: &str, publication: &_, counts: &dyn Fn(&Vip) -> bool| {
            let services = desired.services.values().filter(|service| counts(&service.vip));
            services
                .flat_map(|service| &service.publish)
                .any(|publish| publish.registry == registry && publish.publication == *publication)
        };
        let now = &self.state.laid.merged.desired;
        let any = self.discovery.publications.retire(|registry, publication| {
            next.is_some_and(|next| {
                !named(now, registry, publication, &ends) || named(next, registry, publication, &|_| true)
            })
        });
        if !any {
            return;
        }
        self.want_endpoints();
        self.publish();
        let end = Instant::now() + WITHDRAW_TIME;
        while self.discovery.publications.retiring() {
            let Ok(heard) = timeout_at(end, self.discovery.next()).await else {
                tracing::warn!(
                    "a registry has not said that the VIP is withdrawn; it goes with the connection, or with its lease"
                );
                break;
            };
            self.heard(heard).await;
        }
        let end = Instant::now() + LINGER;
        while let Ok(heard) = timeout_at(end, self.discovery.next()).await {
            self.heard(heard).await;
        }
    }

    /// What the state in force names is registered again: nothing is about to end any more.
    pub(super) fn revive(&mut self) {
        self.discovery.publications.revive();
        self.want_endpoints();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::model::{BackendAddr, Forward, Origin, Protocol, Publish, Service, UnknownPort};
    use crate::registry::source::Publication;

    #[test]
    fn a_vip_is_served_when_it_is_in_the_maps_attached_and_announced() {
        let vip = Vip { protocol: Protocol::Tcp, addr: [192, 0, 2, 10].into(), port: 80 };
        let address = BackendAddr { addr: vip.addr, port: 80 };
        let publication = Publication { service: "web".into(), options: BTreeMap::new(), address };
        let mut service = Service {
            vip,
            forward: Forward::Nat,
            announce: Announce::Address,
            unknown_port: UnknownPort::Drop,
            syn_budget: 1_000,
            origin: Origin::File,
            backends: BTreeMap::new(),
            discovery: None,
            health: None,
            l7: None,
            publish: vec![Arc::new(Publish { registry: "a".into(), publication: Arc::new(publication) })],
        };
        let why = |service: &Service, installed: bool, attached: bool, host: &[IpAddr]| {
            let mut desired = crate::config::Part::default().into_desired((1_024, 2_047), 0);
            desired.services.insert("web".into(), service.clone());
            unserved(&desired, |_| installed, attached, &host.iter().copied().collect()).remove("web")
        };
        assert!(why(&service, true, false, &[vip.addr]).unwrap().contains("attached"));
        assert!(why(&service, false, true, &[vip.addr]).unwrap().contains("maps"));
        assert!(why(&service, true, true, &[]).unwrap().contains("announced"));
        assert_eq!(why(&service, true, true, &[vip.addr]), None);
        service.announce = Announce::None;
        assert_eq!(why(&service, true, true, &[]), None, "others announce it");
    }
}
