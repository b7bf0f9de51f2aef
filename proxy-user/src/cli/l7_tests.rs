use super::*;
use crate::cli::output::Format;
use crate::control::fake;

fn plain() -> Output {
    Output { format: Format::Table, quiet: false, verbose: false, colour: false, terminal: false }
}

#[test]
fn the_status_names_workers_and_services() {
    let found = crate::control::l7::status(Some(&fake::observer()));
    assert_eq!(
        status(&found, &plain()),
        "\
1/2 workers serve  generation 1  connections 5
WORKER  PID  STATE     GEN  CONNS  ACTIVE  RESTARTS  LAST END   TROUBLE
0       100  serving     1      3       1         1  signal: 9
1         -  down        -      0       0         2  -          worker 1 has ended (signal: 9)
-       102  draining    -      2       0         0  -

SERVICE  CONNS  REQUESTS  ACTIVE  PENDING  2XX  3XX  4XX  5XX  RETRIES  RESETS
shop         5        40       1        0   37    0    2    1        3       1
shop answered by weir: bad_request 1, denied 1; refused for host 1
"
    );
    assert!(status(&crate::control::l7::status(None), &plain()).starts_with("no L7 workers"));
}

#[test]
fn connections_are_lines() {
    let one = L7Connection {
        worker: 1,
        client: "192.0.2.7:40000".into(),
        local: "198.51.100.20:80".into(),
        service: "shop".into(),
        codec: Some("http1".into()),
        state: "busy".into(),
        upstream: Some("10.0.0.21:8080".into()),
        age_ms: 65_500,
        requests: 1_500,
        requests_active: 1,
        bytes_up: 90_000,
        bytes_down: 12,
    };
    let found = L7Connections { connections: vec![one], more: false, silent: Vec::new() };
    assert_eq!(
        connections(&found),
        "\
WORKER  CLIENT           SERVICE  CODEC  STATE  BACKEND          AGE  REQUESTS  ACTIVE   IN  OUT
1       192.0.2.7:40000  shop     http1  busy   10.0.0.21:8080  1m5s      1.5k       1  90k   12
"
    );
}

#[test]
fn routes_stand_in_their_order() {
    let services =
        fake::observer().with_snapshot(|snapshot| crate::l7::explain::routes(snapshot, None)).unwrap();
    let found = L7Routes { generation: Some(1), acknowledged: 1, workers: 2, services };
    assert_eq!(
        routes(&found),
        "\
generation 1, in force in 1 of 2 workers

shop 198.51.100.20:80  http1  least request of two  1/2 backends take requests
  front: shop.example, *.shop.example
    1. lane: header x-lane is `b`
       forward to shop (weight 3), next (weight 1), timeout 500 ms, up to 2 retries (budget 20%)
       request: set x-new: 1
    2. old: method GET or HEAD, path begins with `/old`
       redirect 301 to /new
"
    );
}
