//! Files of the dashboard: built in, and served from the paths they are found by here.

/// A file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Where it is asked for: `/`, `/assets/app.js`.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its bytes.
    pub content: &'static [u8],
}

/// All files there are.
pub static ASSETS: &[Asset] = &[];

/// The file at `path`.
#[must_use]
pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}
