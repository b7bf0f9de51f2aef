//! Incremental internet checksums (RFC 1624). Byte order: sums are taken over big-endian 16-bit words; since a
//! one's-complement sum may be taken over wider words and folded at the end (RFC 1071 section 2), addresses are added
//! as 32-bit halves. Mapped IPv4 addresses need no case of their own: the prefix is the same on both sides of a change.

use proxy_common::{Addr, Port};

/// A one's-complement sum that has not been folded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds an address.
    #[inline(always)]
    #[must_use]
    pub const fn addr(self, addr: &Addr) -> Self {
        let (high, low) = addr.words();
        self.wide(high).wide(low)
    }

    /// Adds a port.
    #[inline(always)]
    #[must_use]
    pub const fn port(self, port: Port) -> Self {
        self.word(port.number())
    }

    /// Adds a 16-bit word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0.wrapping_add(word as u64))
    }

    #[inline(always)]
    const fn wide(self, word: u64) -> Self {
        Self(self.0.wrapping_add(word >> 32).wrapping_add(word & 0xffff_ffff))
    }

    /// Folded to 16 bits, not complemented.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "folded below")]
    pub const fn fold(self) -> u16 {
        // At most a few dozen 32-bit words were added: 40 bits; three folds are enough for 48.
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }
}

/// The checksum after the fields that summed to `old` have become `new` (RFC 1624 equation 3).
#[inline(always)]
#[must_use]
pub const fn update(check: u16, old: Sum, new: Sum) -> u16 {
    let sum = new.word(!check).word(!old.fold());
    !sum.fold()
}

/// The same for UDP, where 0 means "no checksum" (RFC 768) and is left alone.
#[inline(always)]
#[must_use]
pub const fn update_udp(check: u16, old: Sum, new: Sum) -> u16 {
    if check == 0 {
        return 0;
    }
    match update(check, old, new) {
        0 => 0xffff,
        sum => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1624_section_4_example() {
        // The example that breaks equation 2: the header sum becomes all ones.
        let old = Sum::default().word(0x5555);
        let new = Sum::default().word(0x3285);
        assert_eq!(update(0xdd2f, old, new), 0x0000);
    }

    #[test]
    fn zero_udp_checksum_stays() {
        assert_eq!(update_udp(0, Sum::default().word(1), Sum::default().word(2)), 0);
    }

    #[test]
    fn change_and_back_is_identity() {
        let a = Sum::default().addr(&Addr::v4([10, 0, 0, 1])).port(Port::new(80));
        let b = Sum::default().addr(&Addr::v4([192, 168, 255, 254])).port(Port::new(65_535));
        for check in [1u16, 0x1234, 0xfffe, 0x8000] {
            assert_eq!(update(update(check, a, b), b, a), check);
        }
    }
}
