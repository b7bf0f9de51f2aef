//! Anonymous network namespaces and threads inside them.
//!
//! A namespace is a descriptor and nothing else: no file, no mount, no process. It ends with the last clone of its
//! [`Namespace`], also when the process is killed.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

use super::LabError;

/// A network namespace. Clones are the same namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: Arc<str>,
    fd: Arc<OwnedFd>,
}

impl Namespace {
    /// Makes an empty namespace with `lo` up. `name` is for messages and thread names only. IPv6 addresses are usable
    /// at once in it (no duplicate address detection), and it sends no router solicitations.
    ///
    /// # Errors
    /// [`LabError::System`], mostly `EPERM` without CAP_SYS_ADMIN.
    pub fn new(name: &str) -> Result<Self, LabError> {
        let what = format!("make network namespace {name}");
        let made: io::Result<OwnedFd> = joined(thread::scope(|scope| {
            thread::Builder::new().name(thread_name(name)).spawn_scoped(scope, unshared).map(|t| t.join())
        }))
        .and_then(|result| result);
        let namespace = Self { name: name.into(), fd: Arc::new(made.map_err(LabError::at(what))?) };
        namespace.quieten()?;
        super::link::loopback_up(&namespace)?;
        Ok(namespace)
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`LabError::System`] when /proc is not mounted.
    pub fn current() -> Result<Self, LabError> {
        let fd = File::open(OWN_NAMESPACE).map_err(LabError::at(format!("open {OWN_NAMESPACE}")))?;
        Ok(Self { name: "current".into(), fd: Arc::new(fd.into()) })
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Writes a sysctl of the namespace, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// [`LabError::System`].
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = format!("/proc/sys/{key}");
        run_in(self, || std::fs::write(&path, value))?
            .map_err(LabError::at(format!("write {value} to {path} in {}", self.name)))
    }

    /// Reads a sysctl of the namespace, without the line end.
    ///
    /// # Errors
    /// [`LabError::System`].
    pub fn sysctl(&self, key: &str) -> Result<String, LabError> {
        let path = format!("/proc/sys/{key}");
        let text = run_in(self, || std::fs::read_to_string(&path))?
            .map_err(LabError::at(format!("read {path} in {}", self.name)))?;
        Ok(text.trim_end().to_owned())
    }

    fn quieten(&self) -> Result<(), LabError> {
        for (key, value) in QUIET {
            match self.set_sysctl(key, value) {
                // A kernel without IPv6.
                Err(LabError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Runs `work` on a thread inside the namespace and returns its value. A panic in `work` goes on in the caller.
///
/// # Errors
/// [`LabError::System`] when the namespace can't be entered.
pub fn run_in<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    let result = joined(thread::scope(|scope| {
        thread::Builder::new()
            .name(thread_name(&namespace.name))
            .spawn_scoped(scope, || enter(namespace).map(|()| work()))
            .map(|thread| thread.join())
    }));
    result
        .and_then(|result| result)
        .map_err(LabError::at(format!("enter network namespace {}", namespace.name)))
}

/// Runs the future that `work` makes on a thread inside the namespace, on a tokio runtime of its own, and returns its
/// value. Blocks the caller, so from async code call it through `spawn_blocking`. Tasks that the future has spawned
/// end with it.
///
/// # Errors
/// [`LabError::System`] when the namespace can't be entered or the runtime not be started.
pub fn run_async_in<F: Future>(
    namespace: &Namespace,
    work: impl FnOnce() -> F + Send,
) -> Result<F::Output, LabError>
where
    F::Output: Send,
{
    run_in(namespace, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LabError::at("start a tokio runtime"))?;
        Ok(runtime.block_on(async { work().await }))
    })?
}

/// Starts a thread inside the namespace.
///
/// # Errors
/// [`LabError::System`] when the thread can't be started. If the namespace can't be entered the thread's value is an
/// error.
pub fn spawn_in<T: Send + 'static>(
    namespace: &Namespace,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<io::Result<T>>, LabError> {
    let inside = namespace.clone();
    thread::Builder::new()
        .name(thread_name(&namespace.name))
        .spawn(move || {
            enter(&inside)?;
            // A thread does not keep the namespace's descriptor, only itself inside.
            drop(inside);
            Ok(work())
        })
        .map_err(LabError::at(format!("start a thread in {}", namespace.name)))
}

fn unshared() -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Ok(File::open(OWN_NAMESPACE)?.into())
}

fn enter(namespace: &Namespace) -> io::Result<()> {
    setns(namespace.fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

fn joined<T>(result: io::Result<thread::Result<T>>) -> io::Result<T> {
    match result? {
        Ok(value) => Ok(value),
        Err(panic) => panic::resume_unwind(panic),
    }
}

/// The kernel cuts names at 15 bytes.
fn thread_name(namespace: &str) -> String {
    format!("ns-{}", namespace.replace('\0', ""))
}

/// Of the thread, not of the process.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

const QUIET: [(&str, &str); 3] = [
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/dad_transmits", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
];

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::lab::tests::root;

    #[test]
    fn threads_are_inside_and_the_caller_stays_outside() {
        if !root() {
            return;
        }
        let (a, b) = (Namespace::new("a").unwrap(), Namespace::new("b").unwrap());
        let listener = run_in(&a, || TcpListener::bind("127.0.0.1:7")).unwrap().unwrap();
        assert!(run_in(&b, || TcpListener::bind("127.0.0.1:7")).unwrap().is_ok());
        assert!(run_in(&a, || TcpListener::bind("127.0.0.1:7")).unwrap().is_err());
        drop(listener);
        let value = run_async_in(&a, || async {
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:9").await.unwrap();
            socket.send_to(b"x", socket.local_addr().unwrap()).await.unwrap()
        });
        assert_eq!(value.unwrap(), 1);
        let socket = spawn_in(&b, || UdpSocket::bind("[::1]:9")).unwrap().join().unwrap().unwrap();
        assert!(socket.is_ok());
    }

    #[test]
    fn sysctls_are_the_namespace_s_own() {
        if !root() {
            return;
        }
        let outside = std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
        let a = Namespace::new("a").unwrap();
        a.set_sysctl("net/ipv4/ip_default_ttl", "33").unwrap();
        assert_eq!(a.sysctl("net/ipv4/ip_default_ttl").unwrap(), "33");
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap(), outside);
        let error = a.set_sysctl("net/ipv4/none", "1").unwrap_err().to_string();
        assert!(error.contains("/proc/sys/net/ipv4/none in a"), "{error}");
    }
}
