//! A double of a service manager for weir alone. It does what systemd does with descriptors (sd_notify(3),
//! sd_listen_fds(3)): keeps those that come with FDSTORE=1 under their names, forgets those of a name at
//! FDSTOREREMOVE=1, and passes the rest to the next start, from number 3 on, with LISTEN_PID, LISTEN_FDS and
//! LISTEN_FDNAMES. It starts weir as a unit of `Type=notify`, and stops it by SIGTERM. It does not watch what it keeps.

use std::fs::File;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::bed::Bed;
use crate::daemon::Places;
use crate::manager::Manager;
use crate::wait::wait_until;

/// Dropping it kills what it runs.
pub(crate) struct Double {
    places: Places,
    log: PathBuf,
    address: PathBuf,
    heard: Arc<Mutex<Heard>>,
    hearing: Option<JoinHandle<()>>,
    weir: Option<Child>,
}

#[derive(Default)]
struct Heard {
    ready: bool,
    stopping: bool,
    kept: Vec<(String, OwnedFd)>,
}

impl Double {
    pub(crate) fn new(bed: &Bed) -> Self {
        let address = bed.dir.join("notify");
        let socket = UnixDatagram::bind(&address).unwrap();
        let heard = Arc::<Mutex<Heard>>::default();
        let told = Arc::clone(&heard);
        let hearing = Some(thread::spawn(move || while hear(&socket, &told) {}));
        Self { places: bed.places(), log: bed.dir.join("weir.log"), address, heard, hearing, weir: None }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    fn launch(&mut self) {
        let kept = std::mem::take(&mut self.heard().kept);
        self.heard().ready = false;
        let run = self.places.run(&["--config", self.places.config().to_str().unwrap()]);
        // The shell's process becomes weir, so its id can be told beforehand.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]);
        command.arg(run.get_program()).args(run.get_args());
        command.env("NOTIFY_SOCKET", &self.address).env_remove("WEIR_LOG");
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        command.env("LISTEN_FDS", kept.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let numbers: Vec<i32> = kept.iter().map(|(_, descriptor)| high(descriptor)).collect();
        let passed = numbers.clone();
        let place = move || {
            for (number, target) in passed.iter().zip(3..) {
                // SAFETY: a system call on numbers alone; what is at the target belongs to the parent's copy.
                if unsafe { libc::dup2(*number, target) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls and allocates nothing.
        unsafe { command.pre_exec(place) };
        self.weir = Some(command.spawn().unwrap());
        for number in numbers {
            // SAFETY: `high` has made it, and nobody else knows it.
            drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(number) });
        }
        wait_until("READY=1", Duration::from_secs(30), || self.heard().ready);
    }

    fn end(&mut self) {
        self.heard().stopping = false;
        let weir = self.weir.as_mut().unwrap();
        kill(Pid::from_raw(weir.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert!(weir.wait().unwrap().success(), "{}", self.log());
        wait_until("STOPPING=1", Duration::from_secs(5), || self.heard().stopping);
    }
}

impl Manager for Double {
    fn begin(&mut self) {
        self.launch();
    }

    fn restart(&mut self) {
        self.end();
        // A connection and its state.
        wait_until("what is left in the store", Duration::from_secs(5), || self.kept() == 2);
        self.launch();
    }

    fn stop(&mut self) {
        self.end();
        self.heard().kept.clear();
    }

    fn pid(&self) -> u32 {
        self.weir.as_ref().unwrap().id()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn kept(&self) -> usize {
        self.heard().kept.len()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("weir logged:\n{}", self.log());
        }
        if let Some(mut weir) = self.weir.take() {
            let _ = weir.kill();
            let _ = weir.wait();
        }
        let ended = UnixDatagram::unbound().and_then(|socket| socket.send_to(END, &self.address));
        if ended.is_ok()
            && let Some(hearing) = self.hearing.take()
        {
            let _ = hearing.join();
        }
    }
}

/// Takes in a message; false at the end.
fn hear(socket: &UnixDatagram, heard: &Mutex<Heard>) -> bool {
    let mut message = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket.as_fd(), &mut [IoSliceMut::new(&mut message)], &mut control, RecvFlags::CMSG_CLOEXEC);
    let length = received.unwrap().bytes;
    if message[..length] == *END {
        return false;
    }
    let descriptors = control.drain().filter_map(|found| match found {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors: Vec<OwnedFd> = descriptors.flatten().collect();
    let text = String::from_utf8_lossy(&message[..length]).into_owned();
    let says = |wanted: &str| text.lines().any(|line| line == wanted);
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored").to_owned();
    let mut heard = lock(heard);
    heard.ready |= says("READY=1");
    heard.stopping |= says("STOPPING=1");
    if says("FDSTOREREMOVE=1") {
        heard.kept.retain(|(other, _)| *other != name);
    }
    if says("FDSTORE=1") {
        heard.kept.extend(descriptors.into_iter().map(|descriptor| (name.clone(), descriptor)));
    }
    true
}

/// A copy with a number that no target has.
fn high(descriptor: &OwnedFd) -> i32 {
    // SAFETY: a system call on a descriptor that is open.
    let number = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100) };
    assert!(number >= 100, "{}", std::io::Error::last_os_error());
    number
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

const END: &[u8] = b"end";
