//! `docs/stats.md` names every reason under its number. `WEIR_BLESS=1` writes the table anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use proxy_common::Reason;

const BEGIN: &str = "<!-- reasons -->\n";
const END: &str = "<!-- end of reasons -->\n";

#[test]
fn the_table_of_reasons_is_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/stats.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let mut wanted = String::from("| number | reason | verdict | meaning |\n|--:|---|---|---|\n");
    for reason in Reason::ALL {
        let (number, label) = (reason.index(), reason.label());
        writeln!(wanted, "| {number} | `{label}` | {} | {} |", reason.class().label(), reason.text())
            .unwrap();
    }
    if std::env::var_os("WEIR_BLESS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
    } else {
        assert_eq!(table, wanted, "docs/stats.md is old: run this test with WEIR_BLESS=1");
    }
}
