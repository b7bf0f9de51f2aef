//! The connection to a session server, on a thread of its own.
//!
//! It reads whatever comes, acknowledges a push before it is looked into, beats when the line is idle, and never waits for
//! anybody: what it reads goes into the [`Inbox`].

use std::net::{Shutdown, SocketAddr, TcpStream as StdStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::inbox::{End, Inbox, Reply};
use super::message::{PushClass, encode_ack};
use crate::wire::bolt::{self, Frame, FrameLimits, Head, Kind, Parsed, Version};

/// A connection that is served. Dropping it cuts it.
#[derive(Debug)]
pub(super) struct Link {
    orders: mpsc::UnboundedSender<Order>,
    inbox: Arc<Inbox>,
    /// To cut it at once, whatever the thread does.
    socket: Option<StdStream>,
}

/// A connection that nobody serves any more, between two frames of ours.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) socket: OwnedFd,
    /// Begin of a frame of the server's.
    pub(super) unread: Vec<u8>,
}

#[derive(Debug)]
enum Order {
    Send(Vec<u8>),
    Stop(oneshot::Sender<Stopped>),
}

impl Link {
    /// Connects.
    pub(super) async fn connect(to: SocketAddr, limit: Duration) -> std::io::Result<StdStream> {
        let connect = tokio::time::timeout(limit, TcpStream::connect(to));
        let stream = connect.await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        let socket = socket2::SockRef::from(&stream);
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(KEEPALIVE * 2))?;
        stream.into_std()
    }

    /// Serves a connection, of which this much has been read already.
    pub(super) fn serve(socket: StdStream, unread: &[u8], heartbeat: Duration) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        let (orders, receiver) = mpsc::unbounded_channel();
        let inbox = Arc::new(Inbox::default());
        let mut line = Line {
            inbox: Arc::clone(&inbox),
            input: BytesMut::from(unread),
            output: BytesMut::new(),
            heartbeat,
            heard: Instant::now(),
            beaten: Instant::now(),
            unanswered: 0,
            beats: 0,
        };
        let cut = socket.try_clone()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("sofa-link".to_owned()).spawn(move || {
            let end = runtime.block_on(async {
                let stream = TcpStream::from_std(socket).map_err(|error| End::Lost(error.to_string()))?;
                line.run(stream, receiver).await
            });
            if let Err(end) = end {
                line.inbox.end(end);
            }
        })?;
        Ok(Self { orders, inbox, socket: Some(cut) })
    }

    /// What has come.
    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Sends frames. That the line has ended, the inbox says.
    pub(super) fn send(&self, frames: Vec<u8>) {
        drop(self.orders.send(Order::Send(frames)));
    }

    /// Ends serving and keeps the connection; none if it is not between two frames within a moment.
    pub(super) async fn stop(mut self) -> Option<Stopped> {
        let (sender, receiver) = oneshot::channel();
        self.orders.send(Order::Stop(sender)).ok()?;
        let stopped = receiver.await.ok()?;
        self.socket = None;
        Some(stopped)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(socket) = &self.socket {
            // One that is closed already is cut already.
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

struct Line {
    inbox: Arc<Inbox>,
    input: BytesMut,
    output: BytesMut,
    heartbeat: Duration,
    heard: Instant,
    beaten: Instant,
    unanswered: u32,
    beats: u32,
}

impl Line {
    async fn run(
        &mut self,
        mut stream: TcpStream,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> Result<(), End> {
        let mut stop: Option<(oneshot::Sender<Stopped>, Instant)> = None;
        self.frames(&stream)?;
        loop {
            if let Some((_, until)) = &stop
                && self.output.is_empty()
                && (self.input.is_empty() || Instant::now() >= *until)
                && let Some((reply, _)) = stop.take()
            {
                let socket = stream.into_std().map_err(|error| End::Lost(error.to_string()))?.into();
                drop(reply.send(Stopped { socket, unread: self.input.to_vec() }));
                return Ok(());
            }
            let due = stop.as_ref().map_or_else(|| self.beat_due(), |(_, until)| *until);
            let (mut reader, mut writer) = stream.split();
            tokio::select! {
                read = reader.read_buf(&mut self.input) => match read {
                    Ok(0) => return Err(End::Lost("closed by the server".to_owned())),
                    Ok(_) => {
                        (self.heard, self.unanswered) = (Instant::now(), 0);
                        self.frames(&stream)?;
                    }
                    Err(error) => return Err(End::Lost(error.to_string())),
                },
                written = writer.write(&self.output), if !self.output.is_empty() => match written {
                    Ok(count) => self.output.advance(count),
                    Err(error) => return Err(End::Lost(error.to_string())),
                },
                order = orders.recv(), if stop.is_none() => match order {
                    Some(Order::Send(frames)) => self.put(&frames)?,
                    Some(Order::Stop(reply)) => stop = Some((reply, Instant::now() + STOP)),
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(due) => match &stop {
                    // What is half written cannot be handed over.
                    Some(_) if !self.output.is_empty() => return Ok(()),
                    Some(_) => {}
                    None => self.beat()?,
                },
            }
        }
    }

    /// Takes all frames that are complete.
    fn frames(&mut self, stream: &TcpStream) -> Result<(), End> {
        let broken = |error: bolt::BoltError| End::Protocol(error.to_string());
        while let Parsed::Head(head) = Head::parse(&self.input, LIMITS).map_err(broken)? {
            if self.input.len() < head.total_len() {
                break;
            }
            let received = Clock::now();
            let bytes = self.input.split_to(head.total_len());
            let frame = Frame::new(head, &bytes).map_err(broken)?;
            frame.check_crc().map_err(broken)?;
            match head.kind {
                _ if head.is_heartbeat_reply() => {}
                _ if head.is_heartbeat() => {
                    self.extend(|out| bolt::encode_heartbeat_reply(head.version, head.id, out))?;
                }
                Kind::Response { status } => {
                    let content = frame.content();
                    let content = content.get(..MAX_ANSWER).unwrap_or(content).to_vec().into();
                    if !self.inbox.answer(Reply { id: head.id, status, content }) {
                        return Err(End::Protocol("answers without end that nobody asked for".to_owned()));
                    }
                }
                Kind::Request { .. } | Kind::OneWay { .. } => {
                    let class = PushClass::of(frame.class());
                    if matches!(head.kind, Kind::Request { .. }) {
                        self.extend(|out| encode_ack(&head, class, out))?;
                        self.flush(stream)?;
                    }
                    self.push(class, &frame, received);
                }
            }
        }
        Ok(())
    }

    fn push(&self, class: Option<PushClass>, frame: &Frame<'_>, received: Clock) {
        match class.map(|class| class.read(frame.content(), received)) {
            Some(Ok(push)) => self.inbox.push(push),
            Some(Err(why)) => self.inbox.broken(why),
            None => {
                let class = String::from_utf8_lossy(frame.class());
                tracing::debug!(class = %class.escape_debug(), "SOFARegistry sends what weir has no use for");
            }
        }
    }

    /// When the line is to be asked whether it lives: after a silence, then in shorter steps.
    fn beat_due(&self) -> Instant {
        match self.unanswered {
            0 => self.heard + self.heartbeat,
            _ => self.beaten + self.heartbeat.min(AGAIN),
        }
    }

    fn beat(&mut self) -> Result<(), End> {
        if self.unanswered >= MAX_UNANSWERED {
            return Err(End::Lost(format!("{MAX_UNANSWERED} heartbeats without an answer")));
        }
        self.unanswered += 1;
        self.beats = self.beats.wrapping_add(1);
        self.beaten = Instant::now();
        // Apart from the numbers of registrations; the answers are not matched.
        let id = BEAT_IDS | self.beats & !BEAT_IDS;
        self.extend(|out| bolt::encode_heartbeat(Version::V1, id, out))
    }

    fn extend(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), End> {
        let mut frame = Vec::new();
        write(&mut frame);
        self.put(&frame)
    }

    fn put(&mut self, frames: &[u8]) -> Result<(), End> {
        if self.output.len() > MAX_OUTPUT {
            return Err(End::Lost(format!("{MAX_OUTPUT} bytes wait, the server does not read")));
        }
        self.output.extend_from_slice(frames);
        Ok(())
    }

    /// What can be written now is written now; the rest when there is room.
    fn flush(&mut self, stream: &TcpStream) -> Result<(), End> {
        match stream.try_write(&self.output) {
            Ok(count) => self.output.advance(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(End::Lost(error.to_string())),
        }
        Ok(())
    }
}

/// A push of 100,000 endpoints has about 20 MiB.
const LIMITS: FrameLimits = FrameLimits { max_frame: 64 << 20 };
/// Answers to registrations are short; errors bring a stack trace.
const MAX_ANSWER: usize = 1 << 20;
const MAX_OUTPUT: usize = 4 << 20;
const MAX_UNANSWERED: u32 = 3;
/// Between two heartbeats while one is unanswered.
const AGAIN: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(15);
const STOP: Duration = Duration::from_secs(1);
const BEAT_IDS: u32 = 0x4000_0000;
