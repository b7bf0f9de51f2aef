//! Which XDP program an interface runs and in which mode, by rtnetlink: the link's own information has no mode, and a
//! foreign program has no link of ours.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

use super::attach::Mode;

/// The XDP program of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpState {
    /// Mode in force.
    pub mode: Mode,
    /// Id of the program.
    pub program_id: u32,
}

/// Asks the kernel about an interface of this thread's network namespace; `None` when no program is attached.
///
/// # Errors
/// `ENODEV` for an interface that does not exist; others of the socket.
pub fn read(ifindex: u32) -> io::Result<Option<XdpState>> {
    let mut link = LinkMessage::default();
    link.header.index = ifindex;
    let answer = ask(RouteNetlinkMessage::GetLink(link), NLM_F_REQUEST)?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "rtnetlink answers with something else"));
    };
    Ok(link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => parse(xdp),
        _ => None,
    }))
}

/// Removes a program that was attached by netlink, without a link.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn clear(ifindex: u32, mode: Mode) -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = ifindex;
    let flags = match mode {
        Mode::Native => XDP_FLAGS_DRV_MODE,
        Mode::Generic => XDP_FLAGS_SKB_MODE,
        Mode::Offload => XDP_FLAGS_HW_MODE,
    };
    link.attributes = vec![LinkAttribute::Xdp(vec![LinkXdp::Fd(-1), LinkXdp::Flags(flags)])];
    ask(RouteNetlinkMessage::SetLink(link), NLM_F_REQUEST | NLM_F_ACK).map(|_| ())
}

fn parse(attributes: &[LinkXdp]) -> Option<XdpState> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Multiple) => Some(Mode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(Mode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(Mode::Offload),
        _ => None,
    })?;
    let program_id = attributes.iter().find_map(|attribute| match (mode, attribute) {
        (_, LinkXdp::ProgId(id)) | (Mode::Native, LinkXdp::DrvProgId(id)) => Some(*id),
        _ => None,
    })?;
    Some(XdpState { mode, program_id })
}

fn ask(request: RouteNetlinkMessage, flags: u16) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let socket = route_socket()?;
    send(socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
    let mut answer = vec![0; ANSWER];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        payload => Ok(payload),
    }
}

fn route_socket() -> io::Result<OwnedFd> {
    let kind = SockType::Raw;
    let socket =
        socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, Some(SockProtocol::NetlinkRoute))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

/// Larger than any answer about one link.
const ANSWER: usize = 64 * 1024;
const XDP_FLAGS_SKB_MODE: u32 = 2;
const XDP_FLAGS_DRV_MODE: u32 = 4;
const XDP_FLAGS_HW_MODE: u32 = 8;
