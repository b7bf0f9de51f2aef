//! The service view, in the layout that operators know from `ipvsadm`: a line for the VIP, its backends indented
//! under it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::l7_view;
use crate::cli::rates::{Rates, Readings};
use crate::cli::table::{Align, Table};
use crate::cli::units::{count, rate_text, since};
use crate::control::types::{
    BackendDocument, HoldStatus, L7Traffic, PublicationStatus, QueryStatus, ServiceDocument, StandingState,
    Traffic,
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
    pub(super) name: String,
    pub(super) vip: String,
    pub(super) forward: Forward,
    announce: Announce,
    unknown_port: UnknownPort,
    syn_budget: u32,
    origin: Origin,
    #[serde(flatten)]
    pub(super) numbers: Numbers,
    pub(super) backends: Vec<BackendView>,
    sources: Vec<QueryStatus>,
    hold: Option<HoldStatus>,
    publications: Vec<PublicationStatus>,
    withdrawn: bool,
    #[serde(flatten)]
    l7: ServedBy,
    #[serde(skip)]
    pub(super) now: Timestamp,
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
pub(super) struct BackendView {
    #[serde(flatten)]
    pub(super) document: BackendDocument,
    #[serde(flatten)]
    pub(super) numbers: Numbers,
}

/// Counters and rates.
#[derive(Serialize)]
pub(super) struct Numbers {
    traffic: Traffic,
    flows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) l7_traffic: Option<L7Traffic>,
    pub(super) rates: Rates,
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
        let (served, forwarded): (Vec<_>, Vec<_>) =
            self.services.iter().partition(|service| service.forward == Forward::L7);
        for service in forwarded {
            table.row(service_cells(service, exact));
            for backend in &service.backends {
                table.row(backend_cells(backend, service.now, exact));
            }
        }
        let tables = [table, l7_view::table(&served, exact)];
        let shown: Vec<_> = tables.iter().filter(|table| !table.is_empty()).map(Table::render).collect();
        shown.join("\n")
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
                l7_traffic: found.and_then(|found| found.l7_traffic),
                rates: readings.traffic(&name, Some(&document.address)),
            };
            BackendView { document, numbers }
        };
        let backends = backends.into_iter().map(backend).collect();
        let numbers = Numbers {
            traffic: stats.map(|stats| stats.traffic).unwrap_or_default(),
            flows: stats.and_then(|stats| stats.flows),
            l7_traffic: stats.and_then(|stats| stats.l7_traffic),
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

impl ServiceView {
    /// The cells before the numbers.
    pub(super) fn names(&self) -> Vec<String> {
        let (proto, address) = self.vip.split_once('/').unwrap_or(("", &self.vip));
        [proto, address, &self.name, mode_word(self.forward)].map(ToOwned::to_owned).to_vec()
    }

    /// The cell behind them.
    pub(super) fn state(&self) -> String {
        let up = self.backends.iter().filter(|backend| backend.document.health.up).count();
        format!("{up}/{} up", self.backends.len())
    }
}

impl BackendView {
    /// The cells before the numbers.
    pub(super) fn names(&self) -> Vec<String> {
        let address = format!("{} w{}", self.document.address, self.document.weight);
        vec!["  ->".to_owned(), address, String::new(), String::new()]
    }
}

fn service_cells(service: &ServiceView, exact: bool) -> Vec<String> {
    let mut cells = service.names();
    cells.extend(number_cells(&service.numbers, exact));
    cells.push(service.state());
    cells
}

fn backend_cells(backend: &BackendView, now: Timestamp, exact: bool) -> Vec<String> {
    let BackendView { document, numbers } = backend;
    let mut cells = backend.names();
    cells.extend(number_cells(numbers, exact));
    cells.push(state_text(document, now));
    cells
}

fn number_cells(numbers: &Numbers, exact: bool) -> [String; 5] {
    let Numbers { traffic, flows, rates, .. } = numbers;
    [
        rate_text(rates.connections, exact),
        rate_text(rates.packets, exact),
        rate_text(rates.bits, exact),
        count(traffic.connections, exact),
        flows.map_or_else(|| "-".to_owned(), |flows| count(flows, exact)),
    ]
}

pub(super) fn state_text(backend: &BackendDocument, now: Timestamp) -> String {
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
#[path = "view_tests.rs"]
mod tests;
