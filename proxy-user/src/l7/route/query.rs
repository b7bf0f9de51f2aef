//! Parameters of a query, as forms write them: `name=value` between `&`, percent-encoded, with `+` for a blank.

use memchr::memchr;

/// The first value of a parameter; `None`: there is none of the name. Without `=` it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// The first of the name, among the first [`MOST`] parameters. Names are compared decoded.
    pub(super) fn first(query: &'a [u8], name: &str) -> Option<Self> {
        let mut rest = query;
        for _ in 0..MOST {
            let (pair, after) = rest.split_at_checked(memchr(b'&', rest).unwrap_or(rest.len()))?;
            if may_have(pair, name) {
                let (found, value) = pair.split_at_checked(memchr(b'=', pair).unwrap_or(pair.len()))?;
                if decoded(found).eq(name.bytes()) {
                    return Some(Self(value.strip_prefix(b"=").unwrap_or(value)));
                }
            }
            rest = after.get(1..)?;
        }
        None
    }

    /// Whether it is this, decoded.
    pub(super) fn is(self, text: &str) -> bool {
        decoded(self.0).eq(text.bytes())
    }

    /// Whether it begins so, decoded.
    pub(super) fn starts_with(self, text: &str) -> bool {
        let mut own = decoded(self.0);
        text.bytes().all(|byte| own.next() == Some(byte))
    }

    /// The value, decoded.
    pub(super) fn text(self) -> Vec<u8> {
        decoded(self.0).collect()
    }
}

/// Whether the pair's name may be this one: a look that costs little, as each route that names a parameter looks at all.
fn may_have(pair: &[u8], name: &str) -> bool {
    let same = |byte: &u8| matches!(byte, b'%' | b'+') || name.as_bytes().first() == Some(byte);
    pair.len() >= name.len() && pair.first().is_some_and(same)
}

/// So many parameters of a query are looked at: many routes may look for one each.
pub(super) const MOST: usize = 256;

/// Bytes that are meant. A percent sign without two digits behind it is itself.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        let (byte, after) = match (byte, after) {
            (b'+', after) => (b' ', after),
            (b'%', [high, low, after @ ..]) => match digit(*high).zip(digit(*low)) {
                Some((high, low)) => (high << 4 | low, after),
                None => (b'%', rest.get(1..).unwrap_or_default()),
            },
            (byte, after) => (*byte, after),
        };
        rest = after;
        Some(byte)
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_parameters_are_looked_at() {
        let query = |before: usize| "&".repeat(before) + "lane=b";
        assert!(Value::first(query(MOST - 1).as_bytes(), "lane").is_some());
        assert!(Value::first(query(MOST).as_bytes(), "lane").is_none());
    }

    #[test]
    fn the_first_of_a_name_counts_decoded() {
        for (query, wanted) in [
            ("lane=b", Some("b")),
            ("x&lane=b&lane=c", Some("b")),
            ("lane=b%26c+d%2B", Some("b&c d+")),
            ("l%61ne=%C3%A9", Some("\u{e9}")),
            ("lane", Some("")),
            ("lane=", Some("")),
            ("lane=a=b", Some("a=b")),
            ("lane=%&lane=x", Some("%")),
            ("lane=%4%zz%", Some("%4%zz%")),
            ("Lane=b", None),
            ("lanes=b&xlane=b&=lane", None),
            ("lane;x=b", None),
            ("", None),
        ] {
            let found = Value::first(query.as_bytes(), "lane");
            assert_eq!(
                found.map(|value| String::from_utf8(value.text()).unwrap()).as_deref(),
                wanted,
                "{query}"
            );
            if let (Some(value), Some(text)) = (found, wanted) {
                assert!(value.is(text) && value.starts_with(text) && value.starts_with(""), "{query}");
                let longer = format!("{text}x");
                assert!(!value.is(&longer) && !value.starts_with(&longer), "{query}");
            }
        }
    }
}
