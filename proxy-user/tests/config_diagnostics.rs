//! Every bad configuration in `config_bad/` is refused with the rendered findings beside it (`NAME.expected`);
//! `WEIR_BLESS=1` rewrites those.

use std::path::Path;

use proxy_user::config::{Code, Flags, load};

#[test]
fn bad_files_are_refused_with_cause_and_cure() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_bad");
    let bless = std::env::var_os("WEIR_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut files = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        files += 1;
        let refused = load(Some(&path), &Flags::default()).expect_err(&path.display().to_string());
        assert!(refused.errors().count() > 0);
        assert!(refused.all().iter().all(|d| !d.hint.is_empty()), "{refused}");
        let rendered = refused.to_string().replace(&format!("{}/", dir.display()), "") + "\n";
        let golden = path.with_extension("expected");
        if bless {
            std::fs::write(&golden, &rendered).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if rendered != expected {
            wrong.push(format!("{}\n--- expected\n{expected}\n--- found\n{rendered}", golden.display()));
        }
    }
    assert!(files > 10 && wrong.is_empty(), "WEIR_BLESS=1 rewrites these:\n{}", wrong.join("\n"));
}

#[test]
fn findings_have_a_structured_form() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_bad");
    let refused = load(Some(&dir.join("unknown_key.toml")), &Flags::default()).unwrap_err();
    let first = &serde_json::to_value(&refused).unwrap()[0];
    assert_eq!(first["code"], Code::UnknownKey.as_str());
    assert_eq!(first["severity"], "error");
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(3), Some(1)));
    assert!(first["file"].as_str().unwrap().ends_with("unknown_key.toml"));
    assert!(first["hint"].as_str().unwrap().contains("did you mean `mode`?"));
}
