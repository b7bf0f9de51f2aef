//! One file: when it is read, and what is told of it. Time is given.

use std::time::{Duration, Instant};

use crate::registry::source::Set;

/// What reading a file gave.
#[derive(Debug)]
pub(super) enum Read {
    /// Its endpoints.
    Set(Set),
    /// It changed meanwhile.
    Changing,
    /// It cannot be relied on, for this reason.
    Bad(String),
}

/// The state of one file.
#[derive(Debug)]
pub(super) struct Follow {
    due: Option<Instant>,
    dirty_since: Option<Instant>,
    reading: Option<Instant>,
    slow: bool,
    changing: u8,
    told: Option<String>,
}

impl Follow {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: Some(now), dirty_since: None, reading: None, slow: false, changing: 0, told: None }
    }

    /// Something has happened to the file: it is read when it is quiet, or has not been for long.
    pub(super) fn dirty(&mut self, now: Instant) {
        let since = *self.dirty_since.get_or_insert(now);
        self.due = Some((now + QUIET).min(since + LONGEST));
    }

    /// Reads as soon as can be, and tells whatever it is.
    pub(super) fn refresh(&mut self, now: Instant) {
        self.due = Some(now);
        self.told = None;
    }

    /// When there is something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.reading {
            None => self.due,
            Some(since) => (!self.slow).then(|| since + SLOW),
        }
    }

    /// Whether to begin reading.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let begins = self.reading.is_none() && self.due.is_some_and(|due| due <= now);
        if begins {
            (self.due, self.dirty_since, self.reading, self.slow) = (None, None, Some(now), false);
        }
        begins
    }

    /// Why nothing is known: reading does not end.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<String> {
        let overdue = !self.slow && self.reading.is_some_and(|since| now >= since + SLOW);
        self.slow |= overdue;
        overdue.then(|| self.gone(format!("reading it takes longer than {SLOW:?}"))).flatten()
    }

    /// Reading has ended: the set, or why nothing is known, or nothing new.
    pub(super) fn ended(&mut self, now: Instant, read: Read, poll: Duration) -> Option<Result<Set, String>> {
        self.reading = None;
        let mut again = poll;
        let mut changing = 0;
        let told = match read {
            Read::Set(set) => {
                self.told = None;
                Some(Ok(set))
            }
            Read::Changing => {
                again = RETRY;
                changing = self.changing.saturating_add(1);
                let why = "it changes while it is read; write another file and rename it into place";
                (changing >= PATIENCE).then(|| self.gone(why.to_owned())).flatten().map(Err)
            }
            Read::Bad(why) => self.gone(why).map(Err),
        };
        self.changing = changing;
        self.due = self.due.or(Some(now + again));
        told
    }

    fn gone(&mut self, why: String) -> Option<String> {
        let new = self.told.as_ref() != Some(&why);
        self.told = Some(why.clone());
        new.then_some(why)
    }
}

/// A file that was not touched for this long is whole, as far as one can see.
const QUIET: Duration = Duration::from_millis(50);
/// A file that is touched all the time is read after this much.
const LONGEST: Duration = Duration::from_millis(500);
/// Reading takes this long only where a file system hangs.
const SLOW: Duration = Duration::from_secs(10);
/// When a file that was not at rest is read again.
const RETRY: Duration = Duration::from_millis(200);
/// How often a file may change while it is read until that is told.
const PATIENCE: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const POLL: Duration = Duration::from_secs(30);

    fn nothing(received: Instant) -> Set {
        Set { endpoints: Vec::new(), rejected: Vec::new(), rejected_count: 0, version: None, received }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn bursts_are_read_once_and_endless_ones_too() {
        let start = Instant::now();
        let mut follow = Follow::new(start);
        assert!(follow.begin(start) && !follow.begin(start));
        assert!(follow.ended(start, Read::Set(nothing(start)), POLL).unwrap().is_ok());
        assert_eq!(follow.next(), Some(start + POLL));
        follow.dirty(start);
        follow.dirty(start + ms(40));
        assert_eq!(follow.next(), Some(start + ms(90)));
        (1..100).for_each(|n| follow.dirty(start + ms(n * 40)));
        assert_eq!(follow.next(), Some(start + ms(500)));
        assert!(!follow.begin(start + ms(499)) && follow.begin(start + ms(500)));
        // What happens meanwhile is read afterwards.
        follow.dirty(start + ms(510));
        assert!(!follow.begin(start + ms(600)));
        follow.ended(start + ms(600), Read::Changing, POLL);
        assert!(follow.begin(start + ms(600)));
    }

    #[test]
    fn reasons_are_told_once() {
        let now = Instant::now();
        let mut follow = Follow::new(now);
        let bad = || Read::Bad("x".to_owned());
        assert_eq!(follow.ended(now, bad(), POLL).unwrap().unwrap_err(), "x");
        assert!(follow.ended(now, bad(), POLL).is_none());
        follow.refresh(now);
        assert!(follow.ended(now, bad(), POLL).is_some());
        assert!(follow.ended(now, Read::Set(nothing(now)), POLL).is_some());
        assert!(follow.ended(now, bad(), POLL).is_some());
    }

    #[test]
    fn a_read_that_hangs_is_told_once() {
        let now = Instant::now();
        let mut follow = Follow::new(now);
        assert!(follow.begin(now));
        assert_eq!((follow.next(), follow.overdue(now + ms(9_999))), (Some(now + SLOW), None));
        assert!(follow.overdue(now + SLOW).is_some());
        assert_eq!((follow.next(), follow.overdue(now + SLOW * 2)), (None, None));
        assert!(follow.ended(now + SLOW * 3, Read::Set(nothing(now)), POLL).unwrap().is_ok());
    }
}
