//! Services of the L7 path: what their workers have counted, since XDP forwards nothing to their backends.

use super::view::{Numbers, ServiceView, state_text};
use crate::cli::table::{Align, Table};
use crate::cli::units::{count, rate_text};

/// Their table; empty without any.
pub(super) fn table(services: &[&ServiceView], exact: bool) -> Table {
    let mut table = Table::new(&COLUMNS);
    for service in services {
        let mut cells = service.names();
        cells.extend(number_cells(&service.numbers, exact));
        cells.push(service.state());
        table.row(cells);
        for backend in &service.backends {
            let mut cells = backend.names();
            cells.extend(number_cells(&backend.numbers, exact));
            let left_out = match backend.numbers.l7_traffic.map_or(0, |traffic| traffic.ejected) {
                0 => String::new(),
                1 => "; left out for its failures by 1 worker".to_owned(),
                workers => format!("; left out for its failures by {workers} workers"),
            };
            cells.push(format!("{}{left_out}", state_text(&backend.document, service.now)));
            table.row(cells);
        }
    }
    table
}

fn number_cells(numbers: &Numbers, exact: bool) -> [String; 5] {
    let traffic = numbers.l7_traffic.unwrap_or_default();
    [
        rate_text(numbers.rates.requests, exact),
        count(traffic.requests, exact),
        count(traffic.requests_active, exact),
        count(traffic.connections_active, exact),
        count(traffic.failures, exact),
    ]
}

const COLUMNS: [(&str, Align); 10] = [
    ("PROTO", Align::Left),
    ("VIP", Align::Left),
    ("NAME", Align::Left),
    ("MODE", Align::Left),
    ("RPS", Align::Right),
    ("REQUESTS", Align::Right),
    ("ACTIVE", Align::Right),
    ("CONNS", Align::Right),
    ("FAILED", Align::Right),
    ("STATE", Align::Left),
];
