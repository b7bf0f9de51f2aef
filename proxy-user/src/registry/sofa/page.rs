//! What is known of one data centre.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::message::Segment;

/// Data centres by name.
pub(super) type Pages = BTreeMap<String, Page>;

/// A data centre.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    /// Only a higher one counts; none if anything does.
    version: Option<i64>,
    /// Whether it was heard of in this session.
    heard: bool,
    /// What was published there when it was last known.
    pub(super) data: Option<Arc<Segment>>,
    /// Whether that is what it is now.
    pub(super) current: bool,
    /// Since when it is not.
    pub(super) silent: Option<Instant>,
    /// Why what it said last is not used, if so.
    pub(super) refused: Option<String>,
}

impl Page {
    /// What of it goes on in a new session; false if nothing does.
    pub(super) fn in_a_new_session(&mut self) -> bool {
        *self = Self { data: self.data.take(), ..Self::default() };
        self.data.is_some()
    }

    /// Whatever it says next counts.
    pub(super) fn ask_anew(&mut self) {
        (self.version, self.current) = (None, false);
    }

    /// Whether it has said nothing in this session.
    pub(super) fn first_word(&self) -> bool {
        !self.heard
    }

    /// The server has no such name there: nobody ever registered, or its data are lost. What it has next is news.
    pub(super) fn nothing(&mut self) {
        self.ask_anew();
        self.heard = true;
    }

    /// It is said to be empty, and that is not believed yet.
    pub(super) fn doubt(&mut self, version: i64) {
        (self.version, self.heard, self.current) = (Some(version), true, false);
    }

    /// Takes what is published there, if it is news.
    pub(super) fn take(&mut self, segment: &Arc<Segment>) -> bool {
        let news = self.version.is_none_or(|version| segment.version > version);
        if news {
            *self = Self {
                version: Some(segment.version),
                heard: true,
                data: Some(Arc::clone(segment)),
                current: true,
                silent: None,
                refused: None,
            };
        }
        news
    }

    /// What it says cannot be used. What it says next is news.
    pub(super) fn refuse(&mut self, why: &str) {
        self.refused = Some(why.to_owned());
        self.ask_anew();
    }
}
