//! A restart by a service manager: a daemon that is stopped leaves the connection on which its VIP is registered in the
//! manager's store, its successor goes on with it, and the registry sees nothing. Once with systemd itself, once with a
//! double of it for machines without.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use proxy_user::lab::run_in;

use crate::bed::{Bed, bed};
use crate::manager::{Manager, Systemd};
use crate::manager_double::Double;
use crate::registry::SofaRegistry;
use crate::rpc::{GROUP, Publisher};
use crate::wait::wait_until;

#[test]
fn a_registration_outlives_a_restart_by_systemd() {
    bed(1, |bed| {
        if let Some(registry) = SofaRegistry::shared()
            && let Some(systemd) = Systemd::start(bed, Path::new(PACKAGED))
        {
            restarts_keep_the_registration(bed, registry, "stored.systemd", systemd);
        }
    });
}

#[test]
fn a_registration_outlives_a_restart_by_a_double_of_a_service_manager() {
    bed(1, |bed| {
        if let Some(registry) = SofaRegistry::shared() {
            restarts_keep_the_registration(bed, registry, "stored.double", Double::new(bed));
        }
    });
}

fn restarts_keep_the_registration(bed: &Bed, registry: &SofaRegistry, name: &str, mut manager: impl Manager) {
    let _link = bed.link(registry.space(), registry.address());
    let endpoint = registry.endpoint();
    bed.configure(&format!(
        "[registry.main]\nkind = \"sofa\"\nendpoints = [\"{endpoint}\"]\ngroup = \"{GROUP}\"\n\
         [[service]]\nname = \"web\"\nvip = \"tcp/198.51.100.10:80\"\nbackends = [\"{}\"]\n\
         publish = {{ registry = \"main\", service = \"{name}\" }}\n",
        bed.backend_at(1, 80)
    ));
    let Some(mut subscriber) = Publisher::start("subscriber", &bed.backends[0], &bed.dir, endpoint, &[])
    else {
        return;
    };
    subscriber.subscribe(name);
    manager.begin();
    let entries = || subscriber.pushes(name).last().map_or(0, |push| push.1);
    wait_until("the VIP's push", PATIENCE, || entries() == 1);
    let connection = connections(bed, registry);
    assert_eq!(connection.len(), 1, "{connection:?}");

    let before = subscriber.pushes(name).len();
    for round in 1..=3 {
        let pid = manager.pid();
        manager.restart();
        assert_ne!(manager.pid(), pid, "{}", manager.log());
        let published = || {
            let status = bed.places().json(&["registry", "status"]);
            status.to_string().contains("\"published\"")
        };
        wait_until("the registration is known again", PATIENCE, published);
        assert_eq!(connections(bed, registry), connection, "restart {round}: {}", manager.log());
        thread::sleep(Duration::from_secs(1));
    }
    // Long enough for a push of what has just happened.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(registry.published(name, GROUP).len(), 1);
    let pushes = subscriber.pushes(name);
    assert!(pushes[before..].iter().all(|push| push.1 == 1), "the VIP was gone: {pushes:?}");
    assert_eq!(manager.kept(), 0, "what was taken is still kept");

    // Without the store it ends with the process, which shows what the test sees.
    manager.stop();
    wait_until("the VIP's end", PATIENCE, || registry.published(name, GROUP).is_empty());
}

/// The own ends of connections from weir's namespace to the registry's session server.
fn connections(bed: &Bed, registry: &SofaRegistry) -> Vec<String> {
    let session = registry.session();
    let std::net::IpAddr::V4(address) = session.ip() else { panic!("{session} is IPv4") };
    let remote = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.octets()), session.port());
    let table = run_in(&bed.weir, || fs::read_to_string("/proc/thread-self/net/tcp")).unwrap().unwrap();
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields.get(2) == Some(&remote.as_str()) && fields[3] == ESTABLISHED);
    ours.map(|fields| fields[1].to_owned()).collect()
}

/// The unit that packages install.
const PACKAGED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/weir.service");
const ESTABLISHED: &str = "01";
const PATIENCE: Duration = Duration::from_secs(20);
