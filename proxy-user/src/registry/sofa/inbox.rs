//! What the link has read and the session has not looked at yet: the newest push of each subscription, and answers.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use super::budget::MAX_ENTRIES;
use super::message::{MAX_SEGMENTS, Push, Segment};
use super::unpack::MAX_BODY;

/// Between the link's thread and the session. Bounded by the number of subscriptions, whatever the server sends.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    inside: Mutex<Inside>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    subscribed: HashSet<String>,
    mail: Mail,
    /// Of the answers in the mail.
    answer_bytes: usize,
}

/// Everything that has come since it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// Pushes, by the subscription's name.
    pub(super) pushes: BTreeMap<String, Pushed>,
    pub(super) answers: VecDeque<Reply>,
    /// Why a push could not be read.
    pub(super) broken: Option<String>,
    /// Why the connection has ended.
    pub(super) ended: Option<End>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was cut.
    Lost(String),
    /// The server does what the protocol does not allow.
    Protocol(String),
}

/// The newest that was pushed to a subscription.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) scope: String,
    pub(super) received: Instant,
    /// Whether no other data centre has a push of its own.
    pub(super) whole: bool,
    pub(super) segments: HashMap<String, Arc<Segment>>,
}

impl Pushed {
    /// Where data centres are too much together, what has no room is kept as unreadable.
    fn keep_within(&mut self) {
        if self.segments.len() < 2 {
            return;
        }
        let (mut count, mut bytes) = (0, 0);
        for segment in self.segments.values_mut() {
            let (more, more_bytes) = segment.size();
            (count, bytes) = (count + more, bytes + more_bytes);
            if count > MAX_ENTRIES || bytes > MAX_BODY {
                let zones = Err(format!("its data centres have more than {MAX_ENTRIES} entries together"));
                *segment = Arc::new(Segment { name: segment.name.clone(), version: segment.version, zones });
            }
        }
    }
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) id: u32,
    pub(super) status: u16,
    pub(super) content: Bytes,
}

impl Inbox {
    /// Waits until there is something.
    pub(super) async fn wait(&self) {
        self.bell.notified().await;
    }

    /// Takes what there is.
    pub(super) fn take(&self) -> Mail {
        let mut inside = self.lock();
        let ended = inside.mail.ended.clone();
        inside.answer_bytes = 0;
        std::mem::replace(&mut inside.mail, Mail { ended, ..Mail::default() })
    }

    /// Pushes to this subscription are kept from now on.
    pub(super) fn subscribe(&self, regist_id: &str) {
        self.lock().subscribed.insert(regist_id.to_owned());
    }

    /// They are no longer.
    pub(super) fn unsubscribe(&self, regist_id: &str) {
        let mut inside = self.lock();
        inside.subscribed.remove(regist_id);
        inside.mail.pushes.remove(regist_id);
    }

    /// Keeps a push in the place of what it overtakes.
    pub(super) fn push(&self, push: Push) {
        let segments: Vec<_> = push.segments.into_iter().map(Arc::new).collect();
        let mut inside = self.lock();
        let Inside { subscribed, mail, .. } = &mut *inside;
        for id in push.regist_ids.iter().filter(|id| subscribed.contains(*id)) {
            let pushed = mail.pushes.entry(id.clone()).or_insert_with(|| Pushed {
                scope: String::new(),
                received: push.received,
                whole: false,
                segments: HashMap::new(),
            });
            pushed.scope.clone_from(&push.scope);
            pushed.received = push.received;
            pushed.whole |= push.whole;
            for segment in &segments {
                let room = pushed.segments.len() < MAX_SEGMENTS;
                match pushed.segments.get_mut(&segment.name) {
                    // What is without data says so with the lowest version there is.
                    Some(old) if segment.version >= old.version || segment.version <= 1 => {
                        *old = Arc::clone(segment);
                    }
                    Some(_) => {}
                    None if room => {
                        pushed.segments.insert(segment.name.clone(), Arc::clone(segment));
                    }
                    None => mail.broken = Some(format!("more than {MAX_SEGMENTS} data centres")),
                }
            }
            pushed.keep_within();
        }
        drop(inside);
        self.bell.notify_one();
    }

    /// Keeps an answer; says whether there was room for it.
    pub(super) fn answer(&self, reply: Reply) -> bool {
        let mut inside = self.lock();
        let bytes = inside.answer_bytes + reply.content.len();
        let room = inside.mail.answers.len() < MAX_ANSWERS && bytes <= MAX_ANSWER_BYTES;
        if room {
            inside.answer_bytes = bytes;
            inside.mail.answers.push_back(reply);
        }
        drop(inside);
        self.bell.notify_one();
        room
    }

    /// A push that nobody can read.
    pub(super) fn broken(&self, why: String) {
        self.lock().mail.broken = Some(why);
        self.bell.notify_one();
    }

    /// The connection's end.
    pub(super) fn end(&self, end: End) {
        self.lock().mail.ended.get_or_insert(end);
        self.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MAX_ANSWERS: usize = 4096;
const MAX_ANSWER_BYTES: usize = 16 << 20;
