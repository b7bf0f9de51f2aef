//! Crafted frames on an interface of the laboratory.

use std::time::{Duration, Instant};

use super::{LabError, Port, run_in};
use crate::net::packet::PacketSocket;

/// Sends and receives whole Ethernet frames on a port. Sees what enters the port, before its stack, not what leaves.
#[derive(Debug)]
pub struct FrameSocket {
    socket: PacketSocket,
    port: String,
}

impl FrameSocket {
    /// Opens it on a port, usable from any thread.
    ///
    /// # Errors
    /// [`LabError`].
    pub fn open(port: &Port) -> Result<Self, LabError> {
        let name = format!("{} in {}", port.name(), port.namespace().name());
        let socket = run_in(port.namespace(), || PacketSocket::open(port.index()))?
            .map_err(LabError::at(format!("open a packet socket on {name}")))?;
        Ok(Self { socket, port: name })
    }

    /// Sends a frame, Ethernet header first.
    ///
    /// # Errors
    /// [`LabError`], if the port is down or gone, or the frame too long for it.
    pub fn send(&self, frame: &[u8]) -> Result<(), LabError> {
        self.socket.send(frame).map_err(LabError::at(format!("send a frame on {}", self.port)))
    }

    /// The next frame, or nothing within `timeout`.
    ///
    /// # Errors
    /// [`LabError`], if the port is set down.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Vec<u8>>, LabError> {
        let what = format!("receive a frame on {}", self.port);
        self.socket.recv_timeout(timeout).map_err(LabError::at(what))
    }

    /// The next frame that `wanted` accepts, or nothing within `timeout`; others are thrown away.
    ///
    /// # Errors
    /// [`LabError`], if the port is set down.
    pub fn recv_matching(
        &self,
        timeout: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, LabError> {
        let end = Instant::now() + timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.recv_timeout(left)? {
                Some(frame) if wanted(&frame) => return Ok(Some(frame)),
                None => return Ok(None),
                Some(_) if left.is_zero() => return Ok(None),
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::root;
    use crate::lab::{Namespace, Veth};

    #[test]
    fn a_crafted_frame_arrives_as_it_was_sent() {
        if !root() {
            return;
        }
        let [a, b] = ["a", "b"].map(|name| Namespace::new(name).unwrap());
        let (pa, pb) = Veth::pair((&a, "eth0"), (&b, "eth0")).unwrap();
        let (sender, receiver) = (FrameSocket::open(&pa).unwrap(), FrameSocket::open(&pb).unwrap());
        let mut frame = [pb.mac(), pa.mac()].concat();
        frame.extend([0x88, 0xb5]);
        frame.extend(0..60);
        sender.send(&frame).unwrap();
        let ours = |frame: &[u8]| frame[12..14] == [0x88, 0xb5];
        assert_eq!(receiver.recv_matching(Duration::from_secs(2), ours).unwrap().unwrap(), frame);
        assert_eq!(
            sender.recv_matching(Duration::from_millis(50), ours).unwrap(),
            None,
            "own frames are not seen"
        );
    }
}
