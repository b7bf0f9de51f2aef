//! What services of the L7 path must be to each other: destinations of routes, and lists of the ACL.

use super::{Found, View};
use crate::config::bounds;
use crate::config::problem::{Code, Locus};
use crate::config::shape::suggestion;
use crate::model::{Forward, L7, Service};

pub(super) fn check(view: &View<'_>, found: &mut Found) {
    for (name, service) in view.services {
        let Some(l7) = service.l7.as_deref().filter(|_| service.forward == Forward::L7) else { continue };
        let mut destinations: Vec<_> = l7.destinations().collect();
        destinations.sort_unstable();
        destinations.dedup();
        for destination in destinations {
            check_destination(view, name, l7, destination, found);
        }
        access(view, name, l7, found);
        let judged =
            !l7.hosts.is_empty() || l7.rules.access.as_ref().is_some_and(|list| list.header.is_some());
        if l7.rules.fallback && judged {
            let message = "what no codec has would go on as `tcp`, unread, around the routes and the header that `access` is by";
            let hint = "leave `tcp` out of the list";
            found.error(Code::BadValue, Locus::Codec(name.clone()), message.to_owned(), hint);
        }
    }
}

fn check_destination(view: &View<'_>, name: &str, l7: &L7, destination: &str, found: &mut Found) {
    let at = Locus::Destination(name.to_owned(), destination.to_owned());
    let Some(to) = view.services.get(destination) else {
        let all = view.services.iter().filter(|(_, service)| service.forward == Forward::L7);
        let all: Vec<_> = all.map(|(name, _)| name.as_str()).collect();
        let message = format!("there is no service `{destination}` to send requests to");
        return found.error(Code::Destination, at, message, suggestion(destination, &all));
    };
    let other = Locus::Service(destination.to_owned());
    if to.forward != Forward::L7 {
        let message =
            format!("requests cannot go to service `{destination}`, which the L7 path does not serve");
        let hint = format!("give `{destination}` forward = \"l7\"");
        return found.conflict(Code::Destination, at, other, message, hint);
    }
    let spoken = codecs(to);
    if !l7.codecs().any(|codec| spoken.iter().any(|other| other == codec)) {
        let (ours, theirs) = (l7.codecs().collect::<Vec<_>>().join(", "), spoken.join(", "));
        let message = format!("`{name}` speaks {ours}, and its destination `{destination}` {theirs}");
        let (other, hint) = (Locus::Codec(destination.to_owned()), "give both the same codec");
        found.conflict(Code::Destination, at, other, message, hint);
    }
}

fn codecs(service: &Service) -> Vec<String> {
    let default = L7::default();
    service.l7.as_deref().unwrap_or(&default).codecs().map(str::to_owned).collect()
}

fn access(view: &View<'_>, name: &str, l7: &L7, found: &mut Found) {
    let rules = l7.rules.access.iter().flat_map(|access| &access.rules);
    let mut prefixes: usize = rules.map(|rule| rule.sources.len()).sum();
    for list in &l7.access_lists {
        let at = Locus::AccessList(name.to_owned(), list.clone());
        let Some(known) = view.acl.lists.get(list) else {
            let all: Vec<_> = view.acl.lists.keys().map(String::as_str).collect();
            let message = format!("there is no list `{list}` in the source ACL");
            let hint = match all.is_empty() {
                true => "add `[[acl.list]]` of this name".to_owned(),
                false => suggestion(list, &all),
            };
            found.error(Code::UnknownList, at, message, hint);
            continue;
        };
        let most = bounds::L7_ACCESS_PREFIXES;
        let before = prefixes;
        prefixes = prefixes.saturating_add(known.entries.len());
        if prefixes > most && before <= most {
            let message = format!(
                "list `{list}` makes {prefixes} prefixes that every request to `{name}` would be held against"
            );
            let hint = format!("{most} is the most at L7; XDP itself takes more");
            found.conflict(Code::TooMany, at, Locus::List(list.clone()), message, hint);
        }
    }
}
