//! Between weir and a registry: passes bytes on, or does with the registry's answers what the registry itself cannot be
//! made to do. Over TCP, and over UDP for name servers.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use proxy_user::lab::{Namespace, run_in, spawn_in};

/// What happens to answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// They pass.
    None,
    /// They trickle, byte by byte; datagrams come late.
    Slow,
    /// Others come in their place, drawn by chance.
    Garbage,
    /// Half of what comes next, and the end of the connection.
    Truncated,
    /// Something that says it is far longer than anything may be.
    Oversized,
}

/// Dropping it ends its connections.
pub(crate) struct Meddler {
    at: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    mischief: Mutex<Mischief>,
    /// Openings of frames that say they are too long.
    oversized: &'static [&'static [u8]],
    stop: AtomicBool,
}

impl Meddler {
    /// Stands before `to`, in its namespace, at another port of the same address.
    pub(crate) fn start(
        space: &Namespace,
        to: SocketAddr,
        port: u16,
        oversized: &'static [&'static [u8]],
    ) -> Self {
        let at = SocketAddr::new(to.ip(), port);
        let mischief = Mutex::new(Mischief::None);
        let shared = Arc::new(Shared { to, mischief, oversized, stop: AtomicBool::new(false) });
        let (tcp, udp) =
            run_in(space, || (TcpListener::bind(at).unwrap(), UdpSocket::bind(at).unwrap())).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(LOOK)).unwrap();
        let (one, other, inside) = (Arc::clone(&shared), Arc::clone(&shared), space.clone());
        // They look at `stop` and end soon after it.
        drop(spawn_in(space, move || one.listen(&tcp, &inside)).unwrap());
        drop(spawn_in(space, move || other.relay(&udp)).unwrap());
        Self { at, shared }
    }

    /// Where it stands.
    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }

    /// From now on, also on connections that are open.
    pub(crate) fn set(&self, mischief: Mischief) {
        *self.shared.mischief.lock().unwrap_or_else(PoisonError::into_inner) = mischief;
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn mischief(&self) -> Mischief {
        *self.mischief.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn listen(self: &Arc<Self>, listener: &TcpListener, space: &Namespace) {
        while !self.stopped() {
            let Ok((near, _)) = listener.accept() else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            let shared = Arc::clone(self);
            drop(spawn_in(space, move || shared.connection(near)));
        }
    }

    fn connection(self: &Arc<Self>, near: TcpStream) {
        let Ok(far) = TcpStream::connect_timeout(&self.to, Duration::from_secs(2)) else { return };
        for stream in [&near, &far] {
            let _ = stream.set_nonblocking(false);
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(LOOK));
            let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
        }
        thread::scope(|scope| {
            let _ = scope.spawn(|| {
                let _ = self.questions(&near, &far);
                close(&near, &far);
            });
            let _ = self.answers(&far, &near);
            close(&near, &far);
        });
    }

    fn questions(&self, mut near: &TcpStream, mut far: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        while !self.stopped() {
            match near.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => far.write_all(&buffer[..length])?,
                Err(error) if silent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn answers(&self, mut far: &TcpStream, mut near: &TcpStream) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        while !self.stopped() {
            let read = match far.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => &buffer[..length],
                Err(error) if silent(&error) => &[],
                Err(error) => return Err(error),
            };
            match self.mischief() {
                Mischief::None => near.write_all(read)?,
                Mischief::Slow => {
                    for byte in read {
                        near.write_all(&[*byte])?;
                        if self.mischief() == Mischief::Slow {
                            thread::sleep(Duration::from_millis(2));
                        }
                    }
                }
                Mischief::Garbage => return near.write_all(&random(300)),
                Mischief::Truncated if read.is_empty() => {}
                Mischief::Truncated => return near.write_all(&read[..read.len() / 2]),
                Mischief::Oversized => {
                    near.write_all(fastrand::choice(self.oversized).unwrap())?;
                    return near.write_all(&random(1 << 20));
                }
            }
        }
        Ok(())
    }

    fn relay(self: &Arc<Self>, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while !self.stopped() {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let (question, shared) = (buffer[..length].to_vec(), Arc::clone(self));
            let back = socket.try_clone().unwrap();
            // A thread of this one's namespace.
            thread::spawn(move || {
                if let Ok(answer) = shared.ask(&question) {
                    let _ = back.send_to(&answer, from);
                }
            });
        }
    }

    fn ask(&self, question: &[u8]) -> io::Result<Vec<u8>> {
        let socket = UdpSocket::bind(SocketAddr::new(self.to.ip(), 0))?;
        socket.connect(self.to)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.send(question)?;
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer)?;
        let mut answer = buffer[..length].to_vec();
        match self.mischief() {
            Mischief::None => {}
            Mischief::Slow => thread::sleep(Duration::from_millis(fastrand::u64(100..900))),
            // The number is right, or it would not be looked at.
            Mischief::Garbage => answer.iter_mut().skip(2).for_each(|byte| *byte = fastrand::u8(..)),
            Mischief::Truncated => answer.truncate(fastrand::usize(..length)),
            Mischief::Oversized => {
                // As many records of each kind as can be said.
                answer.iter_mut().skip(6).take(6).for_each(|byte| *byte = 0xff);
            }
        }
        Ok(answer)
    }
}

fn close(near: &TcpStream, far: &TcpStream) {
    let _ = near.shutdown(Shutdown::Both);
    let _ = far.shutdown(Shutdown::Both);
}

fn silent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn random(length: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect()
}

const LOOK: Duration = Duration::from_millis(50);
