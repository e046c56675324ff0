//! The shape of the code, as a test (after TigerBeetle's `tidy.zig`): every tracked file is read,
//! and what breaks a rule of docs/architecture.md is one line, `file:line: what, limit`.
//!
//! Rust is read as syntax, so a word in a comment or a string is none in the code. Each rule has a
//! test that shows that it fires.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod edges;
mod rust;
mod source;
mod text;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use source::Source;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Files that git tracks or would, relative to the root. Without git or its folder (an archive):
/// every file that is not of a build.
fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut files: Vec<String> = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
        }
        Ok(_) | Err(_) => {
            let mut files = Vec::new();
            below(&root(), &mut files);
            files
        }
    };
    files.retain(|file| root().join(file).is_file());
    files.sort();
    files
}

fn below(folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.is_dir() {
            true if name == "target" || name == ".git" => {}
            true => below(&path, files),
            false => {
                let relative = path.strip_prefix(root()).unwrap();
                files.push(relative.to_str().unwrap().to_owned());
            }
        }
    }
}

fn sources() -> Vec<Source> {
    let rust = files().into_iter().filter(|file| file.ends_with(".rs"));
    rust.map(|file| Source::read(&file, &std::fs::read_to_string(root().join(&file)).unwrap()))
        .collect()
}

fn assert_none(mut findings: Vec<Finding>) {
    findings.sort();
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} findings\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn rust_has_the_shape_of_the_design() {
    let sources = sources();
    assert!(sources.len() > 100, "the tree is read: {} files", sources.len());
    assert_none(sources.iter().flat_map(rust::check).collect());
}

#[test]
fn modules_use_only_what_the_table_allows() {
    assert_none(edges::check(&sources()));
}

#[test]
fn scripts_and_texts_are_in_order() {
    let read =
        |file: &String| Some((file.clone(), std::fs::read_to_string(root().join(file)).ok()?));
    let texts: Vec<(String, String)> = files().iter().filter_map(read).collect();
    assert!(texts.iter().any(|(file, _)| text::is_bash(file, "")), "scripts are among them");
    assert_none(texts.iter().flat_map(|(file, text)| text::check(file, text)).collect());
}

#[test]
fn the_top_level_has_the_names_of_the_design() {
    assert_none(tree::check(&files()));
}
