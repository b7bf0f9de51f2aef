//! NAT flows: beginning, handshake, end, expiry, what runs out.

use proxy_common::{BackendState, Reason};

use super::Row;
use super::scene::{CLIENT_PORT, NETS, Net, SNAT_PORT, backends, world};
use crate::engine::Verdict;
use crate::packet::{Packet, Tcp, Udp, flags};

pub(super) fn rows() -> Vec<Row> {
    NETS.into_iter().flat_map(of).collect()
}

/// A packet of either side of the one TCP flow.
struct Flow(Net);

impl Flow {
    fn out(&self, row: Row, packet: &Packet) -> Row {
        row.steers(packet, Reason::Nat, Verdict::Tx, &self.0.requested(packet))
    }

    fn back(&self, row: Row, packet: &Packet) -> Row {
        row.steers(packet, Reason::NatReply, Verdict::Tx, &self.0.answered(packet))
    }

    fn client(&self, flag: u8, seq: u32, ack: u32) -> Packet {
        self.0.request(Tcp::new(CLIENT_PORT, 80).flags(flag).numbers(seq, ack))
    }

    fn server(&self, flag: u8, seq: u32, ack: u32) -> Packet {
        self.0.answer(Tcp::new(8_080, SNAT_PORT).flags(flag).numbers(seq, ack))
    }

    /// SYN, SYN with ACK, ACK.
    fn handshake(&self, row: Row) -> Row {
        let row = self.out(row, &self.0.syn());
        let row = self.back(row, &self.server(flags::SYN | flags::ACK, 500, 1_001));
        self.out(row, &self.client(flags::ACK, 1_001, 501))
    }
}

fn of(net: Net) -> Vec<Row> {
    let flow = Flow(net);
    let (syn, fin, rst, ack) = (flags::SYN, flags::FIN | flags::ACK, flags::RST, flags::ACK);
    let second = net.request(Tcp::syn(CLIENT_PORT + 1, 80));
    let question = net.datagram();
    let reply = net.answer(Udp::new(53, SNAT_PORT).payload(b"answer"));
    let unsummed = net.request(Udp::new(CLIENT_PORT, 53).payload(b"x").unsummed());
    let mut rows = vec![
        Row::new("TCP to a NAT service that is neither SYN nor of a flow", world())
            .stops(&flow.client(ack, 1, 1), Reason::NoFlow)
            .stops(&flow.client(syn | ack, 1, 1), Reason::NoFlow)
            .stops(&flow.client(rst, 1, 1), Reason::NoFlow),
        {
            let row =
                flow.handshake(Row::new("handshake, data, close from both sides, and begin again", world()));
            let row = flow
                .out(row, &flow.client(ack | flags::PSH, 1_001, 501).with(|p| p.tcp().payload = vec![1; 9]));
            let row = flow.back(row, &flow.server(ack, 501, 1_010).with(|p| p.tcp().payload = vec![2; 9]));
            let row = flow.out(row, &flow.client(fin, 1_010, 510));
            let row = flow.back(row, &flow.server(fin, 510, 1_011));
            let row = flow.out(row, &flow.client(ack, 1_011, 511));
            flow.handshake(row)
        },
        {
            let row = flow.out(Row::new("refused by the backend", world()), &net.syn());
            let row = flow.back(row, &flow.server(rst | ack, 0, 1_001));
            flow.out(row, &net.syn())
        },
        {
            let row = flow.out(Row::new("a SYN sent again is the same flow", world()), &net.syn());
            flow.out(row, &net.syn()).stops(&second, Reason::SnatExhausted)
        },
        Row::new("a source-NAT port is taken once", world())
            .steers(&net.syn(), Reason::Nat, Verdict::Tx, &net.requested(&net.syn()))
            .stops(&second, Reason::SnatExhausted),
        Row::new("no source-NAT address", world().with(|w| backends(w, |b| b.snat_count = 0)))
            .stops(&net.syn(), Reason::SnatExhausted),
        budget(&flow, &second, "only so many flows may wait for their handshake", false),
        budget(&flow, &second, "a finished handshake gives its place back", true),
        flow.out(Row::new("the flow table is full", world()).capacity(3), &net.syn())
            .stops(&question, Reason::FlowTableFull),
        flow.back(flow.out(Row::new("UDP, there and back", world()), &question), &reply),
        flow.out(
            Row::new("a UDP checksum that comes out as 0 is sent as its other form", world()),
            &sums_to_zero(net),
        ),
        Row::new("UDP without a checksum stays without", world()).steers(
            &unsummed,
            Reason::Nat,
            Verdict::Tx,
            &net.requested(&unsummed),
        ),
        {
            let row = flow.handshake(Row::new("a draining backend keeps its flows", world()));
            let row = row.set(world().with(|w| backends(w, |b| b.state = BackendState::Draining as u8)));
            flow.back(flow.out(row, &flow.client(ack, 1_001, 501)), &flow.server(ack, 501, 1_001))
        },
        flow.handshake(Row::new("a backend that is down ends its flows", world()))
            .set(world().with(|w| backends(w, |b| b.state = BackendState::Down as u8)))
            .stops(&flow.client(ack, 1_001, 501), Reason::BackendGone)
            .stops(&flow.server(ack, 501, 1_001), Reason::BackendGone)
            .stops(&net.syn(), Reason::NoBackend),
        {
            // The slot is another backend's now: packets of the old flow must not reach it.
            let row = flow.handshake(Row::new("a reused slot", world()));
            let row = row.set(world().with(|w| backends(w, |b| b.generation += 1)));
            let row = row.stops(&flow.client(ack, 1_001, 501), Reason::BackendGone);
            flow.out(row.stops(&flow.server(ack, 501, 1_001), Reason::BackendGone), &net.syn())
        },
        flow.handshake(Row::new("the next hop of a flow is lost", world()))
            .set(world().with(|w| backends(w, |b| b.flags = 0)))
            .stops(&flow.client(ack, 1_001, 501), Reason::NeighbourUnresolved),
        flow.handshake(Row::new("TTL of packets of a flow", world()))
            .stops(&flow.client(ack, 1_001, 501).ttl(1), Reason::TtlExceeded)
            .stops(&flow.server(ack, 501, 1_001).ttl(1), Reason::TtlExceeded),
        {
            let row =
                flow.handshake(Row::new("answers follow the client's packets to another router", world()));
            let moved = flow.client(ack, 1_001, 501).with(|p| p.src_mac[5] = 0x77);
            let back = flow.server(ack, 501, 1_001);
            let out = net.answered(&back).with(|p| p.dst_mac[5] = 0x77);
            let row = row.steers_from(3, &moved, Reason::Nat, Verdict::Redirect, &net.requested(&moved));
            row.steers(&back, Reason::NatReply, Verdict::Redirect, &out)
                .stops(&back.clone().tagged(&[5]), Reason::VlanAcross)
        },
    ];
    rows.extend(expiry(&flow, &second));
    rows
}

/// A datagram whose checksum towards the backend is 0, which UDP writes as 0xffff (RFC 768).
fn sums_to_zero(net: Net) -> Packet {
    (0..=u16::MAX)
        .map(|word| net.request(Udp::new(CLIENT_PORT, 53).payload(&word.to_be_bytes())))
        .find(|packet| {
            let out = net.requested(packet);
            out.build()[out.l4_offset() + 6..][..2] == [0xff, 0xff]
        })
        .expect("one word of data gives every sum")
}

/// A budget of one: a second flow has no place until the first has shown that it is real.
fn budget(flow: &Flow, second: &Packet, name: &'static str, finished: bool) -> Row {
    let world = world().with(|w| w.services.iter_mut().for_each(|s| s.syn_budget = 1));
    if finished {
        // The second flow then finds no port, which is asked for after the budget.
        return flow.handshake(Row::new(name, world)).stops(second, Reason::SnatExhausted);
    }
    let row = flow.out(Row::new(name, world), &flow.0.syn()).stops(second, Reason::SynBudget);
    // An answer alone is not enough, nor is an acknowledgement of something else.
    let row = flow.back(row, &flow.server(flags::SYN | flags::ACK, 500, 1_001));
    flow.out(row, &flow.client(flags::ACK, 1_001, 77)).stops(second, Reason::SynBudget)
}

/// Rows in which time passes.
fn expiry(flow: &Flow, second: &Packet) -> Vec<Row> {
    let short = || {
        world().with(|w| {
            let c = &mut w.config;
            (c.syn_ticks, c.tcp_ticks, c.udp_ticks, c.closing_ticks, c.closed_ticks) =
                (100, 10_000, 300, 500, 50);
        })
    };
    let reset = flow.server(flags::RST, 501, 0);
    vec![
        flow.out(Row::new("a flow that was never confirmed gives its port back", short()), &flow.0.syn())
            .wait(100)
            .stops(second, Reason::SnatExhausted)
            .wait(1)
            .steers(second, Reason::Nat, Verdict::Tx, &flow.0.requested(second)),
        flow.handshake(Row::new("an established flow stays for longer", short()))
            .wait(10_000)
            .stops(second, Reason::SnatExhausted)
            .wait(1)
            .steers(second, Reason::Nat, Verdict::Tx, &flow.0.requested(second)),
        flow.back(flow.handshake(Row::new("a flow that was reset is over soon", short())), &reset)
            .wait(51)
            .steers(second, Reason::Nat, Verdict::Tx, &flow.0.requested(second)),
    ]
}
