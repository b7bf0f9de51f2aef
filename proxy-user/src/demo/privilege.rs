//! What the demo needs of this process.

use super::error::DemoError;
use crate::kernel::capability::Missing;

/// Refuses before anything is made, naming what is missing.
pub(super) fn check() -> Result<(), DemoError> {
    let missing = Missing::among(&NEEDED);
    if missing.is_empty() { Ok(()) } else { Err(DemoError::NotPermitted(missing)) }
}

/// CAP_SYS_ADMIN makes the namespaces and mounts and stands for CAP_BPF and CAP_PERFMON; CAP_NET_RAW sends frames.
const NEEDED: [(u32, &str); 3] = [(21, "CAP_SYS_ADMIN"), (12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];
