//! Captures as input: replayed one after the other through the data plane's own loop.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastpath::ipc::ErrorReply;
use fastpath::lcore::Outlets;
use fastpath::policy::snapshot::Snapshot;
use fastpath::port::pcap::Progress;
use fastpath::replay::{self, Summary};
use fastpath::telemetry::event::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli;
use crate::failure::{Done, Failure};

/// A capture that was read, at least in part.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its path.
    pub path: PathBuf,
    /// What was counted.
    pub summary: Summary,
}

/// Captures below this size are read before a bar would be of use.
const BAR_BYTES_MIN: u64 = 32 << 20;

/// Reads `captures` in order and gives every event to `sink`, with the capture's file name where
/// there are several. What cannot be read is reported on standard error, and the next one is read.
///
/// # Errors
/// When no capture could be read.
pub fn read(
    captures: &[PathBuf],
    snapshot: &Arc<Snapshot>,
    json: bool,
    mut sink: impl FnMut(Option<&str>, &Event, &Outlets),
) -> Result<(Vec<Read>, Done), Failure> {
    let mut done = Done::Wholly;
    let mut read = Vec::new();
    for path in captures {
        let name = (captures.len() > 1).then(|| short_name(path, captures));
        let bar = Bar::new(path);
        let result = replay::replay(
            path,
            Arc::clone(snapshot),
            |event, outlets| sink(name.as_deref(), event, outlets),
            |progress| bar.show(progress),
        );
        drop(bar);
        match result {
            Ok(summary) => {
                if let Some(note) = &summary.note {
                    done = Done::Partly;
                    cli::report(&read_in_part(path, note), json);
                }
                read.push(Read { path: path.clone(), summary });
            }
            Err(error) => {
                let failure = Failure::Capture(path.clone(), error);
                if captures.len() == 1 {
                    return Err(failure);
                }
                done = Done::Partly;
                cli::report(&failure.reply(), json);
            }
        }
    }
    if read.is_empty() { Err(Failure::NoCapture(captures.len())) } else { Ok((read, done)) }
}

/// What a capture is called beside others: its file name, or its path where two files share a name.
fn short_name(path: &Path, captures: &[PathBuf]) -> String {
    let alike = captures.iter().filter(|other| other.file_name() == path.file_name()).count();
    if alike > 1 { path.display().to_string() } else { file_name(path) }
}

/// The file name of a path, for people and for the `pcap` field.
#[must_use]
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn read_in_part(path: &Path, note: &str) -> ErrorReply {
    let name = path.display().to_string();
    ErrorReply {
        code: "read_in_part".to_owned(),
        message: format!("read in part: {}", note.replacen(&name, "the file", 1)),
        path: Some(name),
        hint: Some("what was read is reported; the rest of the file is missing from it".to_owned()),
    }
}

/// A progress bar on standard error, for a large file and a person who waits.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(path: &Path) -> Self {
        let large = std::fs::metadata(path).is_ok_and(|file| file.len() >= BAR_BYTES_MIN);
        if !large || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let target = ProgressDrawTarget::stderr_with_hz(5);
        let bar = ProgressBar::with_draw_target(None, target).with_message(file_name(path));
        let template = "{msg}  {bar:30}  {bytes} of {total_bytes}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(Some(bar))
    }

    fn show(&self, progress: &Progress) {
        if let Some(bar) = &self.0 {
            bar.set_length(progress.total_bytes.unwrap_or(progress.read_bytes));
            bar.set_position(progress.read_bytes);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_captures_of_one_name_are_told_apart_by_path() {
        let captures = ["a/x.pcap", "b/x.pcap", "b/y.pcap"].map(PathBuf::from);
        let names = captures.each_ref().map(|path| short_name(path, &captures));
        assert_eq!(names, ["a/x.pcap", "b/x.pcap", "y.pcap"]);
    }
}
