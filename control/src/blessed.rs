//! Files of the repository that are made from code: a test compares them, and `FERMATA_BLESS=1` writes
//! them.

use std::path::Path;

use serde_json::Value;

/// Compares `path`, from the repository's root, with what it should be.
pub(crate) fn check(path: &str, value: &Value) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let text = serde_json::to_string_pretty(value).expect("values become text") + "\n";
    if std::env::var_os("FERMATA_BLESS").is_some() {
        std::fs::write(&file, &text).expect("the repository can be written");
    }
    let published = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(published == text, "{path} is not what the code says: FERMATA_BLESS=1 writes it");
}
