//! A TCP server inside a namespace: a thread a connection, bounded, ended by its drop.

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use super::{LabError, Namespace, run_in, spawn_in};

/// What is done with a connection; it is closed after.
type Handler = dyn Fn(&TcpStream) -> io::Result<()> + Send + Sync;

/// Stops when dropped, its connections too.
#[derive(Debug)]
pub(super) struct TcpServer {
    addr: SocketAddr,
    listener: TcpListener,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<io::Result<()>>>,
}

impl TcpServer {
    pub(super) fn start(
        namespace: &Namespace,
        addr: SocketAddr,
        handler: impl Fn(&TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self, LabError> {
        let what = format!("listen on {addr} in {}", namespace.name());
        let listener = run_in(namespace, || TcpListener::bind(addr))?.map_err(LabError::at(&what))?;
        let addr = listener.local_addr().map_err(LabError::at(&what))?;
        let shared =
            Arc::new(Shared { connections: AtomicU64::new(0), open: Mutex::new(Some(BTreeMap::new())) });
        let own = listener.try_clone().map_err(LabError::at(&what))?;
        let (inside, state) = (namespace.clone(), Arc::clone(&shared));
        let handler: Arc<Handler> = Arc::new(handler);
        let accepting = Some(spawn_in(namespace, move || accept(&own, &inside, &state, &handler))?);
        Ok(Self { addr, listener, shared, accepting })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        // Makes a blocked accept return, on Linux.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.shared.open().take().into_iter().flat_map(BTreeMap::into_values) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[derive(Debug)]
struct Shared {
    connections: AtomicU64,
    /// Open connections by number; nothing once the server stops.
    open: Mutex<Option<BTreeMap<u64, TcpStream>>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Option<BTreeMap<u64, TcpStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connection may be served.
    fn insert(&self, number: u64, stream: TcpStream) -> bool {
        match self.open().as_mut() {
            Some(open) if open.len() < MAX_CONNECTIONS => open.insert(number, stream).is_none(),
            _ => false,
        }
    }

    fn remove(&self, number: u64) {
        if let Some(open) = self.open().as_mut() {
            open.remove(&number);
        }
    }
}

fn accept(listener: &TcpListener, namespace: &Namespace, shared: &Arc<Shared>, handler: &Arc<Handler>) {
    while let Ok((stream, _)) = listener.accept() {
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        let Ok(kept) = stream.try_clone() else { continue };
        if !shared.insert(number, kept) {
            continue;
        }
        let (state, handler) = (Arc::clone(shared), Arc::clone(handler));
        let started = spawn_in(namespace, move || {
            // A peer that goes away is its own affair.
            let _ = timeouts(&stream).and_then(|()| handler(&stream));
            // Before the stream itself, or the connection would stay open through the copy.
            state.remove(number);
        });
        if started.is_err() {
            shared.remove(number);
        }
    }
}

fn timeouts(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE_TIME))?;
    stream.set_write_timeout(Some(IDLE_TIME))
}

const MAX_CONNECTIONS: usize = 256;
const IDLE_TIME: Duration = Duration::from_secs(10);
