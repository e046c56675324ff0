//! Rules about texts that are not Rust: bash scripts, documents for users, and paths of one machine
//! anywhere.

use crate::Finding;

/// Paths that exist on some machine only. Put together, so that this file is none of its own
/// findings.
const MACHINE_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Checks a file that is text.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_bash(path, text) {
        bash(path, text, &mut findings);
    }
    for (number, line) in text.lines().enumerate() {
        for machine in MACHINE_PATHS.iter().filter(|machine| names_path(line, machine)) {
            findings.push(Finding::new(
                path,
                number + 1,
                format!("`{machine}` is a path of one machine"),
            ));
        }
        if is_for_users(path) && line.contains(concat!("shar", "ed/")) {
            findings.push(Finding::new(path, number + 1, "a user has no such folder"));
        }
    }
    findings
}

/// By its folder, or by its first line.
pub(crate) fn is_bash(path: &str, text: &str) -> bool {
    path.starts_with("scripts/")
        || path.starts_with(".ci/")
        || text.starts_with("#!/usr/bin/env bash")
}

fn is_for_users(path: &str) -> bool {
    path == "README.md" || path.starts_with("docs/")
}

/// An absolute path, and not a part of a longer one or of an address: `https://host/home/` is none.
fn names_path(line: &str, path: &str) -> bool {
    let mut places = line.match_indices(path);
    places.any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-/$}~*:".contains(c))
    })
}

fn bash(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let mut lines = text.lines();
    if lines.next() != Some("#!/usr/bin/env bash") {
        findings.push(Finding::new(path, 1, "a script does not begin with `#!/usr/bin/env bash`"));
    }
    if !lines.next().is_some_and(|line| line.starts_with("# ")) {
        findings.push(Finding::new(path, 2, "a script does not say in a comment what it does"));
    }
    // One that only hands over to another has nothing to set.
    let statements =
        || text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let hands_over =
        statements().count() == 1 && statements().all(|line| line.starts_with("exec "));
    if !hands_over && statements().next() != Some("set -euo pipefail") {
        findings.push(Finding::new(path, 3, "a script does not begin with `set -euo pipefail`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, text: &str) -> usize {
        check(path, text).len()
    }

    #[test]
    fn a_script_has_a_header_and_stops_at_the_first_failure() {
        let sound = "#!/usr/bin/env bash\n# Does it.\nset -euo pipefail\nit\n";
        assert_eq!(said("scripts/it", sound), 0);
        assert_eq!(said("scripts/it", &sound.replace("# Does it.\n", "")), 1);
        assert_eq!(said("scripts/it", &sound.replace("set -euo pipefail\n", "")), 1);
        assert_eq!(said("scripts/it", &sound.replace("env bash", "env sh")), 1);
        assert_eq!(said("scripts/it", "#!/usr/bin/env bash\n# Hands over.\nexec that\n"), 0);
    }

    #[test]
    fn paths_of_one_machine_are_found_everywhere() {
        for path in MACHINE_PATHS {
            assert_eq!(said("control/src/a.rs", &format!("open(\"{path}x\")")), 1);
            assert_eq!(said("docs/a.md", &format!("see https://host.example{path}x")), 0);
        }
    }

    #[test]
    fn documents_for_users_know_no_folder_beside_the_repository() {
        let line = concat!("it lies in ../shar", "ed/captures");
        assert_eq!((said("README.md", line), said("docs/a.md", line)), (1, 1));
        assert_eq!(said("tests/tests/captures.rs", line), 0);
    }
}
