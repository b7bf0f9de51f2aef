//! Endpoints from DNS: A, AAAA and SRV, asked for again as their TTL says.
//!
//! `settings` makes questions of queries, `wire` reads messages, `exchange` carries them, `lookup` follows aliases and SRV
//! targets, `follow` decides what answers mean and when to ask again. There is no cache: every look-up asks a server.

mod exchange;
mod follow;
#[cfg(test)]
mod follow_tests;
mod lookup;
mod session;
pub mod settings;
mod wire;
#[cfg(test)]
mod wire_tests;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::source::{Client, Ended, Parcel, Session, SessionError};

use self::settings::Settings;

/// A client that asks name servers.
pub fn client(settings: &Settings, taken_over: Option<Parcel>) -> Box<dyn Client> {
    // There is no connection to take over.
    drop(taken_over);
    Box::new(Resolver { settings: settings.clone() })
}

/// For fuzzing: see `wire`.
pub fn fuzz(data: &[u8]) {
    wire::fuzz(data);
}

struct Resolver {
    settings: Settings,
}

impl Client for Resolver {
    fn session<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Ended, SessionError>> {
        session::run(&self.settings, session).boxed()
    }
}
