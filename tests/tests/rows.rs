//! Every row on the library, the oracle and, as root, the loaded object.

use std::collections::BTreeMap;

use proxy_common::Reason;
use tests::object::Object;
use tests::rows::{ROOM, Step, all};

#[test]
fn library() {
    all().iter().for_each(|row| row.run(None));
}

#[test]
fn loaded_object() {
    if !rustix::process::geteuid().is_root() {
        proxy_user::lab::left_out("the rows on the loaded object need root");
        return;
    }
    // Objects by the size of their flow table.
    let mut objects: BTreeMap<u32, Object> = BTreeMap::new();
    let (on_object, timed): (Vec<_>, Vec<_>) = all().into_iter().partition(|row| row.runs_on_object());
    for row in &on_object {
        let object = objects.entry(row.capacity).or_insert_with(|| {
            Object::load(row.capacity).unwrap_or_else(|error| panic!("load the object: {error:#}"))
        });
        row.run(Some(object));
    }
    println!(
        "{} rows on the object; {} in which time passes ran on the library only",
        on_object.len(),
        timed.len()
    );
}

#[test]
fn every_reason_has_a_row() {
    let rows = all();
    let steps = rows.iter().flat_map(|row| &row.steps);
    let shown: Vec<Reason> = steps
        .filter_map(|step| match step {
            Step::Frame { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect();
    let missing: Vec<&str> =
        Reason::ALL.into_iter().filter(|reason| !shown.contains(reason)).map(Reason::label).collect();
    assert_eq!(missing, Vec::<&str>::new());
    assert!(rows.iter().any(|row| row.capacity == ROOM));
}
