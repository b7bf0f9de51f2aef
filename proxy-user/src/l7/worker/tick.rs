//! What happens when something has taken too long.

use std::io::{self, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::{State, Use};
use super::engine::Engine;
use super::poll::Token;
use super::slab::Key;
use crate::l7::codec::LocalReason;
use crate::l7::pool::Verdict;

impl Engine {
    /// Looks at all connections that are due.
    pub(super) fn tick(&mut self) {
        while let Some(entry) = self.timers.due(self.now) {
            let (_, bits) = entry;
            match Token::from_bits(bits) {
                Token::Client(key) => {
                    let over = self
                        .clients
                        .get_mut(key)
                        .is_some_and(|client| self.timers.is_over(&mut client.deadline, entry, self.now));
                    if over {
                        self.client_is_late(key);
                    }
                }
                Token::Upstream(key) => {
                    let over = self
                        .upstreams
                        .get_mut(key)
                        .is_some_and(|upstream| self.timers.is_over(&mut upstream.deadline, entry, self.now));
                    if over {
                        self.upstream_is_late(key);
                    }
                }
                Token::Control | Token::ListenerV4 | Token::ListenerV6 => {}
            }
        }
    }

    fn client_is_late(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        match &client.state {
            State::Detecting => self.detection_is_over(key),
            State::Busy(exchange) => {
                let endpoint = exchange.endpoint;
                if exchange.upstream.is_some() {
                    self.note_verdict(endpoint, Verdict::Failed);
                }
                self.abort_exchange(key, LocalReason::Timeout, LocalReason::Timeout.http_status());
            }
            State::Shared(under_way) if *under_way > 0 => {
                let idle = self.bounds(key).map_or(u64::MAX, |bounds| bounds.idle);
                self.client_deadline(key, idle);
            }
            State::Idle | State::Shared(_) | State::Tunnel(_) | State::Closing => self.client_lost(key),
        }
    }

    fn upstream_is_late(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        if !upstream.connected {
            self.connect_failed(key);
            return;
        }
        match &upstream.used {
            Use::Idle => self.upstream_lost(key),
            Use::Shared(_) => self.shared_tick(key),
            // Its client's deadline counts.
            Use::Exchange(_) | Use::Tunnel(_) => {}
        }
    }

    /// Writes the access log, as far as there is room for it: what is not read in time is lost.
    pub(super) fn write_log(&mut self) {
        let log = std::mem::take(&mut self.log);
        let mut err = io::stderr().lock();
        for part in log.chunks(ONE_WRITE) {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let room = poll(&mut [PollFd::new(&err, PollFlags::OUT)], Some(&now));
            if room != Ok(1) || err.write_all(part).is_err() {
                return;
            }
        }
    }
}

/// A pipe with room has room for so much.
const ONE_WRITE: usize = 4096;
