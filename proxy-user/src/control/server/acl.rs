//! Calls about lists.

use std::collections::HashMap;
use std::ops::Bound;

use axum::Json as Reply;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::extract::{
    ChangeParams, From, IfMatch, LIST_BODY, Names, Params, PatchParams, media_type, parse_json, read,
    wrong_type,
};
use super::problem::Answer;
use super::render::{entry, number, orphan, orphans, summary, tagged};
use crate::catalog::{Change, NewEntry, Refusal, parse_prefix, parse_ttl};
use crate::control::types::{
    AclLists, Applied, Code, Entry, EntryAdd, FieldError, Item, ListDocument, ListPatch, ListPut, Operation,
    Outcome, Problem,
};
use crate::model::Origin;

/// All lists in the order in which they are asked, without their entries.
#[utoipa::path(get, path = "/v1/acl/lists", tag = "acl", responses(
    (status = 200, body = AclLists), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn lists(State(api): State<Api>) -> Response {
    let view = api.door.view();
    let acl = &view.desired.acl;
    let mut lists: Vec<_> = acl.lists.iter().map(|(name, list)| summary(name, list)).collect();
    lists.sort_by_key(|list| list.order);
    lists.extend(orphans(&view));
    let answer = AclLists {
        generation: view.generation,
        default: acl.default,
        interface_default: acl.interface_default,
        management: acl.management.iter().map(ToString::to_string).collect(),
        lists,
    };
    tagged(view.generation, &answer)
}

/// A page of entries.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// Entries at most, 1 to 10000; 1000 without it.
    limit: Option<usize>,
    /// The prefix after which the page starts.
    after: Option<String>,
}

/// A list with a page of its entries.
#[utoipa::path(get, path = "/v1/acl/lists/{list}", tag = "acl", params(("list", Path), PageParams), responses(
    (status = 200, body = ListDocument),
    (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn get_list(
    State(api): State<Api>,
    Names(name): Names<String>,
    Params(page): Params<PageParams>,
) -> Answer {
    let view = api.door.view();
    let limit = page.limit.unwrap_or(1_000).clamp(1, 10_000);
    let after = page.after.as_deref().map(parse_prefix).transpose()?.map(|(prefix, _)| prefix);
    let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
    let (list, mut entries): (_, Vec<Entry>) = if let Some(list) = view.desired.acl.lists.get(&name) {
        let page = list.entries.range(range).take(limit.saturating_add(1));
        (summary(&name, list), page.map(|(prefix, one)| entry(prefix, one)).collect())
    } else if let Some(part) = view.api.lists.get(&name) {
        let page = part.entries.range(range).take(limit.saturating_add(1)).map(|(prefix, one)| Entry {
            prefix: prefix.to_string(),
            origin: Origin::Api,
            expires_at: one.expires_at,
            reason: one.reason.clone(),
        });
        (orphan(&name, part), page.collect())
    } else {
        return Err(Refusal::new(Code::UnknownList, format!("there is no list {name}"))
            .hint("GET /v1/acl/lists names them"));
    };
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = if more { entries.last().map(|last| last.prefix.clone()) } else { None };
    Ok(tagged(view.generation, &ListDocument { generation: view.generation, list, entries, next }))
}

/// Creates a list, or replaces all that the API added to it. Needs If-Match if the list exists. As text: a prefix on
/// each line, `#` begins a comment.
#[utoipa::path(put, path = "/v1/acl/lists/{list}", tag = "acl", params(("list", Path), ChangeParams),
    request_body(content((ListPut = "application/json"), (String = "text/plain"))), responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put_list(
    State(api): State<Api>,
    Names(list): Names<String>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
    request: Request,
) -> Answer<Reply<Applied>> {
    let view = api.door.view();
    let exists = view.desired.acl.lists.contains_key(&list) || view.api.lists.contains_key(&list);
    if exists && if_match.is_none() {
        let mut refusal = Refusal::new(Code::PreconditionRequired, format!("list {list} exists"))
            .hint("read it first and give its ETag in If-Match, or use PATCH to add and remove entries");
        refusal.generation = Some(view.generation);
        return Err(refusal);
    }
    let kind = media_type(request.headers());
    let body = match kind.as_str() {
        "application/json" => parse_json::<ListPut>(&read(request.into_body(), LIST_BODY).await?)?,
        "text/plain" => {
            let bytes = read(request.into_body(), LIST_BODY).await?;
            ListPut { entries: lines(&bytes)?, ..ListPut::default() }
        }
        other => return Err(wrong_type(other, "application/json or text/plain")),
    };
    let ListPut { order, action, scope, entries } = body;
    let (entries, notes) = new_entries(entries, if kind == "text/plain" { "line " } else { "/entries/" })?;
    let change = Change::PutList { list, order, action, scope, entries };
    let mut applied = api.door.change(change, if_match, params.dry_run, by).await?;
    let masked = notes.into_iter().flatten().take(MAX_NOTES).map(|(item, note)| Item {
        item,
        operation: Operation::Add,
        outcome: Outcome::Added,
        code: None,
        note: Some(note),
    });
    applied.items.extend(masked);
    Ok(Reply(applied))
}

/// Adds and removes entries; what exists and what is absent are no errors.
#[utoipa::path(patch, path = "/v1/acl/lists/{list}", tag = "acl", params(("list", Path), PatchParams),
    request_body = ListPatch, responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn patch_list(
    State(api): State<Api>,
    Names(list): Names<String>,
    Params(params): Params<PatchParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
    request: Request,
) -> Answer<Reply<Applied>> {
    let kind = media_type(request.headers());
    if kind != "application/json" {
        return Err(wrong_type(&kind, "application/json"));
    }
    let body = parse_json::<ListPatch>(&read(request.into_body(), LIST_BODY).await?)?;
    let ListPatch { order, action, scope, add, remove } = body;
    let (add, notes) = new_entries(add, "/add/")?;
    let mut prefixes = Vec::new();
    let mut errors = Vec::new();
    for (index, text) in remove.iter().enumerate() {
        match parse_prefix(text) {
            Ok((prefix, _)) => prefixes.push(prefix),
            Err(refusal) => errors.push(field(format!("/remove/{index}"), refusal)),
        }
    }
    refuse(errors)?;
    let atomic = params.atomic;
    let change = Change::PatchList { list, order, action, scope, add, remove: prefixes, atomic };
    let mut applied = api.door.change(change, if_match, params.dry_run, by).await?;
    let mut notes: HashMap<_, _> = notes.into_iter().flatten().collect();
    for item in applied.items.iter_mut().filter(|item| item.note.is_none()) {
        item.note = notes.remove(&item.item);
    }
    Ok(Reply(applied))
}

/// Deletes a list of the API, or what the API added to a list of the file.
#[utoipa::path(delete, path = "/v1/acl/lists/{list}", tag = "acl", params(("list", Path), ChangeParams), responses(
    (status = 200, body = Applied), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delete_list(
    State(api): State<Api>,
    Names(list): Names<String>,
    Params(params): Params<ChangeParams>,
    IfMatch(if_match): IfMatch,
    From(by): From,
) -> Answer<Reply<Applied>> {
    api.door.change(Change::DeleteList { list }, if_match, params.dry_run, by).await.map(Reply)
}

/// Entries and, for each whose prefix was changed, a word about that.
type Read = (Vec<NewEntry>, Vec<Option<(String, String)>>);

fn new_entries(entries: Vec<EntryAdd>, place: &str) -> Result<Read, Refusal> {
    let now = Timestamp::now();
    let (mut new, mut notes, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (index, entry) in entries.into_iter().enumerate() {
        match new_entry(entry, now) {
            Ok((entry, note)) => {
                notes.push(note);
                new.push(entry);
            }
            Err(refusal) => errors.push(field(format!("{place}{index}"), refusal)),
        }
    }
    refuse(errors)?;
    Ok((new, notes))
}

fn new_entry(entry: EntryAdd, now: Timestamp) -> Result<(NewEntry, Option<(String, String)>), Refusal> {
    let (prefix, masked) = parse_prefix(&entry.prefix)?;
    let expires_at = match (entry.ttl, entry.expires_at) {
        (Some(_), Some(_)) => {
            return Err(Refusal::new(Code::InvalidRequest, "ttl and expires_at exclude each other"));
        }
        (Some(ttl), None) => {
            let end = now.checked_add(parse_ttl(&ttl)?);
            Some(end.map_err(|_| Refusal::new(Code::InvalidRequest, "the end is out of range"))?)
        }
        (None, end) => end,
    };
    let note = masked.then(|| (prefix.to_string(), format!("host bits of {} were cleared", entry.prefix)));
    Ok((NewEntry { prefix, expires_at, reason: entry.reason }, note))
}

/// Entries of a text: a prefix on each line, `#` begins a comment.
fn lines(bytes: &[u8]) -> Result<Vec<EntryAdd>, Refusal> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Refusal::new(Code::InvalidRequest, "the text is not UTF-8"))?;
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let written = line.split('#').next().unwrap_or_default().trim();
        if written.is_empty() {
            continue;
        }
        match parse_prefix(written) {
            Ok(_) => entries.push(EntryAdd { prefix: written.to_owned(), ..EntryAdd::default() }),
            Err(refusal) => {
                errors.push(field(format!("line {}", number(index).saturating_add(1)), refusal));
            }
        }
    }
    refuse(errors)?;
    Ok(entries)
}

fn field(pointer: String, refusal: Refusal) -> FieldError {
    FieldError { pointer, message: refusal.to_string() }
}

fn refuse(mut errors: Vec<FieldError>) -> Result<(), Refusal> {
    let Some(first) = errors.first() else { return Ok(()) };
    let detail = format!(
        "{} of the entries cannot be read, nothing was changed: {}: {}",
        errors.len(),
        first.pointer,
        first.message
    );
    errors.truncate(MAX_NOTES);
    Err(Refusal::new(Code::InvalidRequest, detail).errors(errors))
}

/// Items and faults of a whole list that an answer names.
const MAX_NOTES: usize = 100;
