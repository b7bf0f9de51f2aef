//! Listing a prefix: page by page, all pages as of the revision of the first.

use std::sync::Arc;
use std::time::Instant;

use super::follow::Listed;
use super::generated::RangeRequest;
use super::keys::Keys;
use super::layout::Layout;
use super::server::{Failure, Server};
use crate::registry::collect::TooMany;
use crate::registry::source::MAX_ENDPOINTS;

/// The first key with a prefix, and the first one after all of them.
pub(super) fn of_prefix(prefix: &str) -> (Vec<u8>, Vec<u8>) {
    let begin = prefix.as_bytes().to_vec();
    let mut end = begin.clone();
    // 0xff is in no text, so the last byte has a successor.
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    (begin, end)
}

/// Lists all keys of a layout.
pub(super) async fn list(server: Server, layout: Arc<Layout>) -> Result<Listed, Failure> {
    let (mut key, range_end) = of_prefix(layout.prefix());
    let mut keys = Keys::new(layout);
    let mut limit = PAGE;
    let mut revision = 0;
    loop {
        let request = RangeRequest { key: key.clone(), range_end: range_end.clone(), limit, revision };
        let page = match server.ask(server.kv().range(request)).await {
            // Values that are no endpoints may be large. etcd keeps none above its own limit of a request, 1.5 MiB.
            Err(Failure::TooLong(_)) if limit > SMALL_PAGE => {
                limit = SMALL_PAGE;
                continue;
            }
            page => page?,
        };
        if page.count > i64::try_from(MAX_ENDPOINTS).unwrap_or(i64::MAX) {
            return Err(Failure::Query(format!(
                "{} keys, more than {MAX_ENDPOINTS}; the set is refused whole",
                page.count
            )));
        }
        if revision == 0 {
            revision = page.header.map_or(0, |header| header.revision);
        }
        for kv in &page.kvs {
            keys.put(kv).map_err(|error: TooMany| Failure::Query(error.to_string()))?;
        }
        match page.kvs.into_iter().next_back() {
            Some(last) if page.more => {
                key = last.key;
                key.push(0);
            }
            _ => return Ok(Listed { keys, revision, received: Instant::now() }),
        }
    }
}

/// Most keys of an answer.
const PAGE: i64 = 1_000;
const SMALL_PAGE: i64 = 8;

#[cfg(test)]
mod tests {
    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(super::of_prefix("/a/"), (b"/a/".to_vec(), b"/a0".to_vec()));
    }
}
