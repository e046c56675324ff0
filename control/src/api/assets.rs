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
pub static ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        content: include_bytes!("../../assets/dashboard/index.html"),
    },
    Asset {
        path: "/assets/dashboard.css",
        content_type: "text/css; charset=utf-8",
        content: include_bytes!("../../assets/dashboard/dashboard.css"),
    },
    Asset {
        path: "/assets/dashboard.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_bytes!("../../assets/dashboard/dashboard.js"),
    },
];

/// The file at `path`.
#[must_use]
pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}
