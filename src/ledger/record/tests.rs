//! Owns the proof that the form on disk is what it was, in both directions.

use super::*;
use crate::ledger::samples::{any_event, one_of_each};
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_event_is_read_back_as_it_was_written(event in any_event()) {
        let row = encode(&event).unwrap();
        prop_assert_eq!(decode(&row).unwrap(), event);
    }
}

#[test]
fn a_row_of_a_newer_version_is_told_apart_from_damage() {
    for row in [
        r#"{"v":2,"event":{"clean":"00000000-0000-0000-0000-000000000001"}}"#,
        r#"{"v":7,"shape":"unheard of"}"#,
    ] {
        assert!(
            matches!(decode(row.as_bytes()), Err(Unreadable::Newer(2 | 7))),
            "{row}"
        );
    }
}

#[test]
fn a_row_that_does_not_fit_its_version_is_damage() {
    for row in [
        "",
        "null",
        "{}",
        r#"{"v":1}"#,
        r#"{"v":1,"event":{"clean":"no id"}}"#,
        r#"{"v":1,"event":{"unheard_of":1}}"#,
        r#"{"v":1,"event":{"delivered":1},"more":2}"#,
        r#"{"v":0,"event":{}}"#,
    ] {
        assert!(
            matches!(decode(row.as_bytes()), Err(Unreadable::Form(_))),
            "{row}"
        );
    }
}

#[test]
fn a_value_this_program_could_not_have_written_is_damage() {
    let row = r#"{"v":1,"event":{"step_done":{"grant":"00000000-0000-0000-0000-000000000001","note":"n","seen":null,"reason":null}}}"#;
    assert!(matches!(decode(row.as_bytes()), Err(Unreadable::Value(_))));
}

#[test]
fn version_1_keeps_its_form_in_both_directions() {
    let written: Vec<_> = one_of_each()
        .iter()
        .map(|event| String::from_utf8(encode(event).unwrap()).unwrap())
        .collect();
    let golden: Vec<_> = include_str!("version_1.jsonl").lines().collect();
    assert_eq!(written, golden);
    let read: Vec<_> = golden
        .iter()
        .map(|row| decode(row.as_bytes()).unwrap())
        .collect();
    assert_eq!(read, one_of_each());
}

#[test]
fn the_golden_rows_hold_every_kind_of_event() {
    let kinds: std::collections::BTreeSet<_> = one_of_each().iter().map(Event::kind).collect();
    // As many as `Event::kind` has arms; a new kind belongs into the golden file.
    assert_eq!(kinds.len(), 20);
}
