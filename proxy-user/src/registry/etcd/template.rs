//! Templates of keys: text with parts in braces, such as `/services/{service}/{address}`.

use std::fmt;

/// A key's template, with the service's name already in it: text, then parts with text after each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// All that keys begin with; not empty.
    prefix: String,
    /// A part's name, and the text between it and the next one.
    parts: Vec<(String, String)>,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadTemplate(String);

impl fmt::Display for BadTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Template {
    /// Reads a template and puts the service's name into it.
    pub(super) fn new(text: &str, service: &str) -> Result<Self, BadTemplate> {
        let bad = |why: &str| Err(BadTemplate(format!("\"{text}\" {why}")));
        if text.len() > MAX_TEMPLATE || service.len() > MAX_TEMPLATE {
            return Err(BadTemplate(format!("a template and a name may have {MAX_TEMPLATE} bytes")));
        }
        let mut template = Self { prefix: String::new(), parts: Vec::new() };
        let mut named = false;
        let mut pieces = text.split('{');
        template.text(pieces.next().unwrap_or_default());
        for piece in pieces {
            let Some((name, after)) = piece.split_once('}') else { return bad("has a `{` without its `}`") };
            if name == "service" {
                if !template.parts.is_empty() {
                    return bad("has a part before {service}: keys of all services would have to be read");
                }
                named = true;
                template.text(service.trim_end_matches('/'));
            } else if !is_name(name) {
                return bad("has a part that is no name: small letters, digits, `_`");
            } else if template.parts.iter().any(|(other, _)| other == name) {
                return bad("has a part twice");
            } else if template.parts.last().is_some_and(|(_, between)| between.is_empty()) {
                return bad("has two parts with no text between them");
            } else {
                template.parts.push((name.to_owned(), String::new()));
            }
            template.text(after);
        }
        if !named {
            return bad("has no {service}, which the service's name stands for");
        }
        if template.prefix.is_empty() || service.trim_end_matches('/').is_empty() {
            return bad("makes keys that begin with nothing: name the service");
        }
        if template.parts.is_empty() {
            return bad("has nothing to tell one endpoint from another: end it with {id} or {address}");
        }
        Ok(template)
    }

    /// What all keys begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether there is such a part.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parts.iter().any(|(part, _)| part == name)
    }

    /// The parts of a key, none if it is not of this form. A part is as short as it can be, not empty, and without `/`.
    pub(super) fn read<'a>(&'a self, key: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let mut rest = key.strip_prefix(self.prefix.as_str())?;
        let mut values = Vec::with_capacity(self.parts.len());
        let mut parts = self.parts.iter().peekable();
        while let Some((name, after)) = parts.next() {
            let value;
            if parts.peek().is_none() {
                // The last one has all that its text leaves.
                (value, rest) = (rest.strip_suffix(after.as_str())?, "");
            } else {
                (value, rest) = rest.split_once(after.as_str())?;
            }
            if value.is_empty() || value.contains('/') {
                return None;
            }
            values.push((name.as_str(), value));
        }
        rest.is_empty().then_some(values)
    }

    /// The key whose parts have these values; the name of the first part that has none otherwise.
    pub(super) fn write(&self, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let mut key = self.prefix.clone();
        for (name, after) in &self.parts {
            key.push_str(&value(name).ok_or_else(|| name.clone())?);
            key.push_str(after);
        }
        Ok(key)
    }

    fn text(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some((_, between)) => between.push_str(text),
            None => self.prefix.push_str(text),
        }
    }
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(fits)
}

const MAX_TEMPLATE: usize = 1_024;
const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(template: &str, key: &str) -> Option<Vec<(String, String)>> {
        let template = Template::new(template, "web").unwrap();
        let parts = template.read(key)?;
        Some(parts.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn parts(parts: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn keys_are_taken_apart() {
        let address = parts(&[("address", "10.0.0.1:80")]);
        assert_eq!(read("/services/{service}/{address}", "/services/web/10.0.0.1:80"), address);
        assert_eq!(
            read("/s/{service}/{zone}/{host}:{port}/addr", "/s/web/a/10.0.0.1:80/addr"),
            parts(&[("zone", "a"), ("host", "10.0.0.1"), ("port", "80")])
        );
        for key in ["/s/web/", "/s/web", "/s/web/a/b", "/s/webs/a", "/s/web//a", ""] {
            assert_eq!(read("/s/{service}/{id}", key), None, "{key}");
        }
        assert_eq!(Template::new("{service}/{id}", "/a/b//").unwrap().prefix(), "/a/b/");
    }

    #[test]
    fn bad_templates_are_refused() {
        for text in [
            "",
            "/a/{id}",
            "/{zone}/{service}/{id}",
            "{service}",
            "{id}{service}",
            "/{service}/{id}{x}",
            "/{service}/{I}",
            "/{service}/{id",
            "/{service}/{id}/{id}",
        ] {
            Template::new(text, "web").unwrap_err();
        }
        Template::new("/{service}/{id}", "/").unwrap_err();
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(zone in "[a-z.-]{1,9}", id in "[^/]{1,20}") {
            let template = Template::new("/s/{service}/{zone}/{id}/x", "web").unwrap();
            let key = template.write(|name| Some(if name == "zone" { zone.clone() } else { id.clone() })).unwrap();
            prop_assert_eq!(template.read(&key), Some(vec![("zone", zone.as_str()), ("id", id.as_str())]));
        }

        #[test]
        fn any_key(text in any::<String>(), key in any::<String>()) {
            let template = Template::new("/s/{service}/{a}:{b}/x", "web").unwrap();
            let _ = template.read(&key);
            let _ = template.read(&format!("/s/web/{key}"));
            let _ = Template::new(&text, "web").map(|template| template.read(&key).is_some());
        }
    }
}
