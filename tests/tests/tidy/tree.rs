//! Rules about names of files: what may lie at the top.

use crate::Finding;

/// The nine names of the design, `docs` and the licence. Hidden names hold tool configuration.
const TOP: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "dpdk-sys",
    "fastpath",
    "control",
    "benches",
    "tests",
    "scripts",
    "docs",
    "LICENSE",
];

/// Checks the names at the top, once each.
pub(crate) fn check(files: &[String]) -> Vec<Finding> {
    let mut names: Vec<&str> = files
        .iter()
        .filter_map(|file| file.split('/').next())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.dedup();
    let extra = names.into_iter().filter(|name| !TOP.contains(name));
    extra
        .map(|name| {
            Finding::new(name, 1, format!("not a top-level name; expected {}", TOP.join(", ")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_name_at_the_top_is_found_once() {
        let files = ["Cargo.toml", ".ci/run", "tools/a", "tools/b", "docs/a"].map(str::to_owned);
        let findings = check(&files);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().starts_with("tools:1: not a top-level name"));
    }
}
