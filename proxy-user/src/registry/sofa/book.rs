//! What is known of one query: versions by data centre, and what a push makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inbox::Pushed;
use super::message::Segment;
use super::query::Asked;
use crate::registry::collect::Collector;
use crate::registry::endpoint;
use crate::registry::source::Set;

/// What a push says.
#[derive(Debug)]
pub(super) enum News {
    /// The whole set.
    Set(Set),
    /// Nothing is known.
    Unknown(String),
}

/// A subscription's knowledge, as old as its session.
#[derive(Debug)]
pub(super) struct Book {
    asked: Asked,
    /// Whether anything was pushed.
    heard: bool,
    /// Whether what comes next takes the place of everything, whatever its version.
    anew: bool,
    segments: BTreeMap<String, Page>,
}

/// A data centre.
#[derive(Debug)]
struct Page {
    /// Only a higher one counts.
    version: i64,
    /// What was published there when it was last known.
    data: Option<Arc<Segment>>,
    /// Whether that is what it is now.
    known: bool,
}

impl Book {
    /// Nothing is known.
    pub(super) fn new(asked: Asked) -> Self {
        Self { asked, heard: false, anew: false, segments: BTreeMap::new() }
    }

    /// Whether anything was pushed.
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    /// Everything was asked for again.
    pub(super) fn ask_anew(&mut self) {
        self.anew = true;
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
        let first = !std::mem::replace(&mut self.heard, true);
        let only = self.asked.data_center.clone();
        let mut changed = false;
        for segment in pushed.segments.values().filter(|s| only.as_ref().is_none_or(|only| *only == s.name)) {
            match self.take(segment) {
                Ok(news) => changed |= news,
                Err(why) => return Some(News::Unknown(format!("a push cannot be read: {why}"))),
            }
        }
        if std::mem::take(&mut self.anew) {
            self.segments.retain(|name, _| pushed.segments.contains_key(name));
        }
        if self.segments.is_empty() {
            let there: Vec<_> = pushed.segments.keys().map(|name| endpoint::shown(name)).collect();
            let why = format!("no data centre that was asked for; there are: {}", there.join(", "));
            return first.then_some(News::Unknown(why));
        }
        changed.then(|| self.sum_up(pushed, first))
    }

    /// Whether it is news.
    fn take(&mut self, segment: &Arc<Segment>) -> Result<bool, String> {
        let zones = segment.zones.as_ref().map_err(Clone::clone)?;
        let empty = zones.values().all(Vec::is_empty);
        let page = self.segments.entry(segment.name.clone()).or_insert(Page {
            version: i64::MIN,
            data: None,
            known: false,
        });
        if empty && segment.version <= 1 {
            // The server has no such name: nobody ever registered, or its data are lost. What it has next is news.
            page.known = false;
            page.version = i64::MIN;
            return Ok(true);
        }
        let news = self.anew || segment.version > page.version;
        if news {
            *page = Page { version: segment.version, data: Some(Arc::clone(segment)), known: true };
        }
        Ok(news)
    }

    fn sum_up(&self, pushed: &Pushed, first: bool) -> News {
        if !self.segments.values().any(|page| page.known) {
            return News::Unknown(
                "the server has nothing under this name (version 1): nobody has registered, or its data are lost"
                    .to_owned(),
            );
        }
        let many = self.segments.len() > 1;
        let mut collector = Collector::new(pushed.received);
        let mut versions = Vec::new();
        for (name, page) in &self.segments {
            versions.push(if many { format!("{name} {}", page.version) } else { page.version.to_string() });
            let zones = page.data.as_ref().and_then(|data| data.zones.as_ref().ok());
            for (zone, text) in
                zones.into_iter().flatten().flat_map(|(z, texts)| texts.iter().map(move |t| (z, t)))
            {
                match endpoint::parse(text, None) {
                    Ok(mut endpoint) => {
                        if let Some(own) = endpoint.zone.replace(Arc::from(zone.as_str())) {
                            endpoint.labels.insert("zone".into(), own);
                        }
                        if many {
                            endpoint.labels.insert("data_center".into(), Arc::from(name.as_str()));
                        }
                        collector.add(endpoint);
                    }
                    Err(error) => collector.reject(text, error),
                }
            }
        }
        match collector.finish(Some(versions.join(", "))) {
            Err(error) => News::Unknown(error.to_string()),
            Ok(set) if !set.endpoints.is_empty() => News::Set(set),
            Ok(set) => match set.rejected.first() {
                Some(bad) => News::Unknown(format!(
                    "none of {} entries is an endpoint; \"{}\": {}",
                    set.rejected_count, bad.text, bad.why
                )),
                None if first => News::Unknown(
                    "the first answer of this connection is empty: the server may not have everything yet"
                        .to_owned(),
                ),
                None => News::Set(set),
            },
        }
    }
}
