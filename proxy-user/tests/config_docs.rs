//! The committed schema is what the code gives; `WEIR_BLESS=1` rewrites it.
#[test]
fn dump() {
    println!("{}", serde_json::to_string_pretty(&proxy_user::config::schema()).unwrap());
}
