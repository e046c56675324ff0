//! What is confirmed outlasts full disks, crashes and whoever writes at the same time.

use std::process::Command;

use super::*;

/// A directory of its own, gone when the test is over.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("fermata-store-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the temporary directory takes a directory");
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(revision: u64, text: &str) -> Entry {
    let sha256 = sha256(text.as_bytes());
    Entry { revision, who: "a".into(), when: 1.0, why: "b".into(), sha256, restores: None }
}

/// Commits `text` as the next revision, confirmed.
fn add(store: &FileStore, text: &str) -> Result<(), StoreError> {
    let (mut head, version) = store.load()?;
    let entry = entry(head.next(), text);
    head.confirmed = Some(entry.revision);
    head.push(entry.clone());
    store.commit(&version, &head, Some((&entry, text))).map(drop)
}

fn current(store: &FileStore) -> Result<String, StoreError> {
    let (head, _) = store.load()?;
    store.text(head.current().and_then(|revision| head.entry(revision)).expect("there is one"))
}

#[test]
fn what_was_committed_is_read_back_by_another() {
    let place = Place::new("back");
    assert_eq!(FileStore::new(&place.0).load().unwrap(), (Head::default(), Version::default()));
    add(&FileStore::new(&place.0), "one").unwrap();
    add(&FileStore::new(&place.0), "two").unwrap();
    assert_eq!(current(&FileStore::new(&place.0)).unwrap(), "two");
    assert_eq!(FileStore::new(&place.0).load().unwrap().0.entries.len(), 2);
}

#[test]
fn who_has_read_an_older_head_changes_nothing() {
    let place = Place::new("older");
    let store = FileStore::new(&place.0);
    add(&store, "one").unwrap();
    let (head, version) = store.load().unwrap();
    add(&store, "two").unwrap();
    assert!(matches!(store.commit(&version, &head, None), Err(StoreError::Changed(_))));
    assert_eq!(current(&store).unwrap(), "two");
}

#[test]
fn of_many_who_write_at_once_each_revision_has_one_author() {
    let place = Place::new("many");
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let directory = place.0.clone();
            std::thread::spawn(move || {
                let store = FileStore::new(&directory);
                let text = format!("text {n}");
                while add(&store, &text).is_err() {}
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let store = FileStore::new(&place.0);
    let (head, _) = store.load().unwrap();
    let mut texts: Vec<_> = head.entries.iter().map(|e| store.text(e).unwrap()).collect();
    texts.sort();
    assert_eq!(texts, (0..8).map(|n| format!("text {n}")).collect::<Vec<_>>());
}

#[test]
fn a_head_that_is_not_what_was_written_is_refused_and_the_one_before_it_is_kept() {
    let place = Place::new("corrupted");
    let store = FileStore::new(&place.0);
    add(&store, "one").unwrap();
    add(&store, "two").unwrap();
    let sound = fs::read(store.head()).unwrap();
    for at in (0..sound.len()).step_by(7) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        fs::write(store.head(), &bytes).unwrap();
        assert!(matches!(store.load(), Err(StoreError::Corrupted(..))), "byte {at}");
        assert!(add(&store, "three").is_err(), "byte {at}");
        assert_eq!(fs::read(store.head()).unwrap(), bytes, "what is there stays as evidence");
    }
    fs::write(store.head(), &sound[..sound.len() / 2]).unwrap();
    let error = store.load().unwrap_err().reply();
    assert_eq!(error.code, "store_corrupted");
    assert!(error.path.unwrap().ends_with("/head") && error.hint.unwrap().contains("head.before"));
    fs::copy(place.0.join("head.before"), store.head()).unwrap();
    assert_eq!(current(&store).unwrap(), "one", "the hint works");
}

#[test]
fn a_text_or_head_that_is_gone_is_no_empty_history() {
    let place = Place::new("gone");
    let store = FileStore::new(&place.0);
    add(&store, "one").unwrap();
    add(&store, "two").unwrap();
    fs::write(store.revision(2), "twi").unwrap();
    assert!(matches!(current(&store), Err(StoreError::Corrupted(..))));
    fs::remove_file(store.revision(2)).unwrap();
    assert!(matches!(current(&store), Err(StoreError::Corrupted(..))));
    fs::remove_file(store.head()).unwrap();
    assert!(matches!(store.load(), Err(StoreError::Corrupted(..))));
}

#[test]
fn a_crash_between_text_and_head_leaves_what_was_in_force() {
    let place = Place::new("crash");
    let store = FileStore::new(&place.0);
    add(&store, "one").unwrap();
    // What a process leaves that ends before it replaces the head.
    fs::write(store.revision(2), "half").unwrap();
    fs::write(place.0.join("head.new"), "ha").unwrap();
    assert_eq!(current(&store).unwrap(), "one");
    add(&store, "two").unwrap();
    assert_eq!(current(&store).unwrap(), "two");
}

/// On a file system of 64 KB, which only root can make.
#[test]
fn a_full_disk_loses_nothing_that_was_confirmed() {
    let place = Place::new("full");
    let mount = |arguments: &[&str]| {
        Command::new("mount").args(arguments).arg(&place.0).status().is_ok_and(|s| s.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        eprintln!("skipped: a small file system needs root and mount (Debian: mount)");
        return;
    }
    let store = FileStore::new(&place.0);
    let outcome = std::panic::catch_unwind(|| {
        add(&store, "confirmed").unwrap();
        let large = "x".repeat(100_000);
        let error = add(&store, &large).unwrap_err();
        assert_eq!(error.reply().code, "store_unusable");
        assert_eq!(current(&store).unwrap(), "confirmed");
        add(&store, "after").unwrap();
        assert_eq!(current(&store).unwrap(), "after", "and there is room again");
    });
    let _ = Command::new("umount").arg(&place.0).status();
    outcome.unwrap();
}

#[test]
fn the_history_forgets_the_oldest_but_never_what_is_in_force() {
    let mut head = Head { confirmed: Some(1), ..Head::default() };
    for revision in 1..200 {
        head.push(entry(revision, "x"));
    }
    assert_eq!(head.entries.len(), super::super::REVISIONS_MAX);
    assert_eq!(head.entries[0].revision, 1);
    assert_eq!(head.next(), 200);
    const { assert!(super::super::REVISIONS_MAX >= 32) };
}
