//! The closed list of outcomes: the decision's result, the counter's index, the metric's label, what tests assert.

/// What becomes of a packet, in kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// To the host's stack, untouched.
    Pass,
    /// Dropped.
    Drop,
    /// Rewritten and sent out.
    Steer,
}

impl Class {
    /// The metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Steer => "steer",
        }
    }
}

/// Why a packet passed, was dropped or was steered. New reasons are added at the end: the number is the counter's index
/// in pinned maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
#[must_use]
pub enum Reason {
    /// Not addressed to a VIP and no flow of ours.
    #[default]
    NotOurs = 0,
    /// Neither IPv4 nor IPv6: ARP, LLDP and the like.
    NonIp = 1,
    /// Too short to hold the addresses it claims; left to the host.
    Truncated = 2,
    /// More than two VLAN tags.
    VlanTooDeep = 3,
    /// IPv6 neighbour discovery (RFC 4861).
    NeighbourDiscovery = 4,
    /// ICMP echo to a VIP: the host answers.
    VipEcho = 5,
    /// A VIP's port without a service, where the configuration lets it pass.
    UnknownPortPass = 6,
    /// The source is on a drop list.
    AclDrop = 7,
    /// No list matches the source, and the default action is drop.
    AclDefaultDrop = 8,
    /// IPv4 header length, version or total length is wrong.
    MalformedIpv4 = 9,
    /// IPv6 version or payload length is wrong.
    MalformedIpv6 = 10,
    /// TCP, UDP or ICMP header is cut short or its length is wrong.
    MalformedL4 = 11,
    /// TCP flags that no stack sends: SYN with FIN or RST, or none at all.
    MalformedTcpFlags = 12,
    /// A source that cannot be: loopback, multicast, unspecified, class E, mapped, or the VIP itself.
    MartianSource = 13,
    /// A fragment to a VIP: not supported.
    Fragment = 14,
    /// IPv6 extension headers: too many, a routing header with segments left, or unsupported.
    ExtensionHeaders = 15,
    /// Neither TCP, UDP nor ICMP, to a VIP.
    UnsupportedProtocol = 16,
    /// An ICMP message to a VIP that is neither echo nor an error of a known flow.
    UnsupportedIcmp = 17,
    /// TTL or hop limit would reach 0.
    TtlExceeded = 18,
    /// A VIP's port without a service.
    UnknownPort = 19,
    /// The service has no usable backend.
    NoBackend = 20,
    /// The flow's backend has been removed or is down.
    BackendGone = 21,
    /// The backend's next hop has no MAC address yet.
    NeighbourUnresolved = 22,
    /// Larger than the MTU towards the backend.
    TooBig = 23,
    /// A tagged frame whose way leads out of another interface.
    VlanAcross = 24,
    /// TCP to a NAT service, neither a SYN nor of a known flow.
    NoFlow = 25,
    /// The service's budget of flows without a finished handshake is used up.
    SynBudget = 26,
    /// No free source-NAT port for this backend.
    SnatExhausted = 27,
    /// The flow table is full.
    FlowTableFull = 28,
    /// A table that must exist does not: a fault of weir or of the kernel.
    HelperFailed = 29,
    /// NAT, client to backend.
    Nat = 30,
    /// NAT, backend to client.
    NatReply = 31,
    /// An ICMP error of a NAT flow, translated.
    NatIcmp = 32,
    /// Direct server return: MAC addresses rewritten.
    DsrL2 = 33,
    /// To the L7 path of this host.
    Deliver = 34,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 35] = [
        Self::NotOurs,
        Self::NonIp,
        Self::Truncated,
        Self::VlanTooDeep,
        Self::NeighbourDiscovery,
        Self::VipEcho,
        Self::UnknownPortPass,
        Self::AclDrop,
        Self::AclDefaultDrop,
        Self::MalformedIpv4,
        Self::MalformedIpv6,
        Self::MalformedL4,
        Self::MalformedTcpFlags,
        Self::MartianSource,
        Self::Fragment,
        Self::ExtensionHeaders,
        Self::UnsupportedProtocol,
        Self::UnsupportedIcmp,
        Self::TtlExceeded,
        Self::UnknownPort,
        Self::NoBackend,
        Self::BackendGone,
        Self::NeighbourUnresolved,
        Self::TooBig,
        Self::VlanAcross,
        Self::NoFlow,
        Self::SynBudget,
        Self::SnatExhausted,
        Self::FlowTableFull,
        Self::HelperFailed,
        Self::Nat,
        Self::NatReply,
        Self::NatIcmp,
        Self::DsrL2,
        Self::Deliver,
    ];

    /// How many there are.
    #[expect(clippy::cast_possible_truncation, reason = "a few dozen")]
    pub const COUNT: u32 = Self::ALL.len() as u32;

    /// The counter's index.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self as u32
    }

    /// The name used in metrics, the API and documents.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::NonIp => "non_ip",
            Self::Truncated => "truncated",
            Self::VlanTooDeep => "vlan_too_deep",
            Self::NeighbourDiscovery => "neighbour_discovery",
            Self::VipEcho => "vip_echo",
            Self::UnknownPortPass => "unknown_port_pass",
            Self::AclDrop => "acl_drop",
            Self::AclDefaultDrop => "acl_default_drop",
            Self::MalformedIpv4 => "malformed_ipv4",
            Self::MalformedIpv6 => "malformed_ipv6",
            Self::MalformedL4 => "malformed_l4",
            Self::MalformedTcpFlags => "malformed_tcp_flags",
            Self::MartianSource => "martian_source",
            Self::Fragment => "fragment",
            Self::ExtensionHeaders => "extension_headers",
            Self::UnsupportedProtocol => "unsupported_protocol",
            Self::UnsupportedIcmp => "unsupported_icmp",
            Self::TtlExceeded => "ttl_exceeded",
            Self::UnknownPort => "unknown_port",
            Self::NoBackend => "no_backend",
            Self::BackendGone => "backend_gone",
            Self::NeighbourUnresolved => "neighbour_unresolved",
            Self::TooBig => "too_big",
            Self::VlanAcross => "vlan_across",
            Self::NoFlow => "no_flow",
            Self::SynBudget => "syn_budget",
            Self::SnatExhausted => "snat_exhausted",
            Self::FlowTableFull => "flow_table_full",
            Self::HelperFailed => "helper_failed",
            Self::Nat => "nat",
            Self::NatReply => "nat_reply",
            Self::NatIcmp => "nat_icmp",
            Self::DsrL2 => "dsr_l2",
            Self::Deliver => "deliver",
        }
    }

    /// What becomes of the packet.
    #[inline(always)]
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::NotOurs
            | Self::NonIp
            | Self::Truncated
            | Self::VlanTooDeep
            | Self::NeighbourDiscovery
            | Self::VipEcho
            | Self::UnknownPortPass
            | Self::Deliver => Class::Pass,
            Self::AclDrop
            | Self::AclDefaultDrop
            | Self::MalformedIpv4
            | Self::MalformedIpv6
            | Self::MalformedL4
            | Self::MalformedTcpFlags
            | Self::MartianSource
            | Self::Fragment
            | Self::ExtensionHeaders
            | Self::UnsupportedProtocol
            | Self::UnsupportedIcmp
            | Self::TtlExceeded
            | Self::UnknownPort
            | Self::NoBackend
            | Self::BackendGone
            | Self::NeighbourUnresolved
            | Self::TooBig
            | Self::VlanAcross
            | Self::NoFlow
            | Self::SynBudget
            | Self::SnatExhausted
            | Self::FlowTableFull
            | Self::HelperFailed => Class::Drop,
            Self::Nat | Self::NatReply | Self::NatIcmp | Self::DsrL2 => Class::Steer,
        }
    }

    /// Whether packets with this reason count as their service's traffic: steered ones, and those for the L7 path.
    #[inline(always)]
    #[must_use]
    pub const fn is_served(self) -> bool {
        matches!(self.class(), Class::Steer) || matches!(self, Self::Deliver)
    }

    /// One sentence for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotOurs => "Not addressed to a VIP and no flow of ours.",
            Self::NonIp => "Neither IPv4 nor IPv6: ARP, LLDP and the like.",
            Self::Truncated => "Too short to hold the addresses it claims; left to the host.",
            Self::VlanTooDeep => "More than two VLAN tags.",
            Self::NeighbourDiscovery => "IPv6 neighbour discovery (RFC 4861).",
            Self::VipEcho => "ICMP echo to a VIP: the host answers.",
            Self::UnknownPortPass => "A VIP's port without a service, where the configuration lets it pass.",
            Self::AclDrop => "The source is on a drop list.",
            Self::AclDefaultDrop => "No list matches the source, and the default action is drop.",
            Self::MalformedIpv4 => "IPv4 header length, version or total length is wrong.",
            Self::MalformedIpv6 => "IPv6 version or payload length is wrong.",
            Self::MalformedL4 => "TCP, UDP or ICMP header is cut short or its length is wrong.",
            Self::MalformedTcpFlags => "TCP flags that no stack sends: SYN with FIN or RST, or none at all.",
            Self::MartianSource => {
                "A source that cannot be: loopback, multicast, unspecified, class E, mapped, or the VIP itself."
            }
            Self::Fragment => "A fragment to a VIP: not supported.",
            Self::ExtensionHeaders => {
                "IPv6 extension headers: too many, a routing header with segments left, or unsupported."
            }
            Self::UnsupportedProtocol => "Neither TCP, UDP nor ICMP, to a VIP.",
            Self::UnsupportedIcmp => {
                "An ICMP message to a VIP that is neither echo nor an error of a known flow."
            }
            Self::TtlExceeded => "TTL or hop limit would reach 0.",
            Self::UnknownPort => "A VIP's port without a service.",
            Self::NoBackend => "The service has no usable backend.",
            Self::BackendGone => "The flow's backend has been removed or is down.",
            Self::NeighbourUnresolved => "The backend's next hop has no MAC address yet.",
            Self::TooBig => "Larger than the MTU towards the backend.",
            Self::VlanAcross => "A tagged frame whose way leads out of another interface.",
            Self::NoFlow => "TCP to a NAT service, neither a SYN nor of a known flow.",
            Self::SynBudget => "The service's budget of flows without a finished handshake is used up.",
            Self::SnatExhausted => "No free source-NAT port for this backend.",
            Self::FlowTableFull => "The flow table is full.",
            Self::HelperFailed => "A table that must exist does not: a fault of weir or of the kernel.",
            Self::Nat => "NAT, client to backend.",
            Self::NatReply => "NAT, backend to client.",
            Self::NatIcmp => "An ICMP error of a NAT flow, translated.",
            Self::DsrL2 => "Direct server return: MAC addresses rewritten.",
            Self::Deliver => "To the L7 path of this host.",
        }
    }
}

const _: () = assert!(Reason::COUNT <= crate::limits::REASON_SLOTS);
