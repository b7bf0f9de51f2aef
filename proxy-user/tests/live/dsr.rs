//! Direct server return with real peers: weir sees only the way there.

use std::net::SocketAddr;

use proxy_user::lab::udp::UdpSender;

use crate::bed::{FAMILIES, bed};
use crate::traffic::wait_for;

#[test]
fn backends_answer_the_client_directly() {
    bed(3, |bed| {
        bed.share_vips();
        let mut services = String::new();
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            for (name, proto, port) in [("web", "tcp", 80), ("bulk", "tcp", 5001), ("udp", "udp", 7000)] {
                services += &bed.service(&format!("{name}{n}"), proto, family, port, "forward = \"dsr-l2\"");
            }
        }
        let daemon = bed.start(&services);
        for (family, n) in FAMILIES.into_iter().zip(["4", "6"]) {
            let _http = bed.http_at(|_| family.vip_at(80));
            let answered = bed.gets(family.client(), family.vip_at(80), 510);
            assert!(answered.iter().all(|count| (100..=240).contains(count)), "the spread: {answered:?}");

            let _sinks = bed.bulk_at(|_| family.vip_at(5001));
            bed.bulk(family.vip_at(5001), 50_000_000);

            let receivers = bed.udp_at(|_| family.vip_at(7000));
            let from = SocketAddr::new(family.client(), 0);
            let sender = UdpSender::start(&bed.client, from, family.vip_at(7000), 1000).unwrap();
            wait_for("datagrams", || sender.sent() >= 300);
            let (sent, back) = sender.stop().unwrap();
            assert_eq!((back.received, back.duplicates, back.foreign), (sent, 0, 0));
            drop(receivers);
            let web = daemon.service(&format!("web{n}"));
            assert!(web["packets"].as_u64() > Some(510 * 3), "{web}");
            assert_eq!(web["reply_packets"], 0, "answers do not come by weir");
        }
    });
}
