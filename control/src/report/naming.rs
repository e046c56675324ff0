//! How the commands of a report name files: as they were typed, so that they run as pasted; or by
//! folder and name, as a page is passed on and where a file lay is not.

use std::path::Path;

use super::{CaptureFile, Report};
use crate::output::{self, clean};

/// How commands name files.
#[derive(Clone, Copy, Debug)]
pub enum Naming<'a> {
    /// As typed, quoted for a shell.
    Typed {
        /// The policy that captures were assessed under.
        policy: Option<&'a Path>,
        /// Where the report was written.
        out: Option<&'a Path>,
    },
    /// By folder and name.
    Short,
}

/// Captures that one command names; of more it names the first.
const CAPTURES_NAMED: usize = 6;

impl Naming<'_> {
    /// The capture that evidence calls `name`, or the only one. None when it cannot be read again.
    pub(super) fn capture(self, report: &Report, name: Option<&str>) -> Option<String> {
        let files = &report.capture.files;
        let is_it = |file: &&CaptureFile| {
            let path = Path::new(&file.path);
            name.is_none_or(|name| file.path == name || path.ends_with(name))
        };
        files.iter().find(is_it).and_then(|file| self.file(file))
    }

    /// All captures, to be assessed again.
    pub(super) fn captures(self, report: &Report) -> Option<String> {
        let files = &report.capture.files;
        let all = matches!(self, Self::Typed { .. }) && files.len() <= CAPTURES_NAMED;
        let named = &files[..if all { files.len() } else { files.len().min(1) }];
        let names: Option<Vec<String>> = named.iter().map(|file| self.file(file)).collect();
        names.filter(|names| !names.is_empty()).map(|names| names.join(" "))
    }

    /// A capture as evidence names it.
    pub(super) fn evidence(self, report: &Report, name: &str) -> String {
        match self {
            Self::Typed { .. } => clean(name),
            Self::Short => self.capture(report, Some(name)).unwrap_or_else(|| clean(name)),
        }
    }

    /// `--policy FILE`, with a space before it, where there was one.
    pub(super) fn policy(self, report: &Report) -> String {
        let name = match self {
            Self::Typed { policy, .. } => policy.map(|path| quoted(&path.display().to_string())),
            Self::Short => report.policy.as_deref().map(clean),
        };
        name.map_or_else(String::new, |name| format!(" --policy {name}"))
    }

    /// Where the starter policy is, or will be once it is written.
    pub(super) fn starter(self) -> String {
        let file = |directory: &Path| quoted(&directory.join("policy.yaml").display().to_string());
        match self {
            Self::Typed { out, .. } => file(out.unwrap_or(Path::new("report"))),
            Self::Short => "policy.yaml".to_owned(),
        }
    }

    /// The report is on a terminal alone.
    pub(super) fn is_unwritten(self) -> bool {
        matches!(self, Self::Typed { out: None, .. })
    }

    fn file(self, file: &CaptureFile) -> Option<String> {
        match self {
            // A pipe is read once.
            _ if file.path == "-" => None,
            Self::Typed { .. } => Some(quoted(&file.path)),
            Self::Short => Some(clean(&file.short())),
        }
    }
}

/// A word for a POSIX shell, in quotes where it needs them. What a terminal would obey is taken out.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let visible = |c: char| if output::is_obeyed(c) { char::REPLACEMENT_CHARACTER } else { c };
    format!("'{}'", word.chars().map(visible).collect::<String>().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_itself_to_a_shell() {
        assert_eq!(quoted("../day 1/a.pcap"), "'../day 1/a.pcap'");
        assert_eq!(quoted("/x/it's.pcap"), r"'/x/it'\''s.pcap'");
        assert_eq!(quoted("/x/a-b_c.pcapng"), "/x/a-b_c.pcapng");
        assert!(!quoted("a\x1b[2J").contains('\x1b'));
    }
}
