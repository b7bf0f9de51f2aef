//! Counter values. All counters are per CPU; a reader adds them up.

/// Packets and bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header to the end of the IP packet.
    pub bytes: u64,
}

/// Traffic of a service or a backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TrafficCount {
    /// Packets towards the backend.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Flows begun: NAT flows, or TCP SYNs in the stateless modes.
    pub connections: u64,
    /// Packets of answers (NAT only; in DSR they do not come back here).
    pub reply_packets: u64,
    /// Their bytes.
    pub reply_bytes: u64,
}
