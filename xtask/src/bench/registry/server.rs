//! A session server that takes subscriptions and pushes when told to.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use prost::Message as _;
use proxy_user::lab::{Namespace, run_in};
use proxy_user::registry::sofa::generated::{
    DataBox, DataBoxes, ReceivedData, RegisterResponse, SubscriberRegister,
};
use proxy_user::wire::bolt::{self, Frame, FrameLimits, Head, Kind, Parsed, Version, command, status};

const RESPONSE: &[u8] = b"com.alipay.sofa.registry.common.model.client.pb.RegisterResponsePb";
const PUSH: &[u8] = b"com.alipay.sofa.registry.common.model.client.pb.ReceivedDataPb";

/// The server: one thread for each connection, ended with the process.
pub(super) struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Registration id by dataId.
    subscribed: BTreeMap<String, String>,
    connection: Option<TcpStream>,
    version: i64,
}

impl Server {
    /// Listens on the loopback of a namespace.
    pub(super) fn start(namespace: &Namespace) -> Result<Self> {
        let listener = run_in(namespace, || TcpListener::bind("127.0.0.1:0"))??;
        let port = listener.local_addr()?.port();
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Ok(Self { port, state })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until so many names are subscribed to.
    pub(super) fn wait_subscribed(&self, count: usize) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while lock(&self.state).subscribed.len() < count {
            ensure!(
                Instant::now() < end,
                "{} of {count} subscriptions came",
                lock(&self.state).subscribed.len()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Pushes whole sets, one message each, back to back.
    pub(super) fn push(&self, sets: &[(String, Vec<String>)]) -> Result<()> {
        let mut state = lock(&self.state);
        let mut bytes = Vec::new();
        for (name, boxes) in sets {
            state.version += 1;
            let id = state.subscribed.get(name).with_context(|| format!("{name} is not subscribed to"))?;
            let data = boxes.iter().map(|text| DataBox { data: text.clone() }).collect();
            let push = ReceivedData {
                data_id: name.clone(),
                group: "DEFAULT_GROUP".into(),
                instance_id: "DEFAULT_INSTANCE_ID".into(),
                segment: "DefaultDataCenter".into(),
                scope: "global".into(),
                subscriber_regist_ids: vec![id.clone()],
                data: [("DEFAULT_ZONE".to_owned(), DataBoxes { data })].into(),
                version: 1_700_000_000_000 + state.version,
                local_zone: "DEFAULT_ZONE".into(),
                ..ReceivedData::default()
            };
            let kind = Kind::Request { timeout: 2_000 };
            // A server's pushes say codec 1 though they are Protobuf.
            let head = head(kind, command::REQUEST, u32::try_from(state.version)?, bolt::codec::HESSIAN2);
            bolt::encode(&head, PUSH, b"", &push.encode_to_vec(), &mut bytes)?;
        }
        let mut connection = state.connection.as_ref().context("the daemon is not connected")?;
        connection.write_all(&bytes)?;
        Ok(())
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    if let Err(error) = try_serve(stream, state) {
        eprintln!("bench: session server: {error:#}");
    }
}

fn try_serve(mut stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    stream.set_nodelay(true)?;
    lock(state).connection = Some(stream.try_clone()?);
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        while let Parsed::Head(head) = Head::parse(&bytes, FrameLimits::default())? {
            let Some(frame) = bytes.get(..head.total_len()) else { break };
            let mut answer = Vec::new();
            reply(&Frame::new(head, frame)?, &head, state, &mut answer)?;
            bytes.drain(..head.total_len());
            lock(state).connection.as_ref().context("no connection")?.write_all(&answer)?;
        }
    }
}

fn reply(frame: &Frame<'_>, asked: &Head, state: &Mutex<State>, out: &mut Vec<u8>) -> Result<()> {
    if asked.command == command::HEARTBEAT {
        if !matches!(asked.kind, Kind::Response { .. }) {
            bolt::encode_heartbeat_reply(asked.version, asked.id, out);
        }
        return Ok(());
    }
    if matches!(asked.kind, Kind::Response { .. }) {
        return Ok(());
    }
    if !frame.class().ends_with(b"SubscriberRegisterPb") {
        bail!("unexpected {}", String::from_utf8_lossy(frame.class()));
    }
    let register = SubscriberRegister::decode(frame.content())?;
    let base = register.base_register.context("a subscription without a base")?;
    let answer = RegisterResponse {
        success: true,
        regist_id: base.regist_id.clone(),
        version: base.version,
        ..RegisterResponse::default()
    };
    lock(state).subscribed.insert(base.data_id, base.regist_id);
    let head =
        head(Kind::Response { status: status::SUCCESS }, command::RESPONSE, asked.id, bolt::codec::PROTOBUF);
    bolt::encode(&head, RESPONSE, b"", &answer.encode_to_vec(), out)?;
    Ok(())
}

fn head(kind: Kind, command: u16, id: u32, codec: u8) -> Head {
    let version = Version::V1;
    Head { version, kind, command, ver2: 1, id, codec, class_len: 0, header_len: 0, content_len: 0 }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

const PATIENCE: Duration = Duration::from_secs(20);
