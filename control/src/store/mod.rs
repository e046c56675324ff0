//! Where policies are kept, revision by revision: in files of one appliance, or in etcd for a fleet.
//!
//! A store holds the texts as they were typed and a [`Head`] that says which of them is in force.
//! Both stores do the same: a text is written before the head that names it, and the head is
//! replaced only by whoever has read the one it replaces.

pub mod etcd;
pub mod file;

use std::fmt;
use std::time::Duration;

use fastpath::ipc::ErrorReply;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Revisions that are kept; older ones are forgotten.
pub const REVISIONS_MAX: usize = 64;

/// The longest text of a policy, bytes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Which revisions there are, and which one is in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Revisions, oldest first.
    pub entries: Vec<Entry>,
    /// The one that was confirmed last; none before the first.
    pub confirmed: Option<u64>,
    /// One that is in force until its time is up, unless somebody confirms it.
    pub pending: Option<Pending>,
}

/// One revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Entry {
    /// Counts up from 1.
    pub revision: u64,
    /// Who applied it.
    pub who: String,
    /// When, Unix seconds.
    pub when: f64,
    /// Why, in the words of whoever applied it.
    pub why: String,
    /// SHA-256 of its text, hexadecimal.
    pub sha256: String,
    /// The revision whose text it brings back.
    pub restores: Option<u64>,
}

/// A revision that waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pending {
    /// Its number.
    pub revision: u64,
    /// When it is rolled back, Unix seconds.
    pub until: f64,
}

/// What a head was read as: a store replaces it only while it still is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version(pub String);

/// A store.
pub trait Store: Send + Sync + fmt::Debug {
    /// The head, and what it has to be when it is replaced.
    ///
    /// # Errors
    /// When the store cannot be read, or what it holds is not what was written.
    fn load(&self) -> Result<(Head, Version), StoreError>;

    /// The text of a revision.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    fn text(&self, entry: &Entry) -> Result<String, StoreError>;

    /// Replaces the head that was read as `read`, after `text` has been written for the revision it
    /// belongs to. When this returns both outlast a loss of power.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when somebody else was first. Whatever the error, what the store held
    /// before is what it holds.
    fn commit(
        &self,
        read: &Version,
        head: &Head,
        text: Option<(&Entry, &str)>,
    ) -> Result<Version, StoreError>;

    /// Returns when the head is another one than `read`, and when patience is over.
    fn wait(&self, read: &Version, patience: Duration);

    /// The appliances that have this policy; none where the store is of one.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn members(&self) -> Result<Vec<Member>, StoreError> {
        Ok(Vec::new())
    }

    /// Where it is, for people.
    fn place(&self) -> String;
}

/// An appliance of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Of its daemon.
    pub version: String,
}

/// Why a store cannot do something.
#[derive(Debug)]
pub enum StoreError {
    /// It cannot be read or written: where, and why.
    Unusable(String, String),
    /// What it holds is not what was written: where, and what is wrong.
    Corrupted(String, String),
    /// Somebody else was first.
    Changed(String),
}

impl Head {
    /// The revision that should be in force at `now`, Unix seconds.
    #[must_use]
    pub fn current(&self) -> Option<u64> {
        self.pending.map(|pending| pending.revision).or(self.confirmed)
    }

    /// The entry of a revision.
    #[must_use]
    pub fn entry(&self, revision: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.revision == revision)
    }

    /// Adds a revision, and forgets the oldest ones that nothing depends on.
    pub fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
        let kept = [self.confirmed, self.pending.map(|pending| pending.revision)];
        while self.entries.len() > REVISIONS_MAX {
            let oldest = self.entries.iter().position(|e| !kept.contains(&Some(e.revision)));
            let Some(oldest) = oldest else { break };
            self.entries.remove(oldest);
        }
    }

    /// The number of the next revision.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.entries.last().map_or(1, |entry| entry.revision + 1)
    }

    /// Whether it can have been written by this program.
    fn is_sound(&self) -> bool {
        let rising = self.entries.windows(2).all(|pair| pair[0].revision < pair[1].revision);
        let known = |revision: u64| self.entry(revision).is_some();
        rising
            && self.confirmed.is_none_or(known)
            && self.pending.is_none_or(|pending| known(pending.revision))
    }
}

/// SHA-256, hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The head in `bytes`, which [`encode`] has made.
pub(crate) fn decode(place: &str, bytes: &[u8]) -> Result<Head, StoreError> {
    let wrong = |what: &str| StoreError::Corrupted(place.to_owned(), what.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is no text"))?;
    let (sum, body) = text.split_once('\n').ok_or_else(|| wrong("it breaks off"))?;
    if sum != sha256(body.as_bytes()) {
        return Err(wrong("its checksum is that of something else"));
    }
    let head: Head = serde_json::from_str(body)
        .map_err(|error| wrong(&format!("another version has written it ({error})")))?;
    if head.is_sound() { Ok(head) } else { Err(wrong("it names revisions that it does not have")) }
}

/// The head with its checksum before it.
pub(crate) fn encode(head: &Head) -> Vec<u8> {
    let body = serde_json::to_string_pretty(head).unwrap_or_default() + "\n";
    (sha256(body.as_bytes()) + "\n" + &body).into_bytes()
}

/// The text in `bytes`, if it is the one `entry` was made with.
pub(crate) fn checked(place: &str, entry: &Entry, bytes: Vec<u8>) -> Result<String, StoreError> {
    let wrong = |what: &str| StoreError::Corrupted(place.to_owned(), what.to_owned());
    if sha256(&bytes) != entry.sha256 {
        return Err(wrong("its checksum is not the one that the history has"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is no text"))
}

impl StoreError {
    /// The error object of the contract.
    #[must_use]
    pub fn reply(&self) -> ErrorReply {
        let (code, message, place, hint) = match self {
            Self::Unusable(place, why) => (
                "store_unusable",
                format!("the policy store cannot be used: {why}"),
                place,
                "what it held before is still there; mend the cause and try again",
            ),
            Self::Corrupted(place, what) => (
                "store_corrupted",
                format!("this is not what was written: {what}"),
                place,
                "nothing was changed, and the data plane keeps its policy; `head.before` beside it is \
                 the state before the last change: put it in the place of `head`, or restore a backup",
            ),
            Self::Changed(place) => (
                "revision_changed",
                "somebody else has changed the policy meanwhile".to_owned(),
                place,
                "look at `fermata history` and `fermata diff`, and apply again",
            ),
        };
        let (code, hint) = (code.to_owned(), Some(hint.to_owned()));
        ErrorReply { code, message, path: Some(place.clone()), hint }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::failure::for_people(&self.reply()))
    }
}

impl std::error::Error for StoreError {}
