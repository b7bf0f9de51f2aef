//! The session servers: where they are, and which is next.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::http::get;
use super::settings::{Settings, Sources, server};
use crate::registry::source::SessionError;

/// A session server, and how many clients it says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    address: SocketAddr,
    clients: u64,
}

/// The list of servers; a copy is the same list.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    settings: Arc<Settings>,
    list: Arc<Mutex<Vec<Server>>>,
}

impl Servers {
    /// None known yet.
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, list: Arc::default() }
    }

    /// Servers to try, in order: at random, of two neighbours the one with fewer clients first, the one that failed last.
    pub(super) async fn order(&self, failed: Option<SocketAddr>) -> Result<Vec<SocketAddr>, SessionError> {
        if self.snapshot().is_empty() {
            let unreachable = |why| SessionError::Unreachable(format!("no list of servers: {why}"));
            self.fetch().await.map_err(unreachable)?;
        } else if !matches!(tokio::time::timeout(PATIENCE, self.fetch()).await, Ok(Ok(()))) {
            // Its source may be the server that has just died.
            tracing::debug!("SOFARegistry's list of servers stays as it was");
        }
        let mut list = self.snapshot();
        fastrand::shuffle(&mut list);
        for pair in list.chunks_mut(2) {
            pair.sort_by_key(|server| server.clients);
        }
        let mut seen = HashSet::new();
        let mut order: Vec<_> = list.into_iter().map(|server| server.address).collect();
        order.retain(|address| seen.insert(*address));
        order.sort_by_key(|address| Some(*address) == failed);
        order.truncate(MAX_TRIED);
        Ok(order)
    }

    /// Renews the list from time to time; never ends.
    pub(super) async fn keep_fresh(self) {
        loop {
            let jitter = 0.75 + fastrand::f64() * 0.5;
            tokio::time::sleep(self.settings.refresh.mul_f64(jitter)).await;
            if let Err(why) = self.fetch().await {
                tracing::debug!(why, "SOFARegistry's list of servers stays as it was");
            }
        }
    }

    /// Renews the list, or leaves it as it is.
    async fn fetch(&self) -> Result<(), String> {
        let list = match &self.settings.sources {
            Sources::Servers(servers) => {
                servers.iter().map(|address| Server { address: *address, clients: 0 }).collect()
            }
            Sources::Endpoints(endpoints) => self.ask(endpoints).await?,
        };
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = list;
        Ok(())
    }

    async fn ask(&self, endpoints: &[String]) -> Result<Vec<Server>, String> {
        let mut faults = Vec::new();
        for endpoint in endpoints {
            match ask_one(endpoint, &self.settings.zone, self.settings.connect_timeout).await {
                Ok(list) => {
                    return Ok(list.into_iter().map(|server| self.reached_at(server)).collect());
                }
                Err(why) => faults.push(why),
            }
        }
        Err(faults.join("; "))
    }

    fn reached_at(&self, server: Server) -> Server {
        let addresses = &self.settings.addresses;
        let whole = addresses.get(&server.address.to_string()).and_then(|to| to.parse().ok());
        let host = addresses.get(&server.address.ip().to_string()).and_then(|to| to.parse::<IpAddr>().ok());
        let host = host.map(|ip| SocketAddr::new(ip, server.address.port()));
        Server { address: whole.or(host).unwrap_or(server.address), ..server }
    }

    fn snapshot(&self) -> Vec<Server> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn ask_one(endpoint: &str, zone: &str, limit: Duration) -> Result<Vec<Server>, String> {
    let zone: String = zone.bytes().map(escaped).collect();
    let weighted = get(endpoint, &format!("/api/servers/queryWithWeight?zone={zone}"), limit).await?;
    let list = match weighted {
        (200, text) => parse(&text),
        // Servers that do not know how many clients they have.
        _ => {
            let (status, text) =
                get(endpoint, &format!("/api/servers/query.json?zone={zone}"), limit).await?;
            if status != 200 {
                return Err(format!("{endpoint}: status {status} for the list of servers"));
            }
            let items: Vec<String> = serde_json::from_str(&text).map_err(|_| {
                format!("{endpoint}: no list of servers: {}", crate::registry::endpoint::shown(&text))
            })?;
            parse(&items.join(";"))
        }
    };
    if list.is_empty() { Err(format!("{endpoint}: knows no server")) } else { Ok(list) }
}

/// Reads `ip:port?weight=N;ip:port`; what is no address is left out.
fn parse(text: &str) -> Vec<Server> {
    let one = |item: &str| {
        let (address, fields) = item.split_once('?').unwrap_or((item, ""));
        let clients = fields.split('&').find_map(|field| field.strip_prefix("weight="));
        Some(Server { address: server(address)?, clients: clients.and_then(|n| n.parse().ok()).unwrap_or(0) })
    };
    text.split(';').filter_map(one).take(MAX_SERVERS).collect()
}

fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// How long a newer list is waited for when there is one.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_TRIED: usize = 8;
const MAX_SERVERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(toml: &str) -> Servers {
        Servers::new(Arc::new(
            toml::from_str::<super::super::settings::Raw>(toml).unwrap().check("/".as_ref()).unwrap(),
        ))
    }

    #[test]
    fn lists_with_and_without_weights() {
        let list = parse("10.0.0.1:9600?weight=7;10.0.0.2:9601;name:1;;[::1]:2?weight=x");
        let want = [("10.0.0.1:9600", 7), ("10.0.0.2:9601", 0), ("[::1]:2", 0)];
        let want = want.map(|(at, clients)| Server { address: at.parse().unwrap(), clients });
        assert_eq!(list, want);
    }

    #[test]
    fn addresses_behind_nat() {
        let servers = servers(
            "endpoints = [\"e\"]\naddresses = { \"10.0.0.1\" = \"192.0.2.1\", \"10.0.0.2:9600\" = \"192.0.2.2:1\" }",
        );
        for (from, to) in [
            ("10.0.0.1:9600", "192.0.2.1:9600"),
            ("10.0.0.2:9600", "192.0.2.2:1"),
            ("10.0.0.2:9601", "10.0.0.2:9601"),
        ] {
            let server = Server { address: from.parse().unwrap(), clients: 0 };
            assert_eq!(servers.reached_at(server).address, to.parse().unwrap());
        }
    }

    #[tokio::test]
    async fn the_one_that_failed_comes_last() {
        let servers = servers("servers = [\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\"]");
        let failed = "10.0.0.2:9600".parse().unwrap();
        for _ in 0..20 {
            let order = servers.order(Some(failed)).await.unwrap();
            assert_eq!((order.len(), order[2]), (3, failed));
        }
    }
}
