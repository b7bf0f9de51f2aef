//! What an endpoint is told of the client.

use std::io::Write as _;

use super::bolt::{frame_with, read_response, read_whole, response};
use super::http1::{ask, serve};
use super::*;
use crate::wire::bolt::Headers;

/// The lines of these names that the endpoint gets of a request with `headers`.
fn told(how: ClientAddress, trusted: &str, headers: &str, names: &[&str]) -> Vec<String> {
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        web(snapshot).client_address = how;
        web(snapshot).rules.trusted = vec![trusted.parse().unwrap()];
    });
    let (status, _, body) =
        ask(&mut rig.connect(), &format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}X-Last: 1\r\n\r\n"));
    assert_eq!(status, 200);
    let text = String::from_utf8(body).unwrap();
    assert!(text.contains("X-Last: 1\r\n"), "{text}");
    let is = |line: &str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase().replace('_', "-");
        names.contains(&name.as_str())
    };
    text.lines().filter(|line| is(line)).map(str::to_owned).collect()
}

const NOBODY: &str = "10.0.0.0/8";
const HERE: &str = "127.0.0.0/8";

#[test]
fn a_header_that_the_service_names() {
    let named = || ClientAddress::Header("X-Client-IP".into());
    let claims = "x-client-ip: 6.6.6.6\r\nX-CLIENT-IP: 7.7.7.7\r\nX_Client_IP: 8.8.8.8\r\nX-Real-IP: 9.9.9.9\r\n\
                  Connection: x-client-ip\r\n";
    let names = ["x-client-ip", "x-real-ip", "x-forwarded-for", "forwarded"];
    assert_eq!(told(named(), NOBODY, "", &names), ["X-Client-IP: 127.0.0.1"]);
    assert_eq!(told(named(), NOBODY, claims, &names), ["X-Client-IP: 127.0.0.1"]);
    assert_eq!(told(named(), HERE, "", &names), ["X-Client-IP: 127.0.0.1"]);
    assert_eq!(
        told(named(), HERE, "X-Client-IP: 192.0.2.1\r\nx-client-ip: 192.0.2.2\r\n", &names),
        ["X-Client-IP: 192.0.2.1, 192.0.2.2, 127.0.0.1"]
    );
}

#[test]
fn forwarded_and_x_forwarded_for() {
    let claims = "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                  X_Forwarded_For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\n";
    let names = ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
    assert_eq!(told(ClientAddress::Forwarded, NOBODY, claims, &names), ["Forwarded: for=127.0.0.1"]);
    assert_eq!(told(ClientAddress::XForwardedFor, NOBODY, claims, &names), ["X-Forwarded-For: 127.0.0.1"]);
    assert_eq!(
        told(ClientAddress::Forwarded, HERE, "Forwarded: for=192.0.2.1;proto=https\r\n", &names),
        ["Forwarded: for=192.0.2.1;proto=https, for=127.0.0.1"]
    );
    assert_eq!(
        told(ClientAddress::XForwardedFor, HERE, "X-Forwarded-For: 192.0.2.1\r\n", &names),
        ["X-Forwarded-For: 192.0.2.1, 127.0.0.1"]
    );
    // What the service does not tell, it does not touch.
    assert_eq!(
        told(ClientAddress::None, NOBODY, "X-Forwarded-For: 192.0.2.1\r\n", &names),
        ["X-Forwarded-For: 192.0.2.1"]
    );
}

#[test]
fn a_header_of_bolt() {
    let answers_its_map = |mut stream: TcpStream| {
        while let Some((id, map, _)) = read_whole(&mut stream) {
            let pairs = Headers::new(&map).map(|pair| pair.unwrap());
            let text: Vec<String> = pairs
                .map(|(name, value)| {
                    format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
                })
                .collect();
            if stream.write_all(&response(id, 0, text.join(";").as_bytes())).is_err() {
                return;
            }
        }
    };
    let backend = Backend::new(answers_its_map);
    for (trusted, wanted) in [
        (NOBODY, "service=a:1.0;app=b;client.ip=127.0.0.1"),
        (HERE, "service=a:1.0;app=b;client.ip=192.0.2.2, 127.0.0.1"),
    ] {
        let rig = Rig::new("bolt", &[backend.at], |snapshot| {
            web(snapshot).client_address = ClientAddress::Header("client.ip".into());
            web(snapshot).rules.trusted = vec![trusted.parse().unwrap()];
        });
        let mut client = rig.connect();
        let claims =
            [("client.ip", "6.6.6.6"), ("service", "a:1.0"), ("client.ip", "192.0.2.2"), ("app", "b")];
        client.write_all(&frame_with(9, &claims, b"content")).unwrap();
        let (id, status, content) = read_response(&mut client);
        assert_eq!((id, status, String::from_utf8(content).unwrap().as_str()), (9, 0, wanted));
        client.write_all(&frame_with(10, &[("service", "a:1.0"), ("app", "b")], b"")).unwrap();
        let (_, _, content) = read_response(&mut client);
        assert_eq!(content, b"service=a:1.0;app=b;client.ip=127.0.0.1");
    }
}

#[test]
fn more_header_changes_than_fit_on_the_stack_are_all_made() {
    use crate::l7::snapshot::{HeaderChange, Route, VirtualHost};
    let backend = Backend::new(serve);
    let rig = Rig::new("http1", &[backend.at], |snapshot| {
        let changes = |prefix: &str| {
            (0..100).map(|n| HeaderChange::Set(format!("{prefix}-{n}"), n.to_string())).collect()
        };
        let route = Route {
            request_headers: changes("x-up"),
            response_headers: changes("x-down"),
            ..Route::default()
        };
        let host = VirtualHost { hosts: vec!["*".into()], routes: vec![route], ..VirtualHost::default() };
        snapshot.routes.services.insert("web".into(), vec![host]);
    });
    let (status, head, body) = ask(&mut rig.connect(), http1::GET);
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 200);
    for n in 0..100 {
        assert!(body.contains(&format!("x-up-{n}: {n}\r\n")), "{n}");
        assert!(head.contains(&format!("x-down-{n}: {n}\r\n")), "{n}");
    }
}
