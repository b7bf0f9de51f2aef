//! What happens when something has taken too long.

use std::io::{self, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::accept::is_complete;
use super::connection::{State, Use};
use super::engine::Engine;
use super::poll::Token;
use super::slab::Key;
use crate::l7::codec::{LocalReason, Refusal};
use crate::l7::pool::Verdict;

impl Engine {
    /// Looks at all connections that are due.
    pub(super) fn tick(&mut self) {
        self.end_of_leavers();
        if self.held > self.most_held {
            self.make_room();
        }
        while let Some(entry) = self.timers.due(self.now) {
            let (_, bits) = entry;
            match Token::from_bits(bits) {
                Token::Client(key) => {
                    let over = self
                        .clients
                        .get_mut(key)
                        .is_some_and(|client| self.timers.is_over(&mut client.deadline, entry, self.now));
                    if over {
                        self.guarded(Token::Client(key), |engine| engine.client_is_late(key));
                    }
                }
                Token::Upstream(key) => {
                    let over = self
                        .upstreams
                        .get_mut(key)
                        .is_some_and(|upstream| self.timers.is_over(&mut upstream.deadline, entry, self.now));
                    if over {
                        self.guarded(Token::Upstream(key), |engine| engine.upstream_is_late(key));
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
                if !is_complete(&exchange.request) {
                    self.abort_exchange(key, LocalReason::BadRequest, TOO_SLOW);
                    return;
                }
                // A client that does not read is no fault of the endpoint's.
                if exchange.upstream.is_some() && client.stream.unsent() == 0 {
                    self.note_verdict(endpoint, Verdict::Failed);
                }
                self.abort_exchange(key, LocalReason::Timeout, LocalReason::Timeout.http_status());
            }
            State::Idle | State::Shared(_) if client.partial => {
                let Some(codec) = client.codec else { return };
                let late = Refusal::fatal(LocalReason::BadRequest, "a message that does not come to its end");
                self.refuse(key, codec.0, &late.with_status(TOO_SLOW));
            }
            State::Shared(under_way) if *under_way > 0 && !client.stream.eof => {
                let patience = self.patience(key);
                self.client_deadline(key, patience);
            }
            // Its own side first, so that what comes after all does not reset what it has not read.
            State::Shared(_) if client.ending => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.state = State::Closing;
                }
                self.dirty_client(key);
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
            Use::Idle | Use::Mirror(_) => self.upstream_lost(key),
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

/// HTTP status for a request that does not come in time.
const TOO_SLOW: u16 = 408;
/// A pipe with room has room for so much.
const ONE_WRITE: usize = 4096;
