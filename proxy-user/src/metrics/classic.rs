//! From OpenMetrics text to the classic Prometheus format. The two differ in the name that a counter's HELP and TYPE
//! lines carry (the classic format wants the samples' `_total`), and classic has neither UNIT nor EOF.

pub(super) fn from_openmetrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let kept = match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some(("UNIT", _)) => continue,
            Some((word @ ("HELP" | "TYPE"), rest)) => {
                // The type stands in the line itself or in the next: a gauge may have a counter's name without `_total`.
                let typed = if word == "TYPE" { Some(line) } else { lines.peek().copied() };
                let counter =
                    typed.is_some_and(|line| line.starts_with("# TYPE ") && line.ends_with(" counter"));
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let total = if counter { "_total" } else { "" };
                format!("# {word} {name}{total} {rest}")
            }
            _ if line == "# EOF" => continue,
            _ => line.to_owned(),
        };
        classic.push_str(&kept);
        classic.push('\n');
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_with_total_and_the_rest_stays() {
        let open = "# HELP a_x A.\n# TYPE a_x counter\na_x_total{l=\"# EOF\"} 1\n# HELP b B.\n# TYPE b gauge\n\
                    # UNIT b seconds\nb 2\n# EOF\n";
        let classic = "# HELP a_x_total A.\n# TYPE a_x_total counter\na_x_total{l=\"# EOF\"} 1\n# HELP b B.\n\
                       # TYPE b gauge\nb 2\n";
        let both = "# HELP a A.\n# TYPE a gauge\na 1\n# HELP a A.\n# TYPE a counter\na_total 2\n";
        assert!(from_openmetrics(both).starts_with("# HELP a A.\n# TYPE a gauge\na 1\n# HELP a_total A.\n"));
        assert_eq!(from_openmetrics(open), classic);
    }
}
