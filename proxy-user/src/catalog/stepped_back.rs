//! L7 settings of the API that stepped back: whom they denied is not let in by their absence.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::control::types::{L7Holds, Warning};
use crate::l7::codec;
use crate::l7::snapshot::Access;
use crate::model::{Forward, L7, Service};

/// L7 settings of the API that are kept and not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteppedBack {
    /// Why.
    pub why: String,
    /// What of them holds all the same.
    pub holds: L7Holds,
}

impl SteppedBack {
    /// Settings that can be read, and do not fit.
    pub(super) fn of(l7: &L7, why: String) -> Self {
        let holds = if l7.rules.access.is_some() { L7Holds::Access } else { L7Holds::Nothing };
        Self { why, holds }
    }

    /// Settings of which nothing can be told, so that they may have denied anybody.
    pub(super) const fn unread(why: String) -> Self {
        Self { why, holds: L7Holds::Refusal }
    }

    /// Has a service of the configuration do what holds. Whether it may have backends.
    pub(super) fn lay_over(&mut self, service: &mut Service, set_aside: &L7) -> bool {
        if self.holds > L7Holds::Nothing && !tells_clients_apart(service, set_aside) {
            self.holds = L7Holds::Refusal;
        }
        if self.holds <= L7Holds::Nothing {
            return true;
        }
        if service.forward != Forward::L7 {
            // XDP has no lists of a service's own: what comes to the VIP is dropped.
            service.backends.clear();
            (service.discovery, service.health) = (None, None);
            return false;
        }
        let own = Arc::make_mut(service.l7.get_or_insert_default());
        let keys = Arc::make_mut(&mut own.written).entry("l7").or_insert_with(|| Map::new().into());
        let theirs = |key: &str| set_aside.written.get("l7").and_then(|l7| l7.get(key)).cloned();
        let mut write = |key: &str, value: Option<Value>| {
            if let (Some(keys), Some(value)) = (keys.as_object_mut(), value) {
                keys.insert(key.to_owned(), value);
            }
        };
        match &set_aside.rules.access {
            Some(access) if self.holds == L7Holds::Access => {
                write("access", theirs("access"));
                if access.header.is_some() {
                    write("trusted", theirs("trusted"));
                    own.rules.trusted.clone_from(&set_aside.rules.trusted);
                }
                own.rules.access = Some(access.clone());
                own.access_lists.clone_from(&set_aside.access_lists);
            }
            _ => {
                write("access", Some(json!({ "default": "deny" })));
                own.rules.access = Some(Access { default_deny: true, ..Access::default() });
                own.access_lists.clear();
            }
        }
        true
    }

    /// The warning of them; `settable` where others can be set in their place.
    pub(super) fn warning(&self, name: &str, settable: bool) -> Warning {
        let others = if settable { format!(", set others with `weir l7 set {name}`") } else { String::new() };
        let what = match self.holds {
            L7Holds::Orphaned | L7Holds::Nothing => "those of the configuration are",
            L7Holds::Access => "those of the configuration are, and their `access` over these",
            L7Holds::Refusal => "and since they may have denied clients, the service refuses everybody",
        };
        let Self { why, .. } = self;
        Warning {
            code: "orphaned_l7".into(),
            detail: format!(
                "the L7 settings that the API set for service {name} are kept but not in force, {what}: {why}; \
                 `weir l7 show {name} --set-aside` prints them: correct the configuration{others}, or drop \
                 them with `weir l7 unset {name}`"
            ),
        }
    }
}

/// Whether a service can judge clients as settings did: where requests are not read, no header says who the client is.
fn tells_clients_apart(service: &Service, l7: &L7) -> bool {
    let by_header = l7.rules.access.as_ref().is_some_and(|access| access.header.is_some());
    let default = L7::default();
    let mut codecs = service.l7.as_deref().unwrap_or(&default).codecs();
    service.forward == Forward::L7 && !(by_header && codecs.any(|name| name == codec::FALLBACK))
}
