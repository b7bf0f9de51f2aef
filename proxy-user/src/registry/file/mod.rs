//! Placeholder until branch local.
pub mod settings;

use crate::registry::source::{Client, Ended, Parcel, Session, SessionError};
use futures_util::future::BoxFuture;

struct Nothing;

impl Client for Nothing {
    fn session<'a>(&'a mut self, _: &'a mut Session) -> BoxFuture<'a, Result<Ended, SessionError>> {
        Box::pin(async { Ok(Ended::Unwanted) })
    }
}

/// Client.
#[must_use]
pub fn client(_: &settings::Settings, _: Option<Parcel>) -> Box<dyn Client> {
    Box::new(Nothing)
}
