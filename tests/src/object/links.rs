//! A network namespace for the calling thread with a pair of links, interfaces 2 and 3 beside the loopback's 1: a test
//! run takes its ingress interface from there. The namespace goes with the thread.

use std::io::{Error, Result};

use nix::sched::{CloneFlags, unshare};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

/// Enters a new namespace and makes the pair.
///
/// # Errors
/// Without the right to, or where the kernel has no veth.
pub(super) fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    // Protocol 0 of this family is NETLINK_ROUTE.
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    rustix::net::send(&socket, &new_veth(2, 3), SendFlags::empty())?;
    let mut answer = [0_u8; 1_024];
    rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    // nlmsghdr (16 bytes), then the error number of nlmsgerr.
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        error => Err(Error::from_raw_os_error(-error)),
    }
}

/// `ip link add index FIRST type veth peer index SECOND` as a netlink message (rtnetlink(7)).
fn new_veth(first: u32, second: u32) -> Vec<u8> {
    const RTM_NEWLINK: u16 = 16;
    // NLM_F_REQUEST, ACK, EXCL, CREATE.
    const FLAGS: u16 = 1 | 4 | 0x200 | 0x400;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_INFO_DATA: u16 = 2;
    const VETH_INFO_PEER: u16 = 1;

    let peer = attribute(VETH_INFO_PEER, &interface(second));
    let info = [attribute(IFLA_INFO_KIND, b"veth"), attribute(IFLA_INFO_DATA, &peer)].concat();
    let body = [interface(first), attribute(IFLA_LINKINFO, &info)].concat();
    let mut message = Vec::new();
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// `struct ifinfomsg` with an index.
fn interface(index: u32) -> Vec<u8> {
    let mut out = vec![0; 16];
    out[4..8].copy_from_slice(&index.to_ne_bytes());
    out
}

/// `struct rtattr` with its payload, padded to four bytes.
fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend((4 + payload.len() as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}
