//! The ways in which a daemon's time ends: another takes over, the next start will, or everything goes.

use super::daemon::Daemon;
use super::{addresses, handover, remove_pins};
use crate::control::types::DetachAnswer;

impl Daemon {
    /// Gives the registries' connections to a successor; false if it went wrong and this daemon goes on.
    pub(super) async fn hand_over(&mut self, successor: std::os::unix::net::UnixStream) -> bool {
        tracing::info!("a successor asks to take over");
        let parcels = self.discovery.hand_over().await;
        match tokio::task::block_in_place(|| handover::give(successor, &parcels)) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the successor did not take over: this daemon goes on"
                );
                self.discovery.begin_anew(&self.settings, parcels).await;
                self.want_endpoints();
                false
            }
        }
    }

    /// Leaves the registries' connections with the service manager, for the next start.
    pub(super) async fn leave(&mut self) {
        if !handover::can_store() {
            return;
        }
        let parcels = self.discovery.hand_over().await;
        if let Err(error) = handover::store(&parcels) {
            tracing::warn!(error = format!("{error:#}"), "the VIPs' registrations end with this process");
        }
    }

    /// Removes everything from the kernel.
    pub(super) async fn detach(&mut self) -> DetachAnswer {
        let mut answer = DetachAnswer { removed: Vec::new(), left: Vec::new() };
        // While packets still reach the backends.
        self.retire(None).await;
        remove_pins(self.kernel.pins_owned(), &mut answer);
        self.detach_l7(&mut answer).await;
        addresses::remove_all(&mut self.announcer, &mut answer).await;
        if !answer.left.is_empty() {
            // The daemon goes on with what is left of it, and mends the rest: it registers again what it serves then.
            self.ports.verify();
            self.look_at_host().await;
            self.revive();
        }
        answer
    }
}
