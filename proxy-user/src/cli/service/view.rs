//! The service view, in the layout that operators know from `ipvsadm`: a line for the VIP, its backends indented
//! under it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::cli::rates::{Rates, Readings};
use crate::cli::table::{Align, Table};
use crate::cli::units::{count, rate_text, since};
use crate::control::types::{
    BackendDocument, HoldStatus, PublicationStatus, QueryStatus, ServiceDocument, StandingState, Traffic,
};
use crate::model::{AdminState, Announce, Forward, Origin, UnknownPort};

/// What the view shows.
#[derive(Serialize)]
pub(super) struct View {
    /// Generation of the services.
    pub(super) generation: u64,
    /// Services.
    pub(super) services: Vec<ServiceView>,
}

/// A service, its counters and rates.
#[derive(Serialize)]
pub(super) struct ServiceView {
    name: String,
    vip: String,
    forward: Forward,
    announce: Announce,
    unknown_port: UnknownPort,
    syn_budget: u32,
    origin: Origin,
    #[serde(flatten)]
    numbers: Numbers,
    backends: Vec<BackendView>,
    sources: Vec<QueryStatus>,
    hold: Option<HoldStatus>,
    publications: Vec<PublicationStatus>,
    withdrawn: bool,
    #[serde(flatten)]
    l7: ServedBy,
    #[serde(skip)]
    now: Timestamp,
}

/// How the L7 path serves it, as the API says it.
#[derive(Serialize)]
struct ServedBy {
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l7: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Value>,
    l7_overridden: bool,
}

/// A backend, its counters and rates.
#[derive(Serialize)]
struct BackendView {
    #[serde(flatten)]
    document: BackendDocument,
    #[serde(flatten)]
    numbers: Numbers,
}

/// Counters and rates.
#[derive(Serialize)]
struct Numbers {
    traffic: Traffic,
    flows: Option<u64>,
    rates: Rates,
}

impl View {
    /// Joins services with their counters.
    pub(super) fn new(generation: u64, services: Vec<ServiceDocument>, readings: &Readings<'_>) -> Self {
        let services = services.into_iter().map(|document| ServiceView::new(document, readings)).collect();
        Self { generation, services }
    }

    /// As a table.
    pub(super) fn render(&self, exact: bool) -> String {
        if self.services.is_empty() {
            return "no services; add one: weir service add NAME --vip tcp/ADDR:PORT --backend ADDR:PORT\n"
                .to_owned();
        }
        let mut table = Table::new(&COLUMNS);
        for service in &self.services {
            table.row(service_cells(service, exact));
            for backend in &service.backends {
                table.row(backend_cells(backend, service.now, exact));
            }
        }
        table.render()
    }
}

impl ServiceView {
    fn new(document: ServiceDocument, readings: &Readings<'_>) -> Self {
        let ServiceDocument {
            name, vip, forward, announce, unknown_port, syn_budget, origin, backends, ..
        } = document;
        let ServiceDocument { sources, hold, publications, withdrawn, .. } = document;
        let ServiceDocument { codec, l7, host, route, l7_overridden, .. } = document;
        let stats = readings.now.services.iter().find(|stats| stats.service == name);
        let backend = |document: BackendDocument| {
            let found =
                stats.and_then(|stats| stats.backends.iter().find(|found| found.address == document.address));
            let numbers = Numbers {
                traffic: found.map(|found| found.traffic).unwrap_or_default(),
                flows: found.and_then(|found| found.flows),
                rates: readings.traffic(&name, Some(&document.address)),
            };
            BackendView { document, numbers }
        };
        let backends = backends.into_iter().map(backend).collect();
        let numbers = Numbers {
            traffic: stats.map(|stats| stats.traffic).unwrap_or_default(),
            flows: stats.and_then(|stats| stats.flows),
            rates: readings.traffic(&name, None),
        };
        Self {
            name,
            vip,
            forward,
            announce,
            unknown_port,
            syn_budget,
            origin,
            numbers,
            backends,
            sources,
            hold,
            publications,
            withdrawn,
            l7: ServedBy { codec, l7, host, route, l7_overridden },
            now: readings.now.at,
        }
    }
}

fn service_cells(service: &ServiceView, exact: bool) -> Vec<String> {
    let (proto, address) = service.vip.split_once('/').unwrap_or(("", &service.vip));
    let up = service.backends.iter().filter(|backend| backend.document.health.up).count();
    let mode = mode_word(service.forward);
    let mut cells = [proto, address, &service.name, mode].map(ToOwned::to_owned).to_vec();
    cells.extend(number_cells(&service.numbers, exact));
    cells.push(format!("{up}/{} up", service.backends.len()));
    cells
}

fn backend_cells(backend: &BackendView, now: Timestamp, exact: bool) -> Vec<String> {
    let BackendView { document, numbers } = backend;
    let address = format!("{} w{}", document.address, document.weight);
    let mut cells = vec!["  ->".to_owned(), address, String::new(), String::new()];
    cells.extend(number_cells(numbers, exact));
    cells.push(state_text(document, now));
    cells
}

fn number_cells(numbers: &Numbers, exact: bool) -> [String; 5] {
    let Numbers { traffic, flows, rates } = numbers;
    [
        rate_text(rates.connections, exact),
        rate_text(rates.packets, exact),
        rate_text(rates.bits, exact),
        count(traffic.connections, exact),
        flows.map_or_else(|| "-".to_owned(), |flows| count(flows, exact)),
    ]
}

fn state_text(backend: &BackendDocument, now: Timestamp) -> String {
    let draining = backend.state == AdminState::Drain || backend.weight == 0;
    let (state, detail) = match (backend.standing, backend.health.up, draining) {
        (Some(standing), ..) if !matches!(standing, StandingState::Used | StandingState::Held) => {
            (standing.label(), &backend.standing_detail)
        }
        (_, false, _) => ("down", &backend.health.detail),
        (_, true, true) => ("draining", &None),
        (standing, true, false) => {
            (if standing == Some(StandingState::Held) { "up, removal held" } else { "up" }, &None)
        }
    };
    let since = backend.since.map(|at| format!(" {}", since(now, at))).unwrap_or_default();
    let sources = backend.sources.join(", ");
    let sources = if sources.is_empty() { sources } else { format!(" ({sources})") };
    let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let overridden = if backend.overridden { " (set by the API over the file)" } else { "" };
    format!("{state}{since}{sources}{detail}{overridden}")
}

/// A forwarding mode as it is written everywhere.
pub(super) fn mode_word(forward: Forward) -> &'static str {
    match forward {
        Forward::Nat => "nat",
        Forward::DsrL2 => "dsr-l2",
        Forward::L7 => "l7",
    }
}

const COLUMNS: [(&str, Align); 10] = [
    ("PROTO", Align::Left),
    ("VIP", Align::Left),
    ("NAME", Align::Left),
    ("MODE", Align::Left),
    ("CPS", Align::Right),
    ("PPS", Align::Right),
    ("BPS", Align::Right),
    ("CONNS", Align::Right),
    ("FLOWS", Align::Right),
    ("STATE", Align::Left),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rates::tests::reading;
    use crate::control::types::BackendHealth;

    fn backend(address: &str, weight: u16, up: bool, detail: Option<&str>) -> BackendDocument {
        BackendDocument {
            address: address.into(),
            weight,
            state: AdminState::Active,
            origin: Origin::File,
            overridden: false,
            health: BackendHealth { up, detail: detail.map(ToOwned::to_owned), ..BackendHealth::default() },
            sources: Vec::new(),
            standing: None,
            standing_detail: None,
            since: None,
            zone: None,
            labels: Default::default(),
            checked: None,
        }
    }

    fn web() -> ServiceDocument {
        ServiceDocument {
            name: "web".into(),
            vip: "tcp/198.51.100.10:80".into(),
            forward: Forward::Nat,
            announce: Announce::None,
            unknown_port: UnknownPort::Drop,
            syn_budget: 1,
            origin: Origin::File,
            backends: vec![
                backend("10.0.0.11:8080", 100, true, None),
                backend("10.0.0.12:8080", 0, true, None),
                backend("10.0.0.13:8080", 100, false, Some("no neighbour entry")),
            ],
            sources: Vec::new(),
            hold: None,
            publications: Vec::new(),
            withdrawn: false,
            codec: None,
            l7: None,
            host: None,
            route: None,
            l7_overridden: false,
        }
    }

    #[test]
    fn a_discovered_backend_says_whence_and_since_when() {
        let now: Timestamp = "2026-01-01T00:03:12Z".parse().unwrap();
        let mut found = backend("10.0.0.11:8080", 100, true, None);
        found.sources = vec!["prod".into(), "dns".into()];
        found.since = Some("2026-01-01T00:00:00Z".parse().unwrap());
        let text = |standing, detail: Option<&str>, found: &BackendDocument| {
            let standing_detail = detail.map(ToOwned::to_owned);
            state_text(&BackendDocument { standing: Some(standing), standing_detail, ..found.clone() }, now)
        };
        assert_eq!(text(StandingState::Used, None, &found), "up 3m12s (prod, dns)");
        assert_eq!(text(StandingState::Held, Some("x"), &found), "up, removal held 3m12s (prod, dns)");
        assert_eq!(text(StandingState::Down, Some("refused"), &found), "down 3m12s (prod, dns): refused");
        assert_eq!(text(StandingState::Leaving, None, &found), "leaving 3m12s (prod, dns)");
    }

    #[test]
    fn the_layout_of_ipvsadm() {
        let before = reading("2026-01-01T00:00:00Z", "a", 10, 1_000);
        let now = reading("2026-01-01T00:00:02Z", "a", 24_810, 1_921_000);
        let view = View::new(7, vec![web()], &Readings::new(Some(&before), &now));
        assert_eq!(
            view.render(false),
            "\
PROTO  VIP                  NAME  MODE    CPS   PPS   BPS  CONNS  FLOWS  STATE
tcp    198.51.100.10:80     web   nat   12.4k  960k  768M  24.8k      3  2/3 up
  ->   10.0.0.11:8080 w100              12.4k  960k  768M  24.8k      3  up
  ->   10.0.0.12:8080 w0                   --    --    --      0      -  draining
  ->   10.0.0.13:8080 w100                 --    --    --      0      -  down: no neighbour entry
"
        );
        assert!(view.render(true).contains(" 12400  960000  768000000  24810 "), "{}", view.render(true));
    }

    #[test]
    fn no_services_says_how_to_add_one() {
        let now = reading("2026-01-01T00:00:02Z", "a", 0, 0);
        let view = View::new(7, Vec::new(), &Readings::new(None, &now));
        assert!(view.render(false).contains("weir service add"));
    }

    #[test]
    fn json_keeps_the_document_and_adds_numbers() {
        let now = reading("2026-01-01T00:00:02Z", "a", 3, 5);
        let view = View::new(7, vec![web()], &Readings::new(None, &now));
        let json = serde_json::to_value(&view).unwrap();
        let service = &json["services"][0];
        assert_eq!(service["vip"], "tcp/198.51.100.10:80");
        assert_eq!(service["backends"][0]["address"], "10.0.0.11:8080");
        assert_eq!(service["backends"][0]["traffic"]["connections"], 3);
        assert!(service["rates"]["packets"].is_null());
    }
}
