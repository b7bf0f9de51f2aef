//! Changes of lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::apply::{Changed, check_name};
use super::{ApiEntry, ApiList, ListDefinition, NewEntry, Refusal};
use crate::control::types::{Code, FieldError, Item, Operation, Outcome};
use crate::model::{AclList, Action, Desired, Origin, Scope};

/// Order, action and scope, as far as a request names them.
type Wanted = (Option<u32>, Option<Action>, Option<Scope>);

impl Changed {
    pub(super) fn put_list(
        &mut self,
        base: &Desired,
        list: &str,
        wanted: Wanted,
        entries: Vec<NewEntry>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.define(base, list, wanted, true)?;
        let of_base = base.acl.lists.get(list);
        let mut refused = Vec::new();
        let mut new = BTreeMap::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let prefix = entry.prefix.trunc();
            match checked(entry, now) {
                Err(message) => {
                    let pointer = format!("/entries/{index}");
                    refused.push((Code::InvalidState, FieldError { pointer, message }));
                }
                Ok(_) if base_entry(of_base, prefix).is_some() => self.counts.add(Outcome::Exists),
                Ok(entry) => {
                    new.insert(prefix, entry);
                }
            }
        }
        refuse(refused)?;
        let part = self.api.lists.entry(list.to_owned()).or_default();
        for (prefix, entry) in &new {
            self.counts.add(match part.entries.get(prefix) {
                None => Outcome::Added,
                Some(old) if old == entry => Outcome::Exists,
                Some(_) => Outcome::Updated,
            });
        }
        for _ in part.entries.keys().filter(|prefix| !new.contains_key(prefix)) {
            self.counts.add(Outcome::Removed);
        }
        part.entries = Arc::new(new);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one change")]
    pub(super) fn patch_list(
        &mut self,
        base: &Desired,
        list: &str,
        wanted: Wanted,
        add: Vec<NewEntry>,
        remove: &[IpNet],
        atomic: bool,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.define(base, list, wanted, wanted.1.is_some())?;
        let of_base = base.acl.lists.get(list);
        let mut part = self.api.lists.remove(list).unwrap_or_default();
        let mut refused = Vec::new();
        for (index, entry) in add.into_iter().enumerate() {
            let prefix = entry.prefix.trunc();
            let done = match base_entry(of_base, prefix) {
                Some(origin) => Ok((Outcome::Exists, Some(set_by(origin).to_owned()))),
                None => checked(entry, now).map(|entry| (add_entry(&mut part, prefix, entry), None)),
            };
            let pointer = format!("/add/{index}");
            self.tell(&mut refused, prefix, Operation::Add, done, Code::InvalidState, pointer);
        }
        for (index, prefix) in remove.iter().enumerate() {
            let prefix = prefix.trunc();
            let done = match (part.entries.contains_key(&prefix), base_entry(of_base, prefix)) {
                (true, _) => {
                    Arc::make_mut(&mut part.entries).remove(&prefix);
                    Ok((Outcome::Removed, None))
                }
                (false, Some(origin)) => Err(format!("{}: remove it there", set_by(origin))),
                (false, None) => Ok((Outcome::Absent, None)),
            };
            let pointer = format!("/remove/{index}");
            self.tell(&mut refused, prefix, Operation::Remove, done, Code::OriginConflict, pointer);
        }
        self.api.lists.insert(list.to_owned(), part);
        if atomic { refuse(refused) } else { Ok(()) }
    }

    pub(super) fn delete_list(&mut self, base: &Desired, list: &str) -> Result<(), Refusal> {
        let part = self.api.lists.remove(list);
        match (base.acl.lists.get(list), part) {
            (Some(of_base), None) => Err(Refusal::new(
                Code::OriginConflict,
                format!("list {list} was {} and has nothing of the API", set_by(of_base.origin)),
            )
            .hint("remove it from the configuration and reload")),
            (Some(of_base), Some(_)) => {
                let note = format!("only what the API added; the list itself was {}", set_by(of_base.origin));
                self.note(list, Operation::Remove, Outcome::Removed, Some(note));
                Ok(())
            }
            (None, Some(_)) => {
                self.note(list, Operation::Remove, Outcome::Removed, None);
                Ok(())
            }
            (None, None) => {
                self.note(list, Operation::Remove, Outcome::Absent, None);
                Ok(())
            }
        }
    }

    /// Brings the list's definition to what is wanted, and creates the list where that is asked for.
    fn define(&mut self, base: &Desired, list: &str, wanted: Wanted, create: bool) -> Result<(), Refusal> {
        let (order, action, scope) = wanted;
        if let Some(of_base) = base.acl.lists.get(list) {
            let same = order.is_none_or(|order| order == of_base.order)
                && action.is_none_or(|action| action == of_base.action)
                && scope.is_none_or(|scope| scope == of_base.scope);
            return if same {
                Ok(())
            } else {
                Err(Refusal::new(
                    Code::OriginConflict,
                    format!("order, action and scope of list {list} were {}", set_by(of_base.origin)),
                )
                .hint("change them in the configuration and reload; the API may add entries to this list"))
            };
        }
        let old = self.api.lists.get(list).and_then(|part| part.definition);
        if old.is_none() && !create {
            return Err(Refusal::new(Code::UnknownList, format!("there is no list {list}"))
                .hint("create it with PUT, or name an action (drop or pass) with the entries"));
        }
        check_name("list", list)?;
        let new = ListDefinition {
            order: order.or(old.map(|old| old.order)).unwrap_or_else(|| self.free_order(base)),
            action: action.or(old.map(|old| old.action)).unwrap_or(Action::Drop),
            scope: scope.or(old.map(|old| old.scope)).unwrap_or_default(),
        };
        if old != Some(new) {
            let outcome = if old.is_none() { Outcome::Added } else { Outcome::Updated };
            let item = Item {
                item: list.to_owned(),
                operation: Operation::Add,
                outcome,
                code: None,
                note: Some(format!("the list itself, order {}", new.order)),
            };
            self.items.push(item);
        }
        self.api.lists.entry(list.to_owned()).or_default().definition = Some(new);
        Ok(())
    }

    /// An order after every list's.
    fn free_order(&self, base: &Desired) -> u32 {
        let of_base = base.acl.lists.values().map(|list| list.order);
        let of_api = self.api.lists.values().filter_map(|list| list.definition).map(|own| own.order);
        of_base.chain(of_api).max().map_or(10, |last| last.saturating_add(10))
    }

    fn tell(
        &mut self,
        refused: &mut Vec<(Code, FieldError)>,
        prefix: IpNet,
        operation: Operation,
        done: Result<(Outcome, Option<String>), String>,
        code: Code,
        pointer: String,
    ) {
        match done {
            Ok((outcome, note)) => self.note(prefix.to_string(), operation, outcome, note),
            Err(message) => {
                self.note(prefix.to_string(), operation, Outcome::Refused, Some(message.clone()));
                if let Some(item) = self.items.last_mut() {
                    item.code = Some(code);
                }
                refused.push((code, FieldError { pointer, message: format!("{prefix}: {message}") }));
            }
        }
    }
}

fn add_entry(part: &mut ApiList, prefix: IpNet, entry: ApiEntry) -> Outcome {
    if part.entries.get(&prefix) == Some(&entry) {
        return Outcome::Exists;
    }
    match Arc::make_mut(&mut part.entries).insert(prefix, entry) {
        Some(_) => Outcome::Updated,
        None => Outcome::Added,
    }
}

fn checked(entry: NewEntry, now: Timestamp) -> Result<ApiEntry, String> {
    if let Some(end) = entry.expires_at.filter(|end| *end <= now) {
        return Err(format!("{}: {end} has passed", entry.prefix));
    }
    if let Some(reason) = &entry.reason
        && (reason.len() > MAX_REASON || reason.chars().any(char::is_control))
    {
        return Err(format!("a reason has at most {MAX_REASON} bytes and no control characters"));
    }
    Ok(ApiEntry { expires_at: entry.expires_at, reason: entry.reason })
}

fn base_entry(of_base: Option<&AclList>, prefix: IpNet) -> Option<Origin> {
    of_base.and_then(|list| list.entries.get(&prefix)).map(|entry| entry.origin)
}

pub(super) fn set_by(origin: Origin) -> &'static str {
    match origin {
        Origin::File => "set by the configuration file",
        Origin::Flag => "set by a flag of weir run",
        Origin::Api => "set by the API",
        Origin::Registry => "found in a registry",
    }
}

/// One refused item refuses the whole.
fn refuse(errors: Vec<(Code, FieldError)>) -> Result<(), Refusal> {
    let Some((code, first)) = errors.first() else { return Ok(()) };
    let (code, message) = (*code, first.message.clone());
    Err(Refusal::new(code, format!("nothing was changed: {message}"))
        .hint("mend the items named in errors; with atomic=false the others of a PATCH are done")
        .errors(errors.into_iter().map(|(_, error)| error).take(MAX_ERRORS).collect()))
}

/// Longest reason, bytes.
const MAX_REASON: usize = 256;
/// Faults that are listed in an answer.
const MAX_ERRORS: usize = 100;
