//! A session server in the test's hands, frame by frame.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::super::generated as pb;
use super::super::settings::{Raw, Settings};
use crate::model::BackendAddr;
use crate::registry::source::{
    Ended, Event, Order, Parcel, Publication, Query, Session, SessionError, Wanted,
};
use crate::wire::bolt::{
    self, Frame, FrameLimits, Head, Kind, Parsed, Version, codec, command, encode, status,
};

/// Where the client connects to.
pub(super) struct Double(TcpListener);

/// A connection of the client's.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    input: Vec<u8>,
}

/// A frame that the client has sent.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) head: Head,
    pub(super) class: String,
    pub(super) content: Vec<u8>,
}

impl Double {
    pub(super) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings_with("2s")
    }

    pub(super) fn settings_with(&self, heartbeat: &str) -> Settings {
        let text = format!(
            "servers = [\"{}\"]\nheartbeat = \"{heartbeat}\"\nanswer_timeout = \"300ms\"",
            self.0.local_addr().unwrap()
        );
        toml::from_str::<Raw>(&text).unwrap().check("/".as_ref()).unwrap()
    }

    pub(super) fn accept(&self) -> Peer {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.set_nodelay(true).unwrap();
        Peer { stream, input: Vec::new() }
    }
}

impl Peer {
    /// The next frame, heartbeats too.
    pub(super) fn frame(&mut self) -> Got {
        loop {
            if let Parsed::Head(head) = Head::parse(&self.input, FrameLimits::default()).unwrap()
                && self.input.len() >= head.total_len()
            {
                let bytes: Vec<u8> = self.input.drain(..head.total_len()).collect();
                let frame = Frame::new(head, &bytes).unwrap();
                let class = String::from_utf8(frame.class().to_vec()).unwrap();
                return Got { head, class, content: frame.content().to_vec() };
            }
            let mut some = [0; 4096];
            let count = self.stream.read(&mut some).unwrap();
            assert!(count > 0, "the client has closed");
            self.input.extend_from_slice(&some[..count]);
        }
    }

    /// The next frame that is no heartbeat; those are answered.
    pub(super) fn next(&mut self) -> Got {
        loop {
            let got = self.frame();
            if !got.head.is_heartbeat() {
                return got;
            }
            let mut out = Vec::new();
            bolt::encode_heartbeat_reply(Version::V1, got.head.id, &mut out);
            self.send(&out);
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(super) fn answer(&mut self, got: &Got, success: bool, message: &str) {
        self.send(&answer(got, success, message));
    }

    pub(super) fn fail(&mut self, got: &Got, code: u16) {
        let mut out = Vec::new();
        bolt::encode_error(Version::V1, got.head.id, codec::HESSIAN2, code, &mut out);
        self.send(&out);
    }
}

impl Got {
    pub(super) fn base(&self) -> pb::BaseRegister {
        if self.class.ends_with("SubscriberRegisterPb") {
            pb::SubscriberRegister::decode(&self.content[..]).unwrap().base_register.unwrap()
        } else {
            pb::PublisherRegister::decode(&self.content[..]).unwrap().base_register.unwrap()
        }
    }
}

pub(super) fn answer(got: &Got, success: bool, message: &str) -> Vec<u8> {
    let base = got.base();
    let content = pb::RegisterResponse {
        success,
        regist_id: base.regist_id,
        version: base.version,
        refused: false,
        message: message.to_owned(),
    };
    let kind = Kind::Response { status: status::SUCCESS };
    frame(
        kind,
        command::RESPONSE,
        got.head.id,
        codec::PROTOBUF,
        "RegisterResponsePb",
        &content.encode_to_vec(),
    )
}

/// A push as a server of version 6 writes it, its codec byte included.
pub(super) fn push(id: u32, regist_id: &str, version: i64, texts: &[&str]) -> Vec<u8> {
    push_of("dc", id, regist_id, version, texts)
}

/// The same of a data centre.
pub(super) fn push_of(segment: &str, id: u32, regist_id: &str, version: i64, texts: &[&str]) -> Vec<u8> {
    let boxes = texts.iter().map(|text| pb::DataBox { data: (*text).to_owned() }).collect();
    let content = pb::ReceivedData {
        scope: "global".to_owned(),
        segment: segment.to_owned(),
        subscriber_regist_ids: vec![regist_id.to_owned()],
        data: [("ZONE".to_owned(), pb::DataBoxes { data: boxes })].into(),
        version,
        ..Default::default()
    };
    request(id, "com.alipay.sofa.registry.common.model.client.pb.ReceivedDataPb", &content.encode_to_vec())
}

pub(super) fn request(id: u32, class: &str, content: &[u8]) -> Vec<u8> {
    frame(Kind::Request { timeout: 2000 }, command::REQUEST, id, codec::HESSIAN2, class, content)
}

fn frame(kind: Kind, command: u16, id: u32, codec: u8, class: &str, content: &[u8]) -> Vec<u8> {
    let (version, ver2) = (Version::V1, 1);
    let head = Head { version, kind, command, ver2, id, codec, class_len: 0, header_len: 0, content_len: 0 };
    let mut out = Vec::new();
    encode(&head, class.as_bytes(), &[], content, &mut out).unwrap();
    out
}

/// A client with one session.
pub(super) struct Running {
    pub(super) runtime: Runtime,
    pub(super) wanted: watch::Sender<Arc<Wanted>>,
    pub(super) order: watch::Sender<Order>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) task: JoinHandle<Result<Ended, SessionError>>,
}

pub(super) fn run(settings: &Settings, parcel: Option<Parcel>, wanted: Wanted) -> Running {
    run_again(settings, parcel, wanted, 0)
}

/// A client that begins another session after each of so many that fail.
pub(super) fn run_again(settings: &Settings, parcel: Option<Parcel>, wanted: Wanted, more: usize) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut client = super::super::client(settings, parcel);
    let (wanted, wanted_end) = watch::channel(Arc::new(wanted));
    let (order, order_end) = watch::channel(Order::Run);
    let (sender, events) = mpsc::channel(1);
    let mut session = Session { wanted: wanted_end, order: order_end, events: sender };
    let task = runtime.spawn(async move {
        for _ in 0..more {
            if let Ok(ended) = client.session(&mut session).await {
                return Ok(ended);
            }
        }
        client.session(&mut session).await
    });
    Running { runtime, wanted, order, events, task }
}

impl Running {
    /// The next event, in a few words.
    pub(super) fn event(&mut self) -> String {
        let limit = Duration::from_secs(5);
        let event = self.runtime.block_on(async { tokio::time::timeout(limit, self.events.recv()).await });
        match event.expect("no event within 5 s").expect("the session has ended") {
            Event::Connected { .. } => "connected".to_owned(),
            Event::Reset { query, set } => {
                let list: Vec<_> = set.endpoints.iter().map(|e| e.addr.port.to_string()).collect();
                format!("{} [{}]", query.service, list.join(" "))
            }
            Event::Gone { query, why } => format!("{} ? {why}", query.service),
            Event::Published { publication, result: Ok(()) } => format!("{} published", publication.service),
            Event::Published { publication, result: Err(why) } => {
                format!("{} refused: {why}", publication.service)
            }
            Event::Withdrawn { publication } => format!("{} withdrawn", publication.service),
            other => format!("{other:?}"),
        }
    }

    pub(super) fn end(self) -> Result<Ended, SessionError> {
        let end = async { tokio::time::timeout(Duration::from_secs(8), self.task).await };
        self.runtime.block_on(end).expect("the session goes on").unwrap()
    }
}

pub(super) fn queries(names: &[&str]) -> Wanted {
    let one = |name: &&str| Arc::new(Query { service: (*name).to_owned(), options: Default::default() });
    Wanted { queries: names.iter().map(one).collect(), publications: Default::default() }
}

pub(super) fn publications(names: &[&str]) -> Wanted {
    let address = BackendAddr { addr: "10.0.0.9".parse().unwrap(), port: 80 };
    let one = |name: &&str| {
        Arc::new(Publication { service: (*name).to_owned(), options: Default::default(), address })
    };
    Wanted { queries: Default::default(), publications: names.iter().map(one).collect() }
}
