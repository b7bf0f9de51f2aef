//! How long idle flows are remembered.

use std::time::Duration;

/// Idle times of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A flow whose handshake is not finished; also the window of `syn_budget`.
    pub syn: Duration,
    /// An established TCP flow.
    pub tcp: Duration,
    /// A TCP flow that one side has closed.
    pub closing: Duration,
    /// A TCP flow that is closed.
    pub closed: Duration,
    /// A UDP flow with answers.
    pub udp: Duration,
    /// An entry of the stateless modes' flow cache.
    pub cache: Duration,
    /// How long the stateless modes remember the previous owner of a ring slot after a change.
    pub settle: Duration,
}

impl Default for Timeouts {
    /// TCP and UDP by RFC 5382 (REQ-5), RFC 7857 and RFC 4787 (REQ-5).
    fn default() -> Self {
        Self {
            syn: Duration::from_secs(10),
            tcp: Duration::from_secs(2 * 3600 + 240),
            closing: Duration::from_secs(240),
            closed: Duration::from_secs(10),
            udp: Duration::from_secs(300),
            cache: Duration::from_secs(900),
            settle: Duration::from_secs(3600),
        }
    }
}
