//! Messages with descriptors over a Unix socket of sequenced packets. A packet is a byte that says how, then JSON; what is
//! too long for a packet comes in a sealed memory file among the descriptors. Neither side trusts the other's lengths.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, UCred, recvmsg, sendmsg,
};
use rustix::process::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;

/// Why nothing was received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side is gone.
    #[error("the other side has closed the control socket")]
    Closed,
    /// The socket failed.
    #[error("the control socket failed: {0}")]
    Socket(#[from] io::Error),
    /// The packet's descriptors did not fit into this process or system: it is lost.
    #[error("a message on the control socket is lost for want of descriptors")]
    Shortage,
    /// The packet is none of ours.
    #[error("a message on the control socket is malformed: {0}")]
    Malformed(String),
}

/// What was received.
#[derive(Debug)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// Descriptors that came along.
    pub descriptors: Vec<OwnedFd>,
    /// The sender, by the kernel's word, where the receiver asks for it.
    pub pid: Option<Pid>,
}

/// One end of a connection; does not block.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    longest: u64,
}

impl Channel {
    /// Over a connected socket of sequenced packets. Messages longer than `longest` bytes are refused.
    ///
    /// # Errors
    /// The socket cannot be set not to block.
    pub fn new(socket: OwnedFd, longest: u64) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket, longest })
    }

    /// A pair: the daemon's end, which is told who sends, and the worker's.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::sockopt::set_socket_passcred(&ours, true)?;
        Ok((Self::new(ours, FROM_WORKER)?, theirs))
    }

    /// Connects to a worker's control socket; told who sends. Answers also who listens, by the kernel's word.
    ///
    /// # Errors
    /// The kernel's: `ConnectionRefused` where nobody listens any more.
    pub fn connect(path: &Path) -> io::Result<(Self, UCred)> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::sockopt::set_socket_passcred(&socket, true)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        let peer = rustix::net::sockopt::socket_peercred(&socket)?;
        Ok((Self::new(socket, FROM_WORKER)?, peer))
    }

    /// Sends a message with descriptors.
    ///
    /// # Errors
    /// `WouldBlock` while the other side does not read; the kernel's.
    pub fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&self.socket, message, descriptors)
    }

    /// Receives a message.
    ///
    /// # Errors
    /// [`ChannelError`]; `WouldBlock` where nothing is there.
    pub fn receive<M: DeserializeOwned>(&self) -> Result<Received<M>, ChannelError> {
        receive(&self.socket, self.longest)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A channel that waits; must be made within a tokio runtime. Both operations may be given up at any time.
#[derive(Debug)]
pub struct Waiting {
    socket: AsyncFd<OwnedFd>,
    longest: u64,
}

impl Waiting {
    /// Over a channel.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub fn new(channel: Channel) -> io::Result<Self> {
        let Channel { socket, longest } = channel;
        Ok(Self { socket: registered(socket)?, longest })
    }

    /// Receives the next message.
    ///
    /// # Errors
    /// [`ChannelError`].
    pub async fn receive<M: DeserializeOwned>(&self) -> Result<Received<M>, ChannelError> {
        loop {
            let mut ready = self.socket.readable().await?;
            match receive(self.socket.get_ref(), self.longest) {
                Err(ChannelError::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                }
                received => return received,
            }
        }
    }

    /// Sends a message, once the other side has room for it.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            match send(self.socket.get_ref(), message, descriptors) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                sent => return sent,
            }
        }
    }
}

/// A socket that the runtime watches.
fn registered(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open and the same until it is dropped, and `AsyncFd` owns it until then.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

fn send(socket: &OwnedFd, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let mut descriptors = descriptors.to_vec();
    let file;
    let (how, body): (u8, &[u8]) = if json.len() <= INLINE {
        (INLINE_BODY, &json)
    } else {
        file = sealed(&json)?;
        descriptors.push(file.as_fd());
        (FILE_BODY, &[])
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    let parts = [IoSlice::new(std::slice::from_ref(&how)), IoSlice::new(body)];
    sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive<M: DeserializeOwned>(socket: &OwnedFd, longest: u64) -> Result<Received<M>, ChannelError> {
    let mut packet = vec![0; INLINE + 1];
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut packet)];
    let received =
        recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).map_err(io::Error::from)?;
    let (mut descriptors, mut pid) = (Vec::new(), None);
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(received) => descriptors.extend(received),
            RecvAncillaryMessage::ScmCredentials(sender) => pid = Some(sender.pid),
            _ => {}
        }
    }
    let malformed = |what: &str| ChannelError::Malformed(what.to_owned());
    if received.bytes == 0 {
        return Err(ChannelError::Closed);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(malformed("longer than any of weir's"));
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(ChannelError::Shortage);
    }
    let (how, body) =
        packet.get(..received.bytes).and_then(<[u8]>::split_first).ok_or(ChannelError::Closed)?;
    let file;
    let body = match *how {
        INLINE_BODY => body,
        FILE_BODY => {
            let descriptor = descriptors.pop().ok_or_else(|| malformed("its memory file is missing"))?;
            file = contents(descriptor, longest)?;
            file.as_slice()
        }
        _ => return Err(malformed("its first byte is unknown")),
    };
    let message = serde_json::from_slice(body).map_err(|error| malformed(&error.to_string()))?;
    Ok(Received { message, descriptors, pid })
}

/// Whether something was not sent for want of descriptors or memory, and may be later.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number.is_some_and(|number| [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS].contains(&number))
}

/// A memory file that nobody can change any more.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("weir-l7", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Content of a memory file. The seals prove that it is one, so that reading neither blocks nor changes under the reader.
fn contents(descriptor: OwnedFd, longest: u64) -> Result<Vec<u8>, ChannelError> {
    let refused = |what: &str| ChannelError::Malformed(what.to_owned());
    let seals = fcntl_get_seals(&descriptor).map_err(|_| refused("its memory file is none"))?;
    if !seals.contains(SEALS) {
        return Err(refused("its memory file can still change"));
    }
    let file = File::from(descriptor);
    let length = file.metadata()?.len();
    if length > longest {
        return Err(refused("its memory file is too long"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| refused("its memory file is too long"))?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Longest message to a worker: what the daemon makes itself, of the whole catalog.
pub const TO_WORKER: u64 = 256 << 20;
/// Longest message from a worker, which is not trusted.
const FROM_WORKER: u64 = 8 << 20;
/// Longest body in the packet itself; far below any socket's buffer.
const INLINE: usize = 32 << 10;
/// Descriptors in a message at most.
const MOST_DESCRIPTORS: usize = 4;
const INLINE_BODY: u8 = 0;
const FILE_BODY: u8 = 1;
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE);

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        (ours, Channel::new(theirs, TO_WORKER).unwrap())
    }

    #[test]
    fn messages_of_any_length_arrive_with_descriptors_and_sender() {
        let (ours, theirs) = pair();
        for length in [0, 10, INLINE - 2, INLINE - 1, INLINE, 3 << 20] {
            let text = "x".repeat(length);
            theirs.send(&text, &[io::stderr().as_fd()]).unwrap();
            let received = ours.receive::<String>().unwrap();
            assert_eq!(received.message, text);
            assert_eq!(received.descriptors.len(), 1, "of {length}");
            assert_eq!(received.pid, Some(rustix::process::getpid()));
        }
        drop(theirs);
        assert!(matches!(ours.receive::<String>(), Err(ChannelError::Closed)));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let (ours, theirs) = pair();
        let refused = |bytes: &[u8], file: Option<OwnedFd>| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let files: Vec<_> = file.iter().map(AsFd::as_fd).collect();
            if !files.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
            }
            sendmsg(&theirs.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
            match ours.receive::<String>() {
                Err(ChannelError::Malformed(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(refused(&[9], None).contains("first byte"));
        assert!(refused(b"\0\"x", None).contains("EOF"));
        assert!(refused(&[FILE_BODY], None).contains("missing"));
        let pipe = OwnedFd::from(io::pipe().unwrap().0);
        assert!(refused(&[FILE_BODY], Some(pipe)).contains("is none"));
        let open = memfd_create("t", MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(refused(&[FILE_BODY], Some(open)).contains("can still change"));
        let long = vec![0; usize::try_from(FROM_WORKER).unwrap() + 1];
        assert!(refused(&[FILE_BODY], Some(sealed(&long).unwrap())).contains("too long"));
        assert!(refused(&vec![0; INLINE + 2], None).contains("longer"));
        assert!(ours.receive::<String>().is_err(), "nothing is left");
    }
}
