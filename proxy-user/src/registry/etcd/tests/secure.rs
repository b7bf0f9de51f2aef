//! Users, roles and TLS.

use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::peer::Peer;
use super::rig::{Rig, query};
use crate::lab::left_out;
use crate::registry::etcd::generated::PutRequest;
use crate::registry::etcd::server::Server;
use crate::registry::source::{Event, SessionError};

#[tokio::test]
async fn a_user_sees_what_is_his() {
    let Some(peer) = Peer::start() else { return };
    peer.put("mine/a", "10.0.0.1:1", None);
    peer.put("theirs/a", "10.0.0.1:2", None);
    let password = peer.write("password", "s3cret\n");
    let user = format!("user = 'weir'\npassword_file = '{password}'");
    let (mine, theirs) = (query("mine", &[]), query("theirs", &[]));

    // Before authentication is switched on, or after it was lost with all data.
    let end = Rig::begin(&peer.settings("http", &user), &[&mine]).end().await.unwrap_err();
    assert!(matches!(&end, SessionError::Refused { why, .. } if why.contains("not enabled")), "{end}");

    peer.call("auth/user/add", &json!({ "name": "root", "password": "root" }));
    peer.call("auth/user/add", &json!({ "name": "weir", "password": "s3cret" }));
    peer.call("auth/role/add", &json!({ "name": "root" }));
    peer.call("auth/role/add", &json!({ "name": "mine" }));
    let range =
        json!({ "permType": "READ", "key": STANDARD.encode("mine/"), "range_end": STANDARD.encode("mine0") });
    peer.call("auth/role/grant", &json!({ "name": "mine", "perm": range }));
    peer.call("auth/user/grant", &json!({ "user": "root", "role": "root" }));
    peer.call("auth/user/grant", &json!({ "user": "weir", "role": "mine" }));
    peer.call("auth/enable", &json!({}));

    let mut rig = Rig::begin(&peer.settings("http", &user), &[&mine, &theirs]);
    rig.ports(&mine, &[1]).await;
    loop {
        match rig.event().await {
            Event::Gone { query, why } => {
                assert_eq!(query, theirs);
                assert!(why.contains("permission denied"), "{why}");
                break;
            }
            event => assert!(!matches!(&event, Event::Reset { query, .. } if *query == theirs), "{event:?}"),
        }
    }
    for (name, password) in [("weir", "wrong"), ("nobody", "s3cret")] {
        let file = peer.write("other", password);
        let settings = peer.settings("http", &format!("user = '{name}'\npassword_file = '{file}'"));
        let end = Rig::begin(&settings, &[&mine]).end().await.unwrap_err();
        assert!(matches!(&end, SessionError::Refused { .. }), "{end}");
        assert!(!end.to_string().contains(password) && !format!("{settings:?}").contains(password));
    }
    let end = Rig::begin(&peer.settings("http", ""), &[&mine]).end().await.unwrap_err();
    assert!(matches!(&end, SessionError::Refused { .. }), "{end}");
    let end = Rig::begin(&peer.settings("http", "user = 'weir'\npassword_file = '/none'"), &[&mine])
        .end()
        .await
        .unwrap_err();
    assert!(end.to_string().contains("/none"), "{end}");
}

#[tokio::test]
async fn certificates_are_asked_for_on_both_sides() {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        return left_out("TLS to etcd: openssl is not installed (Debian: apt-get install openssl)");
    }
    let args = |dir: &std::path::Path| {
        let run = |line: &str| {
            let mut command = Command::new("openssl");
            let output = command.args(line.split(' ')).current_dir(dir).output().unwrap();
            assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        run(&format!("req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=ca -days 2"));
        run(&format!("req -x509 {new} -keyout other.key -out other.pem -subj /CN=ca -days 2"));
        for (name, subject) in [("server", "IP:127.0.0.1"), ("client", "DNS:weir")] {
            std::fs::write(dir.join("ext"), format!("subjectAltName={subject}")).unwrap();
            run(&format!("req -new {new} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
            run(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.pem"
            ));
        }
        let file = |name: &str| dir.join(name).display().to_string();
        let args = [
            "--cert-file",
            &file("server.pem"),
            "--key-file",
            &file("server.key"),
            "--trusted-ca-file",
            &file("ca.pem"),
            "--client-cert-auth",
        ];
        args.map(str::to_owned).into()
    };
    let Some(peer) = Peer::start_with("https", args) else { return };
    let ca = format!("ca_file = '{}'\n", peer.file("ca.pem"));
    let own =
        format!("cert_file = '{}'\nkey_file = '{}'\n", peer.file("client.pem"), peer.file("client.key"));
    let settings = peer.settings("https", &format!("{ca}{own}"));

    let server = loop {
        match Server::connect(&settings, 0).await {
            Ok((_, server)) => break server,
            Err(error) => assert!(error.to_string().contains("refused"), "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let request = PutRequest { key: b"s/a".into(), value: b"10.0.0.1:1".into(), lease: 0 };
    server.ask(server.kv().put(request)).await.unwrap();
    let web = query("s", &[]);
    Rig::begin(&settings, &[&web]).ports(&web, &[1]).await;

    for (more, why) in [
        (
            format!("ca_file = '{}'\n{own}", peer.file("other.pem")),
            "a stranger signed the server's certificate",
        ),
        (own.clone(), "the system's authorities did not sign it"),
        (format!("{ca}{own}server_name = 'etcd.example'"), "another name"),
        (ca.clone(), "no certificate of one's own"),
    ] {
        let end = Rig::begin(&peer.settings("https", &more), &[&web]).end().await;
        assert!(
            matches!(&end, Err(SessionError::Unreachable(_) | SessionError::Lost { .. })),
            "{why}: {end:?}"
        );
    }
}
