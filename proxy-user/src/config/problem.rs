//! What can be wrong with a configuration: one closed list of codes, and a problem that names the object it is about.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::model::BackendAddr;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is applied.
    Error,
    /// Applied; the operator should know.
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*) => {
        /// Stable code of a finding, for scripts and for the API's problem details.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $doc])* $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

codes! {
    /// A file cannot be read.
    Unreadable = "config.unreadable",
    /// A file or a line is larger than weir reads.
    TooLarge = "config.too_large",
    /// A file is half-written: it changed while it was read, or its last line has no end.
    Truncated = "config.truncated",
    /// The text is not TOML.
    Syntax = "config.syntax",
    /// A key that weir does not know.
    UnknownKey = "config.unknown_key",
    /// A word that is none of those possible.
    UnknownValue = "config.unknown_value",
    /// A value of the wrong type, or a key that is missing.
    WrongType = "config.wrong_type",
    /// A number, duration or count out of its range.
    OutOfRange = "config.out_of_range",
    /// A text that is not what its key asks for (address, prefix, VIP, name, duration).
    BadValue = "config.bad_value",
    /// More of something than weir can hold.
    TooMany = "config.too_many",
    /// Two services or lists of one name.
    DuplicateName = "config.duplicate_name",
    /// One thing listed twice.
    Duplicate = "config.duplicate",
    /// Two services on one VIP.
    VipOverlap = "config.vip_overlap",
    /// An address that cannot be a VIP.
    VipAddress = "config.vip_address",
    /// A backend whose address is a VIP.
    BackendIsVip = "config.backend_is_vip",
    /// An address that cannot be a backend.
    BackendAddress = "config.backend_address",
    /// A backend of the other address family.
    FamilyMismatch = "config.family_mismatch",
    /// A backend's port is 0.
    BackendPortZero = "config.backend_port_zero",
    /// A backend's port differs from the VIP's in a mode that cannot change ports.
    DsrPort = "config.dsr_port",
    /// A UDP service in a mode that serves TCP only.
    L7Protocol = "config.l7_protocol",
    /// A setting of the L7 path on a service of another mode.
    L7Only = "config.l7_only",
    /// A route to a service that there is not, that is not `l7`, or that speaks another protocol.
    Destination = "config.destination",
    /// A list of the source ACL that there is not.
    UnknownList = "config.unknown_list",
    /// A service without a backend that takes new flows.
    NoBackends = "config.no_backends",
    /// A backend's own address is on a deny list.
    BackendDenied = "config.backend_denied",
    /// An address that cannot be used for source NAT.
    SnatAddress = "config.snat_address",
    /// The pool has no address of a family that a service needs.
    SnatFamily = "config.snat_family",
    /// The pool's ports take a VIP's port of the same address.
    SnatOverlap = "config.snat_overlap",
    /// Services of one address disagree about its other ports.
    UnknownPortConflict = "config.unknown_port_conflict",
    /// Two lists of one order.
    OrderTie = "config.order_tie",
    /// An interface-wide default drop without a way back in.
    Lockout = "config.lockout",
    /// A listener that others could reach.
    NotLoopback = "config.not_loopback",
    /// A registry that the file has not.
    UnknownRegistry = "config.unknown_registry",
    /// A kind of registry that this weir is built without.
    NotBuiltIn = "config.not_built_in",
    /// A key that this kind of registry does not understand.
    NotUnderstood = "config.not_understood",
    /// A kind of registry that VIPs cannot be registered with.
    CannotPublish = "config.cannot_publish",
    /// A VIP that is registered under a name where weir looks for backends.
    OwnVip = "config.own_vip",
    /// A service on every port of its address, where one port is needed.
    AnyPort = "config.any_port",
    /// A secret in the configuration itself.
    PlainSecret = "config.plain_secret",
    /// A key that has no effect beside what else is said.
    NoEffect = "config.no_effect",
    /// No interface to attach to.
    NoInterface = "config.no_interface",
    /// A prefix with host bits set; they were cleared.
    HostBits = "config.host_bits",
    /// An IPv4-mapped IPv6 prefix; it was turned into IPv4.
    Mapped = "config.mapped",
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The object or key that a problem is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Locus {
    /// A service.
    Service(String),
    /// The VIP of the named service.
    Vip(String),
    /// `unknown_port` of the named service.
    UnknownPort(String),
    /// `syn_budget` of the named service.
    SynBudget(String),
    /// `codec` of the named service.
    Codec(String),
    /// Routes and virtual hosts of the named service.
    Routes(String),
    /// A destination of a route of the named service: the service that is the destination.
    Destination(String, String),
    /// A list that `access` of the named service looks at again.
    AccessList(String, String),
    /// A backend of the named service.
    Backend(String, BackendAddr),
    /// The VIP of the named service under this name of a registry.
    Publish(String, String),
    /// A list.
    List(String),
    /// `order` of the named list.
    ListOrder(String),
    /// An address of the source-NAT pool.
    SnatAddress(IpAddr),
    /// The ports of the source-NAT pool.
    SnatPorts,
}

impl fmt::Display for Locus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service `{name}`"),
            Self::Vip(name) => write!(f, "service `{name}`, vip"),
            Self::UnknownPort(name) => write!(f, "service `{name}`, unknown_port"),
            Self::SynBudget(name) => write!(f, "service `{name}`, syn_budget"),
            Self::Codec(name) => write!(f, "service `{name}`, codec"),
            Self::Routes(name) => write!(f, "service `{name}`, routes"),
            Self::Destination(name, to) => write!(f, "service `{name}`, route to `{to}`"),
            Self::AccessList(name, list) => write!(f, "service `{name}`, access by list `{list}`"),
            Self::Backend(name, backend) => write!(f, "service `{name}`, backend {backend}"),
            Self::Publish(name, id) => write!(f, "service `{name}`, publish `{id}`"),
            Self::List(name) => write!(f, "list `{name}`"),
            Self::ListOrder(name) => write!(f, "list `{name}`, order"),
            Self::SnatAddress(addr) => write!(f, "snat address {addr}"),
            Self::SnatPorts => f.write_str("snat ports"),
        }
    }
}

/// A finding about desired state, whoever set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its code.
    pub code: Code,
    /// Whether it refuses the state.
    pub severity: Severity,
    /// What it is about.
    pub at: Locus,
    /// The other object of a conflict.
    pub other: Option<Locus>,
    /// What is wrong and why.
    pub message: String,
    /// How to mend it.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.at, self.message, self.hint)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(texts.iter().all(|t| t.starts_with("config.")));
    }
}
