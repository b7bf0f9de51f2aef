//! What of a request its answer depends on, packed into [`Asked::notes`].

use super::super::Asked;

/// What of a request its answer depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// `HEAD`: the answer has no body, whatever it says.
    pub(super) head: bool,
    /// `CONNECT`: an answer of 2xx begins a tunnel.
    pub(super) connect: bool,
    /// HTTP/1.1: the client reads chunks and interim answers.
    pub(super) http11: bool,
    /// The client would send another request.
    pub(super) keep: bool,
    /// `Upgrade: websocket`, which is passed on.
    pub(super) upgrade: bool,
}

impl Notes {
    pub(super) fn of(asked: &Asked) -> Self {
        let [bits, ..] = asked.notes;
        let bit = |place: u8| bits >> place & 1 == 1;
        Self { head: bit(0), connect: bit(1), http11: bit(2), keep: bit(3), upgrade: bit(4) }
    }

    pub(super) fn asked(self) -> Asked {
        let bits = [self.head, self.connect, self.http11, self.keep, self.upgrade];
        let bits = bits.into_iter().rev().fold(0, |bits, bit| bits << 1 | u8::from(bit));
        Asked { id: 0, notes: [bits, 0, 0, 0, 0, 0, 0, 0] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_has_its_place() {
        for bits in 0..32_u8 {
            let notes = Notes::of(&Asked { id: 0, notes: [bits, 0, 0, 0, 0, 0, 0, 0] });
            assert_eq!(notes.asked().notes[0], bits);
        }
    }
}
