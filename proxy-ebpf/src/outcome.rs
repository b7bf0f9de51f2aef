//! What the decision says of a packet.

use proxy_common::Reason;

/// The result: why, where to, and what to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Outcome {
    /// Why; its class is the verdict.
    pub reason: Reason,
    /// For a steered packet, the interface it leaves by.
    pub ifindex: u32,
    /// Bytes to count: Ethernet header to the end of the IP packet, or the frame where there is none.
    pub bytes: u32,
    /// List whose entry (or default) was enforced.
    pub list: Option<u16>,
    /// Id of the service, 0 for none.
    pub service: u16,
    /// The backend's slot, 0 for none.
    pub backend: u16,
    /// The packet began a flow.
    pub new_flow: bool,
    /// The packet is an answer of a NAT flow.
    pub reply: bool,
}
