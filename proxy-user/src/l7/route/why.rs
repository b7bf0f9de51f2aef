//! Why a route does not have a request, in words. [`matches::hold`](super::matches) decides; this says the same.

use super::matches::{Asking, header, parameter, path, query, text};
use super::query::Value;
use super::ranges::Ranges;
use crate::l7::snapshot::{Matches, TextMatch};

/// The first condition that a request does not meet; `None`: it meets all.
#[must_use]
pub fn why_not(matches: &Matches, asking: &Asking<'_>) -> Option<String> {
    let keys = &asking.head.keys;
    let of = |span: &crate::l7::codec::Span| Some(span.of(asking.message)).filter(|text| !text.is_empty());
    let (service, found_path) = (of(&keys.service), of(&keys.path));
    if let Some(wanted) = matches.service.as_ref().filter(|wanted| !text(wanted, service)) {
        return Some(unmet("the RPC service", wanted, service));
    }
    let method = keys.method.of(asking.message);
    if !matches.methods.is_empty() && !matches.methods.iter().any(|wanted| wanted.as_bytes() == method) {
        return Some(format!("the method is {}, wanted {}", shown(method), matches.methods.join(" or ")));
    }
    if let Some(wanted) = matches.path.as_ref().filter(|wanted| !path(wanted, found_path, keys.path_is_odd)) {
        return Some(unmet("the path", wanted, found_path));
    }
    let asked = matches.query.iter().map(|wanted| (wanted, parameter(wanted, asking)));
    if let Some((wanted, found)) = asked.into_iter().find(|(wanted, found)| !query(wanted, *found)) {
        let found = found.map(Value::text);
        return Some(unmet(&format!("the query's {}", wanted.name), &wanted.value, found.as_deref()));
    }
    if let Some(wanted) = matches.headers.iter().find(|wanted| !header(wanted, asking)) {
        let mut found: Vec<Vec<u8>> = Vec::new();
        asking.values(&wanted.name, &mut |value| {
            found.push(value.to_vec());
            true
        });
        let found = (!found.is_empty()).then(|| found.join(&b", "[..]));
        return Some(unmet(&format!("the header {}", wanted.name), &wanted.value, found.as_deref()));
    }
    if !matches.sources.is_empty() && !Ranges::of(&matches.sources).has(asking.peer) {
        let nets: Vec<_> = matches.sources.iter().map(ToString::to_string).collect();
        return Some(format!("the source {} is not in {}", asking.peer, nets.join(", ")));
    }
    None
}

/// The conditions in words; none: everyone.
#[must_use]
pub fn conditions(matches: &Matches) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(matches.service.as_ref().map(|wanted| format!("service {}", wish(wanted))));
    if !matches.methods.is_empty() {
        words.push(format!("method {}", matches.methods.join(" or ")));
    }
    words.extend(matches.path.as_ref().map(|wanted| format!("path {}", wish(wanted))));
    words.extend(matches.query.iter().map(|one| format!("query's {} {}", one.name, wish(&one.value))));
    words.extend(
        matches.headers.iter().map(|header| format!("header {} {}", header.name, wish(&header.value))),
    );
    if !matches.sources.is_empty() {
        let nets: Vec<_> = matches.sources.iter().map(ToString::to_string).collect();
        words.push(format!("source in {}", nets.join(", ")));
    }
    words
}

fn unmet(what: &str, wanted: &TextMatch, found: Option<&[u8]>) -> String {
    let is = match found {
        Some(found) => format!("is {}", shown(found)),
        None => "is not there".to_owned(),
    };
    match wanted {
        TextMatch::Exact(text) => format!("{what} {is}, wanted `{text}`"),
        TextMatch::Prefix(text) => format!("{what} {is}, wanted one that begins with `{text}`"),
        TextMatch::Present => format!("{what} is not there"),
        TextMatch::Absent => format!("{what} is there"),
    }
}

fn wish(wanted: &TextMatch) -> String {
    match wanted {
        TextMatch::Exact(text) => format!("is `{text}`"),
        TextMatch::Prefix(text) => format!("begins with `{text}`"),
        TextMatch::Present => "is there".to_owned(),
        TextMatch::Absent => "is not there".to_owned(),
    }
}

fn shown(bytes: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::matches::hold;
    use super::*;
    use crate::l7::codec::{Codec as _, Decoded, Limits, Session, Side, http1::Http1};
    use crate::l7::snapshot::{HeaderMatch, QueryMatch};

    fn texts() -> Vec<Option<TextMatch>> {
        let exact = |text: &str| Some(TextMatch::Exact(text.into()));
        let prefix = |text: &str| Some(TextMatch::Prefix(text.into()));
        let mut texts = vec![None, Some(TextMatch::Present), Some(TextMatch::Absent)];
        texts.extend(
            ["/", "/a", "/a/b", "/a/../b", "b"].into_iter().flat_map(|text| [exact(text), prefix(text)]),
        );
        texts
    }

    /// The words and the decision never disagree.
    #[test]
    fn why_not_says_nothing_exactly_where_the_route_has_the_request() {
        let mut held = 0;
        for target in ["/", "/a", "/a/b", "/ab", "/a/../b", "/a%2fb", "/?q"] {
            for (method, lane) in [
                ("GET", "x-lane: b\r\n"),
                ("HEAD", ""),
                ("POST", "x-lane: \r\n"),
                ("GET", "X-Lane: c\r\nx_lane: /a/b\r\n"),
            ] {
                let request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n{lane}\r\n");
                let mut session = Session::new(Side::Client, Limits::default());
                let Ok(Decoded::Head(head)) = Http1.decode(&mut session, request.as_bytes()) else {
                    panic!("{request}")
                };
                let peer = "10.1.2.3".parse().unwrap();
                let asking = Asking { codec: &Http1, head: &head, message: request.as_bytes(), peer };
                for path in texts() {
                    for header in texts() {
                        for (methods, source) in [(vec![], None), (vec!["GET".into()], Some("10.0.0.0/8"))] {
                            let value = header.clone().unwrap_or(TextMatch::Present);
                            let headers = header
                                .iter()
                                .map(|_| HeaderMatch { name: "x-lane".into(), value: value.clone() });
                            let matches = Matches {
                                service: None,
                                methods,
                                path: path.clone(),
                                query: Vec::new(),
                                headers: headers.collect(),
                                sources: source.iter().map(|net| net.parse().unwrap()).collect(),
                            };
                            let why = why_not(&matches, &asking);
                            assert_eq!(
                                why.is_none(),
                                hold(&matches, &Ranges::of(&matches.sources), &asking),
                                "{request} {matches:?} {why:?}"
                            );
                            held += usize::from(why.is_none());
                        }
                    }
                }
            }
        }
        assert!(held > 100);
    }

    #[test]
    fn why_not_says_the_same_of_queries() {
        let mut held = 0;
        for query in ["", "?", "?lane", "?lane=b", "?lane=%62&lane=c", "?lane=c&lane=b", "?lanes=b&x=lane"] {
            let request = format!("GET /{query} HTTP/1.1\r\nhost: x\r\n\r\n");
            let mut session = Session::new(Side::Client, Limits::default());
            let Ok(Decoded::Head(head)) = Http1.decode(&mut session, request.as_bytes()) else { panic!() };
            let peer = "10.1.2.3".parse().unwrap();
            let asking = Asking { codec: &Http1, head: &head, message: request.as_bytes(), peer };
            for value in texts().into_iter().flatten() {
                let query = vec![QueryMatch { name: "lane".into(), value }];
                let matches = Matches { query, ..Matches::default() };
                let why = why_not(&matches, &asking);
                assert_eq!(
                    why.is_none(),
                    hold(&matches, &Ranges::default(), &asking),
                    "{request} {matches:?}"
                );
                held += usize::from(why.is_none());
            }
        }
        // Each has either "present" or "absent"; "b" is the exact value and the prefix of two.
        assert_eq!(held, 7 + 2 * 2);
    }
}
