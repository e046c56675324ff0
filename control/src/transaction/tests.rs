//! Transactions on a store in a directory.

use std::path::PathBuf;

use super::*;
use crate::store::file::FileStore;

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn store(name: &str) -> (FileStore, Place) {
    let path = std::env::temp_dir().join(format!("fermata-txn-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    (FileStore::new(&path), Place(path))
}

fn by(now: f64) -> By<'static> {
    By { who: "ada", why: "because", now }
}

fn text(mode: &str) -> String {
    format!(
        "apiVersion: fermata.dev/v1alpha1\nkind: CoordinationPolicy\nmetadata: {{ name: all }}\nspec:\n  mode: {mode}\n"
    )
}

fn put(store: &FileStore, mode: &str, confirm_within: Option<f64>) -> Current {
    let text = text(mode);
    apply(store, &Apply { text: &text, confirm_within, if_revision: None }, &by(100.0))
        .expect("the policy is valid")
}

#[test]
fn what_is_not_confirmed_in_time_is_taken_back() {
    let (store, _place) = store("expire");
    put(&store, "shadow", None);
    let applied = put(&store, "enforce", Some(120.0));
    assert_eq!(applied.pending, Some(Pending { revision: 2, until: 220.0 }));
    assert_eq!(current(&store).unwrap().text, text("enforce"));
    assert_eq!(expire(&store, 219.9).unwrap(), None);
    let back = expire(&store, 220.0).unwrap().unwrap();
    assert_eq!((back.revision, back.text), (1, text("shadow")));
    assert!(matches!(confirm(&store), Err(TransactionError::NothingPending)));
    assert_eq!(history(&store).unwrap().revisions.len(), 2, "what was tried is in the history");
}

#[test]
fn what_is_confirmed_stays() {
    let (store, _place) = store("confirm");
    put(&store, "enforce", Some(120.0));
    assert_eq!(confirm(&store).unwrap().revision, 1);
    assert_eq!(expire(&store, 1e9).unwrap(), None);
    let history = history(&store).unwrap();
    assert_eq!((history.revision, history.confirmed, history.pending), (1, 1, None));
    let entry = &history.revisions[0];
    assert_eq!((entry.who.as_str(), entry.why.as_str(), entry.when), ("ada", "because", 100.0));
}

#[test]
fn the_first_policy_that_is_not_confirmed_leaves_the_catalogue() {
    let (store, _place) = store("first");
    put(&store, "enforce", Some(1.0));
    let back = expire(&store, 200.0).unwrap().unwrap();
    assert_eq!((back.revision, back.text.as_str()), (0, ""));
}

#[test]
fn while_a_change_waits_no_other_is_made() {
    let (store, _place) = store("waits");
    put(&store, "shadow", Some(60.0));
    let other = text("off");
    let apply = Apply { text: &other, ..Apply::default() };
    let error = super::apply(&store, &apply, &by(101.0)).unwrap_err();
    assert_eq!(error.reply().code, "confirmation_pending");
    assert_eq!(rollback(&store, None, &by(102.0)).unwrap().revision, 0, "and it can be taken back");
}

#[test]
fn compare_and_set_refuses_what_was_made_for_another_revision() {
    let (store, _place) = store("cas");
    put(&store, "shadow", None);
    let off = text("off");
    let apply = |expected| {
        let apply = Apply { text: &off, confirm_within: None, if_revision: Some(expected) };
        super::apply(&store, &apply, &by(1.0))
    };
    assert_eq!(apply(7).unwrap_err().reply().code, "revision_changed");
    assert_eq!(current(&store).unwrap().revision, 1);
    assert_eq!(apply(1).unwrap().revision, 2);
}

#[test]
fn a_rollback_is_a_revision_of_its_own() {
    let (store, _place) = store("rollback");
    for mode in ["off", "shadow", "enforce"] {
        put(&store, mode, None);
    }
    let back = rollback(&store, None, &by(9.0)).unwrap();
    assert_eq!((back.revision, back.text), (4, text("shadow")));
    assert_eq!(back.entry.unwrap().restores, Some(2));
    assert_eq!(rollback(&store, Some(1), &by(9.0)).unwrap().text, text("off"));
    assert_eq!(rollback(&store, Some(0), &by(9.0)).unwrap().text, "", "the catalogue alone");
    let error = rollback(&store, Some(99), &by(9.0)).unwrap_err();
    assert_eq!(error.reply().code, "no_such_revision");
}

#[test]
fn what_is_not_valid_is_never_stored() {
    let (store, _place) = store("invalid");
    let wrong = text("shaddow");
    let apply = Apply { text: &wrong, ..Apply::default() };
    let error = super::apply(&store, &apply, &by(1.0)).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.reply().hint.unwrap().contains("`shadow`"));
    assert_eq!(history(&store).unwrap().revisions, []);
}

#[test]
fn a_difference_is_told_field_by_field_whatever_the_layout() {
    let before = text("shadow");
    let same = "# a comment\napiVersion: fermata.dev/v1alpha1\nkind: CoordinationPolicy\n\
                metadata:\n  name: all\nspec: { mode: \"shadow\" }\n";
    assert_eq!(diff(&before, same).unwrap(), []);
    let endpoint = "---\napiVersion: fermata.dev/v1alpha1\nkind: Endpoint\nmetadata: { name: e }\n\
                    spec: { hosts: [a.example] }\n";
    let changes = diff(&before, &(text("off") + endpoint)).unwrap();
    let told: Vec<_> = changes.iter().map(|c| (c.document.as_str(), c.path.as_str())).collect();
    assert_eq!(told, [("CoordinationPolicy/all", "spec.mode"), ("Endpoint/e", "")]);
    assert_eq!((&changes[0].before, &changes[0].after), (&"shadow".into(), &"off".into()));
}
