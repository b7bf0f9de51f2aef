//! What is known of one query: data centres with their versions, and what a push makes of them.
//!
//! Data centres may have a push each, so the first that comes is not the set. One that has not spoken since everything was asked
//! for, in this session or anew, keeps in the set what was last known of it: for as long as [`ABSENT`], because one that was
//! taken out of service never speaks again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::Pushed;
use super::message::Segment;
use super::page::{Page, Pages};
use super::query::{Asked, Scope};
use crate::registry::collect::{Collector, TooMany};
use crate::registry::endpoint;
use crate::registry::source::{MAX_ENDPOINTS, Set};

/// What a push says.
#[derive(Debug)]
pub(super) enum News {
    /// The whole set.
    Set(Set),
    /// These are in it; others may be.
    Part(Set),
    /// Nothing is known.
    Unknown(String),
}

/// A subscription's knowledge.
#[derive(Debug)]
pub(super) struct Book {
    asked: Asked,
    pages: Pages,
    /// Whether anything was pushed in this session.
    heard: bool,
    first: First,
    /// Why nothing is known, if so.
    why: &'static str,
}

/// What is known of the number of data centres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// Which there are is not known yet.
    Waits,
    /// Some have spoken; from this time on they are all.
    Until(Instant),
    /// Which there are is known.
    Over,
}

impl Book {
    /// Nothing is known but what an earlier session has left.
    pub(super) fn new(asked: Asked, mut pages: Pages) -> Self {
        pages.retain(|_, page| page.in_a_new_session());
        let alone = asked.scope != Scope::Global || asked.data_center.is_some() || !pages.is_empty();
        let first = if alone { First::Over } else { First::Waits };
        Self { asked, pages, heard: false, first, why: NOTHING }
    }

    /// For the next session.
    pub(super) fn pages(&self) -> Pages {
        self.pages.clone()
    }

    /// Whether anything was pushed.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    /// Everything was asked for again.
    pub(super) fn ask_anew(&mut self) {
        self.pages.values_mut().for_each(Page::ask_anew);
    }

    /// Takes a push; none if it says nothing new.
    pub(super) fn read(&mut self, pushed: &Pushed) -> Option<News> {
        let asked = self.asked.scope.text();
        if !pushed.scope.eq_ignore_ascii_case(asked) {
            let scope = endpoint::shown(&pushed.scope);
            return Some(News::Unknown(format!(
                "the server answers for scope \"{scope}\", asked for {asked}"
            )));
        }
        let now = pushed.received;
        let first = !std::mem::replace(&mut self.heard, true);
        let mut changed = self.settle(now);
        if pushed.whole {
            self.first = First::Over;
        } else if self.first == First::Waits {
            self.first = First::Until(now + SETTLED);
        }
        let only = self.asked.data_center.clone();
        let counts = |segment: &&Arc<Segment>| only.as_ref().is_none_or(|only| *only == segment.name);
        for segment in pushed.segments.values().filter(counts) {
            match self.take(segment) {
                Ok(news) => changed |= news,
                Err(why) => {
                    let why = format!("a push cannot be read: {why}");
                    self.pages.entry(segment.name.clone()).or_default().refuse(&why);
                    return Some(News::Unknown(why));
                }
            }
        }
        changed |= self.forget(now);
        if self.pages.is_empty() {
            let there: Vec<_> = pushed.segments.keys().map(|name| endpoint::shown(name)).collect();
            let why = format!("no data centre that was asked for; there are: {}", there.join(", "));
            return first.then_some(News::Unknown(why));
        }
        let texts: usize =
            self.pages.values().filter_map(|page| page.data.as_ref()).map(|s| s.size().0).sum();
        if texts > MAX_ENDPOINTS {
            // What came last was too much. The others stay as they are until all have room.
            let new = self.pages.iter_mut().filter(|(name, _)| pushed.segments.contains_key(*name));
            new.for_each(|(_, page)| {
                page.refuse(&TooMany.to_string());
                page.data = None;
            });
        }
        changed.then(|| self.sum_up(now))
    }

    /// What the passing of time says.
    pub(super) fn tick(&mut self, now: Instant) -> Option<News> {
        let settled = self.settle(now);
        (self.forget(now) || settled).then(|| self.sum_up(now))
    }

    /// Whether it is known from now on which data centres there are.
    fn settle(&mut self, now: Instant) -> bool {
        let settled = matches!(self.first, First::Until(end) if now >= end);
        if settled {
            self.first = First::Over;
        }
        settled
    }

    /// Whether it is news.
    fn take(&mut self, segment: &Arc<Segment>) -> Result<bool, String> {
        let zones = segment.zones.as_ref().map_err(Clone::clone)?;
        let empty = zones.values().all(Vec::is_empty);
        let page = self.pages.entry(segment.name.clone()).or_default();
        Ok(if empty && segment.version <= 1 {
            self.why = NOTHING;
            page.nothing();
            true
        } else if empty && page.first_word() {
            self.why = FIRST;
            page.doubt(segment.version);
            true
        } else {
            page.take(segment)
        })
    }

    /// Data centres that were not heard of for long are gone. Only counted while another one speaks.
    fn forget(&mut self, now: Instant) -> bool {
        if !self.pages.values().any(|page| page.current) {
            return false;
        }
        let before = self.pages.len();
        self.pages.retain(|_, page| page.current || now < *page.silent.get_or_insert(now) + ABSENT);
        self.pages.len() < before
    }

    fn sum_up(&self, now: Instant) -> News {
        if let Some(why) = self.pages.values().find_map(|page| page.refused.as_ref()) {
            return News::Unknown(why.clone());
        }
        if !self.pages.values().any(|page| page.current) {
            return News::Unknown(self.why.to_owned());
        }
        match self.collect(now) {
            News::Set(set) if self.first != First::Over => News::Part(set),
            news => news,
        }
    }

    fn collect(&self, now: Instant) -> News {
        let many = self.pages.values().filter(|page| page.data.is_some()).count() > 1;
        let mut collector = Collector::new(now);
        let mut versions = Vec::new();
        for (name, page) in &self.pages {
            let Some(segment) = &page.data else { continue };
            let old = if page.current { "" } else { " (not heard since)" };
            let name_of = if many { format!("{name} ") } else { String::new() };
            versions.push(format!("{name_of}{}{old}", segment.version));
            let data_center: Arc<str> = Arc::from(name.as_str());
            for (zone, texts) in segment.zones.iter().flatten() {
                let zone: Arc<str> = Arc::from(zone.as_str());
                for text in texts {
                    match endpoint::parse(text, None) {
                        Ok(mut endpoint) => {
                            if let Some(own) = endpoint.zone.replace(Arc::clone(&zone)) {
                                endpoint.labels.insert("zone".into(), own);
                            }
                            if many {
                                endpoint.labels.insert("data_center".into(), Arc::clone(&data_center));
                            }
                            collector.add(endpoint);
                        }
                        Err(error) => collector.reject(text, error),
                    }
                }
            }
        }
        match collector.finish(Some(versions.join(", "))) {
            Err(error) => News::Unknown(error.to_string()),
            Ok(set) => match set.rejected.first() {
                Some(bad) if set.endpoints.is_empty() => News::Unknown(format!(
                    "none of {} entries is an endpoint; \"{}\": {}",
                    set.rejected_count, bad.text, bad.why
                )),
                _ => News::Set(set),
            },
        }
    }
}

/// Why nothing is known.
pub(super) const NOTHING: &str =
    "the server has nothing under this name (version 1): nobody has registered, or its data are lost";
const FIRST: &str = "the first answer of this connection is empty: the server may not have everything yet";

/// A server that pushes data centres one by one has begun with all of them after this time.
pub(super) const SETTLED: Duration = Duration::from_secs(3);
/// A data centre that is not heard of for so long, while others are, has ended.
pub(super) const ABSENT: Duration = Duration::from_secs(3600);
