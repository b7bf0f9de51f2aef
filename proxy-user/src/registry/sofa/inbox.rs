//! What the link has read and the session has not looked at yet: the newest push of each subscription, and answers.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use super::message::{Push, Segment};

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
    pub(super) segments: HashMap<String, Arc<Segment>>,
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
        let Inside { subscribed, mail } = &mut *inside;
        for id in push.regist_ids.iter().filter(|id| subscribed.contains(*id)) {
            let pushed = mail.pushes.entry(id.clone()).or_insert_with(|| Pushed {
                scope: String::new(),
                received: push.received,
                segments: HashMap::new(),
            });
            pushed.scope.clone_from(&push.scope);
            pushed.received = push.received;
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
        }
        drop(inside);
        self.bell.notify_one();
    }

    /// Keeps an answer; says whether there was room for it.
    pub(super) fn answer(&self, reply: Reply) -> bool {
        let mut inside = self.lock();
        let room = inside.mail.answers.len() < MAX_ANSWERS;
        if room {
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

const MAX_SEGMENTS: usize = 64;
const MAX_ANSWERS: usize = 4096;
