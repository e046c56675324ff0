//! The store in a directory: `head`, which says what is in force, and `revisions/N.yaml`.
//!
//! A file is written beside its place, synced, renamed to it, and the directory synced: after a loss
//! of power it is the old one or the new one. `head.before` is the head before the last change.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Entry, Head, Store, StoreError, Version, checked, decode, encode, sha256};

/// Where it is unless it is told otherwise.
pub const DIRECTORY_DEFAULT: &str = "/var/lib/fermata/policy";

/// A directory of revisions.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
}

impl FileStore {
    /// The store in `directory`, which is made when something is first written.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn head(&self) -> PathBuf {
        self.directory.join("head")
    }

    fn revision(&self, number: u64) -> PathBuf {
        self.directory.join("revisions").join(format!("{number}.yaml"))
    }

    fn read(&self) -> Result<(Head, Version), StoreError> {
        let path = self.head();
        match fs::read(&path) {
            Ok(bytes) => {
                Ok((decode(&path.display().to_string(), &bytes)?, Version(sha256(&bytes))))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // With revisions and no head somebody has lost it: an empty history would hide that.
                if fs::read_dir(self.directory.join("revisions"))
                    .is_ok_and(|mut d| d.next().is_some())
                    && self.directory.join("head.before").exists()
                {
                    let what = "it is gone, and the revisions are there".to_owned();
                    return Err(StoreError::Corrupted(path.display().to_string(), what));
                }
                Ok((Head::default(), Version::default()))
            }
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// One writer at a time, of all processes: the lock goes with the file handle.
    fn lock(&self) -> Result<File, StoreError> {
        let revisions = self.directory.join("revisions");
        fs::create_dir_all(&revisions).map_err(|error| unusable(&revisions, &error))?;
        let path = self.directory.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| unusable(&path, &error))?;
        lock.lock().map_err(|error| unusable(&path, &error))?;
        Ok(lock)
    }

    /// Forgets the texts of revisions that the head has forgotten. One that stays is in nobody's way.
    fn sweep(&self, head: &Head) {
        let Ok(files) = fs::read_dir(self.directory.join("revisions")) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".yaml")?.parse().ok());
            if number.is_some_and(|number: u64| head.entry(number).is_none()) {
                let _ = fs::remove_file(file.path());
            }
        }
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<(Head, Version), StoreError> {
        self.read()
    }

    fn text(&self, entry: &Entry) -> Result<String, StoreError> {
        let path = self.revision(entry.revision);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Corrupted(
                path.display().to_string(),
                "the text of this revision is gone".to_owned(),
            ),
            _ => unusable(&path, &error),
        })?;
        checked(&path.display().to_string(), entry, bytes)
    }

    fn commit(
        &self,
        read: &Version,
        head: &Head,
        text: Option<(&Entry, &str)>,
    ) -> Result<Version, StoreError> {
        let lock = self.lock()?;
        let (before, now) = self.read()?;
        if now != *read {
            return Err(StoreError::Changed(self.place()));
        }
        if let Some((entry, text)) = text {
            write(&self.revision(entry.revision), text.as_bytes())?;
        }
        if *read != Version::default() {
            write(&self.directory.join("head.before"), &encode(&before))?;
        }
        let bytes = encode(head);
        write(&self.head(), &bytes)?;
        self.sweep(head);
        drop(lock);
        Ok(Version(sha256(&bytes)))
    }

    fn wait(&self, _: &Version, patience: Duration) {
        // Reading a small file twice a second costs less than watching it.
        std::thread::sleep(patience);
    }

    fn place(&self) -> String {
        self.directory.display().to_string()
    }
}

/// Writes a file so that it is there wholly or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let beside = path.with_extension("new");
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| fs::rename(&beside, path));
    let synced = renamed.and_then(|()| match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    });
    synced.map_err(|error| {
        // What could not be written wholly takes room that others need.
        let _ = fs::remove_file(&beside);
        unusable(path, &error)
    })
}

fn unusable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unusable(path.display().to_string(), error.to_string())
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
