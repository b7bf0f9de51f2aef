//! What is to be told and done while the disk refuses the state file.

use std::time::{Duration, Instant};

use super::daemon::Daemon;
use crate::catalog::Refusal;
use crate::control::types::Code;
use crate::store::StoreError;

/// The file is checked when it is opened again, which takes a moment where much is in it.
const AGAIN: Duration = Duration::from_secs(30);

impl Daemon {
    /// Tells of a refusal of the disk, here, in the status, and to who asked.
    pub(super) fn store_failed(&mut self, error: &StoreError) -> Refusal {
        tracing::error!(%error, "what the API sets cannot be stored");
        self.problems.store = Some(error.to_string());
        self.problems.store_at = Some(Instant::now() + AGAIN);
        self.publish();
        Refusal::new(Code::StoreFailed, error.to_string())
    }

    /// After a refusal, now and then: writes what is in force once more.
    pub(super) fn store_again(&mut self) {
        if self.problems.store.is_none() || self.problems.store_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let api = self.state.api.clone();
        let written =
            tokio::task::block_in_place(|| self.store.prepare(&api, &api).and_then(|change| change.commit()));
        match written {
            Ok(()) => {
                tracing::info!("what the API sets is stored again");
                self.problems.store = None;
                self.publish();
            }
            Err(error) => {
                let _ = self.store_failed(&error);
            }
        }
    }
}
