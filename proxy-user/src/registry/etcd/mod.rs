//! etcd, API version 3: endpoints are keys below a prefix.
//!
//! A session lists each prefix page by page as of one revision, then watches it from the next revision on. What a batch of
//! changes means is decided in `keys`, what is asked next in `follow`, both without input or output. A session that ends is
//! followed by one that begins with lists: a cluster that was wiped takes a watch from an old revision without a word.

mod follow;
mod generated;
mod keys;
mod layout;
mod publish;
mod range;
mod register;
mod server;
mod session;
pub mod settings;
mod template;
mod value;

#[cfg(test)]
mod tests;

use futures_util::future::BoxFuture;
use prost::Message as _;

use self::server::Server;
use self::settings::Settings;
use super::source::{Client, Ended, Parcel, Session, SessionError};

/// A client of one cluster. What is registered with etcd lives on a lease, not on a connection, so there is nothing to take
/// over.
#[must_use]
pub fn client(settings: &Settings, _taken_over: Option<Parcel>) -> Box<dyn Client> {
    Box::new(Etcd { settings: settings.clone(), turn: 0 })
}

/// For fuzzing: whatever a cluster answers and its writers write, no panic.
pub fn fuzz(data: &[u8]) {
    layout::fuzz(data);
    drop(generated::RangeResponse::decode(data));
    drop(generated::WatchResponse::decode(data));
}

/// A cluster, and which of its members is to be tried first.
struct Etcd {
    settings: Settings,
    turn: usize,
}

impl Client for Etcd {
    fn session<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Ended, SessionError>> {
        Box::pin(async move {
            let (number, server) = Server::connect(&self.settings, self.turn).await?;
            // However the session ends, also by being dropped, the next one is another member's.
            self.turn = number.wrapping_add(1);
            session::run(&self.settings, server, session).await
        })
    }
}
