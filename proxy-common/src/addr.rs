//! Addresses, ports and protocols as they cross the map boundary: byte arrays in network order, so that neither
//! alignment nor endianness can differ between the kernel and userspace.

/// An IPv4 or IPv6 address in 16 bytes, network order; IPv4 is mapped (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
/// Kept as two words as they lie in memory: it is hashed and copied by words, and the verifier refuses a word across
/// two on the stack.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Addr([u64; 2]);

impl Addr {
    /// An IPv4 address, mapped.
    #[inline(always)]
    #[must_use]
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self([0, (0xffff_0000_0000 | u32::from_be_bytes(octets) as u64).to_be()])
    }

    /// An address from its 16 bytes as they stand on an IPv6 wire.
    #[inline(always)]
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let value = u128::from_be_bytes(octets);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        Self([((value >> 64) as u64).to_be(), (value as u64).to_be()])
    }

    /// An address of either family from the standard library's.
    #[must_use]
    pub const fn from_ip(addr: core::net::IpAddr) -> Self {
        match addr {
            core::net::IpAddr::V4(addr) => Self::v4(addr.octets()),
            core::net::IpAddr::V6(addr) => Self::v6(addr.octets()),
        }
    }

    /// As the standard library's; mapped addresses become IPv4.
    #[must_use]
    pub const fn to_ip(&self) -> core::net::IpAddr {
        if self.is_v4() {
            core::net::IpAddr::V4(core::net::Ipv4Addr::from_octets(self.v4_octets()))
        } else {
            core::net::IpAddr::V6(core::net::Ipv6Addr::from_octets(self.octets()))
        }
    }

    /// Whether this is a mapped IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        let (high, low) = self.words();
        high == 0 && low >> 32 == 0xffff
    }

    /// The last four bytes: the IPv4 address, if this is one.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the last four bytes")]
    pub const fn v4_octets(&self) -> [u8; 4] {
        (self.words().1 as u32).to_be_bytes()
    }

    /// All 16 bytes, network order.
    #[inline(always)]
    #[must_use]
    pub const fn octets(&self) -> [u8; 16] {
        let (high, low) = self.words();
        (((high as u128) << 64) | low as u128).to_be_bytes()
    }

    /// The two halves as big-endian numbers.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> (u64, u64) {
        let [high, low] = self.0;
        (u64::from_be(high), u64::from_be(low))
    }
}

impl core::fmt::Debug for Addr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.to_ip(), f)
    }
}

/// A TCP or UDP port in network order. Port 0 in a service key means "any port".
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Port(pub [u8; 2]);

impl Port {
    /// From a number in host order.
    #[inline(always)]
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be_bytes())
    }

    /// As a number in host order.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

/// A MAC address (EUI-48).
pub type Mac = [u8; 6];

/// Protocol numbers that a service can have (IANA).
pub mod proto {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}
