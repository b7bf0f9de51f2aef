//! Secrets that stand in a configuration by mistake are not repeated in findings, which go to logs and API answers.

use std::borrow::Cow;

/// A line of a configuration with stars for what may be a secret, byte for byte as long: values of keys that name one, and
/// users in URLs.
pub(super) fn masked(line: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(line);
    for (at, _) in line.match_indices("://") {
        let from = at + 3;
        let rest = line.get(from..).unwrap_or_default();
        let end = rest.find(['/', '"', '\'', ' ', ',', '?', '#']).unwrap_or(rest.len());
        if let Some(user) = rest.get(..end).unwrap_or_default().rfind('@') {
            star(&mut text, from, from + user);
        }
    }
    let mut from = 0;
    while let Some(equals) = line.get(from..).and_then(|rest| rest.find('=')).map(|at| from + at) {
        let before = line.get(..equals).unwrap_or_default().trim_end_matches([' ', '\t', '"', '\'']);
        let key = before.rsplit([' ', '\t', '{', ',', '.', '"', '\'']).next().unwrap_or_default();
        from = equals + 1;
        if secret(key) {
            let value = line.get(from..).unwrap_or_default();
            let blanks = value.len() - value.trim_start().len();
            star(&mut text, from + blanks, line.len());
            break;
        }
    }
    text
}

fn secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let named = ["password", "passwd", "token", "secret", "credential"].iter().any(|word| key.contains(word));
    named && !key.ends_with("_file") && !key.ends_with("_files") && !key.ends_with("_env")
}

fn star(text: &mut Cow<'_, str>, from: usize, to: usize) {
    let stars = "*".repeat(to.saturating_sub(from));
    if text.is_char_boundary(from) && text.is_char_boundary(to) {
        text.to_mut().replace_range(from..to, &stars);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_starred_and_nothing_moves() {
        for (line, shown) in [
            ("password = \"pä s\"", "password = *******"),
            ("a = { token = \"x\", b = 1 }", "a = { token = ************"),
            ("a.\"secret\"='x'", "a.\"secret\"=***"),
            ("password_file = \"/etc/x\"", "password_file = \"/etc/x\""),
            ("password_env = \"X\"", "password_env = \"X\""),
            ("u = [\"http://u:p@h:1/x@y\", \"http://h\"]", "u = [\"http://***@h:1/x@y\", \"http://h\"]"),
            ("service = \"a=b\"", "service = \"a=b\""),
            ("", ""),
        ] {
            assert_eq!(masked(line), shown);
            assert_eq!(masked(line).len(), line.len());
        }
    }
}
