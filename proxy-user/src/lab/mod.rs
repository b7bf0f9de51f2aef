//! Network namespaces, links and small peers for `weir demo` and the live tests, by system calls alone.
//!
//! Everything is owned by values: when they are dropped, or the process dies, nothing is left behind.

pub mod bolt;
pub mod bulk;
mod connect;
mod error;
mod ethtool;
mod frames;
pub mod http;
mod link;
mod namespace;
mod port;
mod route;
mod server;
pub mod talk;
pub mod udp;

use std::io::Write as _;

pub use error::LabError;
pub use ethtool::Offloads;
pub use frames::FrameSocket;
pub use link::Veth;
pub use namespace::{Namespace, run_async_in, run_in, spawn_in};
pub use port::Port;
pub use route::Route;

/// Says that the test of this thread is left out, and why: past the harness, which keeps what passing tests print.
pub fn left_out(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Nobody reads it: nothing to be done.
    let _ = writeln!(std::io::stderr(), "left out: {test}: {why}");
}

#[cfg(test)]
pub(crate) mod tests {
    /// Whether live tests can run; says why not.
    pub(crate) fn root() -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            super::left_out("needs root for network namespaces");
        }
        root
    }
}
