//! A planned restart: the daemon gives the connections that its registrations live on to its successor, so that no
//! registry ever sees them end.
//!
//! Two ways, one form. `weir run --replace` asks the running daemon on a Unix socket of the runtime directory; under
//! systemd, a daemon that is stopped leaves them in the service manager's store and finds them at its next start. A
//! connection is two descriptors: its socket, and an anonymous file with what the client must know to go on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::registry::source::Parcel;

/// Connections by the name of their registry.
pub(super) type Parcels = BTreeMap<String, Parcel>;

/// Where a successor asks. The file goes with the value.
#[derive(Debug)]
pub(super) struct Offer {
    greeted: mpsc::Receiver<UnixStream>,
    listening: AbortHandle,
    path: PathBuf,
}

impl Offer {
    /// Begins to listen. The caller holds the lock of the runtime directory, so that a socket left there is nobody's.
    pub(super) fn open(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing the old socket {}", path.display()));
            }
            _ => {}
        }
        let listen = || -> io::Result<tokio::net::UnixListener> {
            let listener = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(listener)
        };
        let listener = listen().with_context(|| format!("listening on {}", path.display()))?;
        let (tell, greeted) = mpsc::channel(1);
        let listening = tokio::spawn(listen_for_successors(listener, tell)).abort_handle();
        Ok(Self { greeted, listening, path })
    }

    /// Waits for a successor that may ask, and speaks this version of the hand-over. Nothing that others say to the socket,
    /// or fail to say, reaches the daemon.
    pub(super) async fn successor(&mut self) -> UnixStream {
        match self.greeted.recv().await {
            Some(stream) => stream,
            None => std::future::pending().await,
        }
    }
}

async fn listen_for_successors(listener: tokio::net::UnixListener, tell: mpsc::Sender<UnixStream>) {
    loop {
        match greet(&listener).await {
            Ok(stream) => {
                if tell.send(stream).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "a successor was not heard");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn greet(listener: &tokio::net::UnixListener) -> Result<UnixStream> {
    let (mut stream, _) = listener.accept().await?;
    let peer = stream.peer_cred()?;
    let own = rustix::process::geteuid().as_raw();
    ensure!(peer.uid() == own, "process {:?} of user {} may not replace weir", peer.pid(), peer.uid());
    let mut hello = [0; HELLO.len()];
    tokio::time::timeout(GREETING, stream.read_exact(&mut hello))
        .await
        .context("it says nothing")?
        .context("reading its greeting")?;
    ensure!(hello == *HELLO, "process {:?} speaks another version of the hand-over", peer.pid());
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    limit(&stream)?;
    Ok(stream)
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.listening.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Gives the connections to a successor, one by one, each acknowledged. It uses none before it has all of them and the
/// daemon's last word: until then they are the daemon's too.
pub(super) fn give(mut stream: UnixStream, parcels: &Parcels) -> Result<()> {
    for (name, parcel) in parcels {
        let state = stored(&parcel.state)?;
        let descriptors = [parcel.socket.as_fd(), state.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        ensure!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "no room for two descriptors");
        let length = u8::try_from(name.len()).context("the registry's name is too long")?;
        let message = [&[length], name.as_bytes()].concat();
        sendmsg(&stream, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL)?;
        stream.read_exact(&mut [0]).context("waiting for the successor")?;
    }
    stream.write_all(&[0])?;
    Ok(())
}

/// Asks the daemon that runs for its connections and for its end. None if no daemon runs.
pub(super) fn take(run_dir: &Path) -> Result<Option<Parcels>> {
    let path = run_dir.join(SOCKET);
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("asking the running daemon at {}", path.display()));
        }
    };
    limit(&stream)?;
    stream.write_all(HELLO).context(CUT)?;
    let mut parcels = Parcels::new();
    loop {
        let mut message = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(&stream, &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .context(CUT)?;
        let descriptors: Vec<OwnedFd> = control
            .drain()
            .filter_map(|found| match found {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let name = match message.get(..received.bytes).and_then(|message| message.split_first()) {
            Some((0, _)) => return Ok(Some(parcels)),
            Some((length, name)) if usize::from(*length) == name.len() => String::from_utf8(name.to_vec())?,
            _ => bail!(CUT),
        };
        let Ok([socket, state]) = <[OwnedFd; 2]>::try_from(descriptors) else {
            bail!("the running daemon sent no connection for registry {name}")
        };
        parcels.insert(name, Parcel { socket, state: loaded(state)? });
        stream.write_all(&[1]).context(CUT)?;
    }
}

/// Whether a running daemon takes successors there.
pub(super) fn is_offered(run_dir: &Path) -> bool {
    run_dir.join(SOCKET).exists()
}

/// Whether a service manager may keep descriptors for weir.
pub(super) fn can_store() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Leaves the connections with the service manager.
pub(super) fn store(parcels: &Parcels) -> Result<()> {
    for (name, parcel) in parcels {
        let state = stored(&parcel.state)?;
        for (kind, descriptor) in [("socket", parcel.socket.as_fd()), ("state", state.as_fd())] {
            let name = format!("{STORE}.{kind}.{name}");
            sd_notify::notify_with_fds(
                &[sd_notify::NotifyState::FdStore, sd_notify::NotifyState::FdName(&name)],
                &[descriptor],
            )
            .context("leaving a registry's connection with the service manager")?;
        }
    }
    Ok(())
}

/// What the service manager kept for weir, each once: it is asked to forget them.
pub(super) fn stored_before() -> Parcels {
    let mut halves: BTreeMap<String, [Option<OwnedFd>; 2]> = BTreeMap::new();
    for (name, descriptor) in crate::kernel::sys::inherited() {
        let _ = sd_notify::notify(&[
            sd_notify::NotifyState::FdStoreRemove,
            sd_notify::NotifyState::FdName(&name),
        ]);
        let Some((kind, registry)) = name
            .strip_prefix(STORE)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let place = usize::from(kind != "socket");
        if let Some(half) = halves.entry(registry.to_owned()).or_default().get_mut(place) {
            *half = Some(descriptor);
        }
    }
    let whole = |(name, halves): (String, [Option<OwnedFd>; 2])| {
        let [Some(socket), Some(state)] = halves else { return None };
        Some((name, Parcel { socket, state: loaded(state).ok()? }))
    };
    halves.into_iter().filter_map(whole).collect()
}

fn limit(stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

/// An anonymous file with these bytes.
fn stored(state: &[u8]) -> Result<OwnedFd> {
    let file = rustix::fs::memfd_create("weir-handover", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(state)?;
    Ok(file.into())
}

fn loaded(state: OwnedFd) -> Result<Vec<u8>> {
    let mut file = File::from(state);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_STATE + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= MAX_STATE, "a connection's state is larger than {} MiB", MAX_STATE >> 20);
    Ok(bytes)
}

const CUT: &str = "the running daemon ended in the middle of the hand-over";
const SOCKET: &str = "handover.sock";
/// Names the form; another form has another number.
const HELLO: &[u8; 16] = b"weir handover 1\n";
/// Begins the names of descriptors in the service manager's store.
const STORE: &str = "weir-registry";
/// A successor says who it is as soon as it is connected.
const GREETING: Duration = Duration::from_secs(2);
/// Both sides answer at once, but for clients that finish what they are doing.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_STATE: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(state: &[u8]) -> (Parcel, UnixStream) {
        let (own, far) = UnixStream::pair().unwrap();
        (Parcel { socket: own.into(), state: state.to_vec() }, far)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_and_their_state_reach_the_successor() {
        let dir = tempfile::tempdir().unwrap();
        assert!(take(dir.path()).unwrap().is_none(), "no daemon runs");
        let mut offer = Offer::open(dir.path()).unwrap();
        let path = dir.path().to_owned();
        let successor = tokio::task::spawn_blocking(move || take(&path));
        let stream = offer.successor().await;
        let (first, mut far) = parcel(b"one");
        let (second, _far) = parcel(&[7; 100_000]);
        tokio::task::spawn_blocking(move || {
            give(stream, &[("a".to_owned(), first), ("b".to_owned(), second)].into())
        })
        .await
        .unwrap()
        .unwrap();
        let mut parcels = successor.await.unwrap().unwrap().unwrap();
        assert_eq!(parcels["b"].state.len(), 100_000);
        let first = parcels.remove("a").unwrap();
        assert_eq!(first.state, b"one");
        UnixStream::from(first.socket).write_all(b"alive").unwrap();
        let mut text = [0; 5];
        far.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"alive");
        drop(offer);
        assert!(take(dir.path()).unwrap().is_none(), "the socket has gone with the offer");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_daemon_that_ends_in_the_middle_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut offer = Offer::open(dir.path()).unwrap();
        let path = dir.path().to_owned();
        let successor = tokio::task::spawn_blocking(move || take(&path));
        drop(offer.successor().await);
        let error = successor.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("in the middle"), "{error:#}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_no_successor_stops_nobody_and_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut offer = Offer::open(dir.path()).unwrap();
        let connect = || UnixStream::connect(dir.path().join(SOCKET)).unwrap();
        // It is silent, goes away, or speaks another version.
        let _silent = connect();
        drop(connect());
        connect().write_all(b"weir handover 0\n").unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(500), offer.successor()).await;
        assert!(heard.is_err(), "the daemon does not stop for them");
        let path = dir.path().to_owned();
        let successor = tokio::task::spawn_blocking(move || take(&path));
        let stream = offer.successor().await;
        // One that dies in the middle leaves the connections with the daemon.
        let (parcel, mut far) = parcel(b"one");
        let parcels: Parcels = [("a".to_owned(), parcel)].into();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        assert!(give(stream, &parcels).is_err() && successor.await.unwrap().is_err());
        let own = parcels["a"].socket.try_clone().unwrap();
        UnixStream::from(own).write_all(b"alive").unwrap();
        let mut text = [0; 5];
        far.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"alive");
    }
}
