use super::*;
use crate::control::door::View;
use crate::control::{fake, registry as shown};

fn now() -> Timestamp {
    Timestamp::from_second(fake::then().as_second() + 192).unwrap()
}

fn view() -> View {
    let mut view = View::starting(std::sync::Arc::new(fake::base()), fake::then());
    view.pool = std::sync::Arc::new(fake::pool());
    view
}

#[test]
fn a_line_for_each_registry() {
    let registries = vec![shown::status(&view().pool, "prod", &fake::session(), now())];
    assert_eq!(
        list(&Registries { generation: 1, registries }),
        "\
NAME  KIND  SESSION    PEER             ANSWERED  NAMES  ENDPOINTS  REFUSED  VIPS
prod  sofa  connected  127.0.0.1:9600  3m12s ago    1/1          2        1   1/1
"
    );
    assert!(list(&Registries { generation: 1, registries: Vec::new() }).starts_with("no registries"));
}

#[test]
fn the_status_says_what_was_refused_and_why() {
    let text = status(&shown::status(&view().pool, "prod", &fake::session(), now()), now());
    assert_eq!(
        text,
        "\
prod (sofa)  connected to 127.0.0.1:9600 for 3m12s  sessions 3  failures 2  events 9
  last answer 3m12s ago
  last failure 3m12s ago: reset by peer
  web: prod/com.example.Web group=G  known  2 endpoints, 1 refused, version 7, 3m12s old
    refused `web.example:80`: a host name
  VIP 198.51.100.10:80 of web as com.example.Web in prod  published
"
    );
}

#[test]
fn the_dump_says_whence_and_why_not() {
    let text = dump(&shown::endpoints(&view(), "web", now()).unwrap(), now());
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[1].starts_with("held: 1 removals wait until `weir registry accept web --hold ")
            && lines[1].contains("`, because more than")
    );
    assert!(lines[4].contains("down") && lines[4].contains("prod") && lines[4].contains("version=2"));
    assert!(lines[4].ends_with("the health checks fail: connection refused"), "{text}");
    assert!(lines[5].contains("refused") && lines[5].ends_with("it is a loopback address"));
}
