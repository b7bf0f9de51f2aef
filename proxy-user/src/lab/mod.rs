//! Network namespaces, links and small peers for `weir demo` and the live tests, by system calls alone.
//!
//! Everything is owned by values: when they are dropped, or the process dies, nothing is left behind.

pub mod bulk;
mod error;
mod ethtool;
mod frames;
pub mod http;
mod link;
mod namespace;
mod port;
mod route;
mod server;
pub mod udp;

pub use error::LabError;
pub use ethtool::Offloads;
pub use frames::FrameSocket;
pub use link::Veth;
pub use namespace::{Namespace, run_async_in, run_in, spawn_in};
pub use port::Port;
pub use route::Route;

#[cfg(test)]
pub(crate) mod tests {
    /// Whether live tests can run; says why not.
    pub(crate) fn root() -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            eprintln!("left out: needs root for network namespaces");
        }
        root
    }
}
