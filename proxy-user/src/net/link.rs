//! Interfaces: names, indexes, MAC addresses, MTU, state and the XDP program on them.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, State, XdpAttached,
};

use super::netlink::{Netlink, NetlinkError};

/// An interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index, unique within the network namespace while the interface lives; a returning interface has another.
    pub index: u32,
    /// Name.
    pub name: String,
    /// MAC address; none for interfaces that are not Ethernet.
    pub mac: Option<[u8; 6]>,
    /// MTU, bytes of IP packet.
    pub mtu: u32,
    /// Set up by the operator.
    pub up: bool,
    /// Ready to carry packets (`operstate` up, or unknown for drivers that don't tell).
    pub running: bool,
    /// Kind of a virtual interface, such as `veth`, `vlan`, `bond`; none for a NIC.
    pub kind: Option<String>,
    /// The interface that this one belongs to (bond, bridge, VRF).
    pub controller: Option<u32>,
    /// XDP programs on it, at most one a mode.
    pub xdp: Vec<XdpProgram>,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// Where it runs.
    pub mode: XdpMode,
    /// The kernel's id of the program.
    pub id: u32,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack, after the socket buffer is made.
    Generic,
    /// In the device.
    Hardware,
}

/// All interfaces of the namespace.
///
/// # Errors
/// [`NetlinkError`].
pub async fn list(netlink: &Netlink) -> Result<Vec<Link>, NetlinkError> {
    let what = "list the interfaces";
    let answers = netlink.dump(what, RouteNetlinkMessage::GetLink(LinkMessage::default())).await?;
    Ok(answers.iter().filter_map(link_of).collect())
}

/// The interface of that name, if there is one.
///
/// # Errors
/// [`NetlinkError`].
pub async fn by_name(netlink: &Netlink, name: &str) -> Result<Option<Link>, NetlinkError> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    one(netlink, &format!("look up the interface {name}"), message).await
}

/// The interface of that index, if there is one.
///
/// # Errors
/// [`NetlinkError`].
pub async fn by_index(netlink: &Netlink, index: u32) -> Result<Option<Link>, NetlinkError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    one(netlink, &format!("look up the interface with index {index}"), message).await
}

impl Link {
    /// From a message of a dump, an answer or a notification.
    pub(super) fn from_message(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            running: false,
            kind: None,
            controller: None,
            xdp: Vec::new(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::OperState(state) => {
                    link.running = link.up && matches!(state, State::Up | State::Unknown);
                }
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                LinkAttribute::Xdp(attributes) => link.xdp = programs(attributes),
                _ => {}
            }
        }
        link
    }
}

async fn one(netlink: &Netlink, what: &str, message: LinkMessage) -> Result<Option<Link>, NetlinkError> {
    match netlink.one(what, RouteNetlinkMessage::GetLink(message)).await {
        Ok(answer) => Ok(link_of(&answer)),
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(None),
        // A name longer than the kernel's limit is the name of no interface.
        Err(NetlinkError::Refused { source, .. })
            if matches!(source.raw_os_error(), Some(libc::ERANGE | libc::EINVAL)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn link_of(message: &RouteNetlinkMessage) -> Option<Link> {
    match message {
        RouteNetlinkMessage::NewLink(link) => Some(Link::from_message(link)),
        _ => None,
    }
}

/// The kernel gives the mode and one id, or, with several modes in use, an id for each.
fn programs(attributes: &[LinkXdp]) -> Vec<XdpProgram> {
    let mut programs: Vec<_> = attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkXdp::DrvProgId(id) => Some((XdpMode::Native, *id)),
            LinkXdp::SkbProgId(id) => Some((XdpMode::Generic, *id)),
            LinkXdp::HwProgId(id) => Some((XdpMode::Hardware, *id)),
            _ => None,
        })
        .map(|(mode, id)| XdpProgram { mode, id })
        .collect();
    if programs.is_empty() {
        let mode = attributes.iter().find_map(|attribute| match attribute {
            LinkXdp::Attached(XdpAttached::Driver) => Some(XdpMode::Native),
            LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
            LinkXdp::Attached(XdpAttached::Hardware) => Some(XdpMode::Hardware),
            _ => None,
        });
        let id = attributes.iter().find_map(|attribute| match attribute {
            LinkXdp::ProgId(id) => Some(*id),
            _ => None,
        });
        programs.extend(mode.zip(id).map(|(mode, id)| XdpProgram { mode, id }));
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Namespace, Veth, run_async_in};

    #[test]
    fn xdp_attributes_name_every_mode() {
        let one = [LinkXdp::Attached(XdpAttached::Driver), LinkXdp::ProgId(7), LinkXdp::DrvProgId(7)];
        assert_eq!(programs(&one), [XdpProgram { mode: XdpMode::Native, id: 7 }]);
        let old = [LinkXdp::Attached(XdpAttached::SocketBuffer), LinkXdp::ProgId(8)];
        assert_eq!(programs(&old), [XdpProgram { mode: XdpMode::Generic, id: 8 }]);
        let both = [LinkXdp::Attached(XdpAttached::Multiple), LinkXdp::DrvProgId(1), LinkXdp::SkbProgId(2)];
        assert_eq!(programs(&both).len(), 2);
        assert!(programs(&[LinkXdp::Attached(XdpAttached::None)]).is_empty());
    }

    #[test]
    fn names_and_indexes_lead_to_the_same_link() {
        if !root() {
            return;
        }
        let a = Namespace::new("a").unwrap();
        let (one, _two) = Veth::pair((&a, "one"), (&a, "two")).unwrap();
        one.set_mtu(1300).unwrap();
        run_async_in(&a, || async {
            let netlink = Netlink::open().unwrap();
            let link = by_name(&netlink, "one").await.unwrap().unwrap();
            assert_eq!((link.index, link.mac, link.mtu), (one.index(), Some(one.mac()), 1300));
            assert!(link.up && link.running && link.xdp.is_empty());
            assert_eq!(link.kind.as_deref(), Some("veth"));
            assert_eq!(by_index(&netlink, link.index).await.unwrap().unwrap(), link);
            assert_eq!(list(&netlink).await.unwrap().len(), 3);
            assert_eq!(by_name(&netlink, "none").await.unwrap(), None);
            assert_eq!(by_name(&netlink, "a-name-that-is-too-long").await.unwrap(), None);
            assert_eq!(by_index(&netlink, 9999).await.unwrap(), None);
        })
        .unwrap();
    }
}
