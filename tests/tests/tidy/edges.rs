//! The table of modules: who may `use crate::` whom in the data plane. An edge that is not here is
//! a finding; think before you add one: the arrows of docs/architecture.md go one way.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use crate::Finding;
use crate::source::{Source, attributes, is_test_code, line};

/// A module by its first name; in `telemetry` and `policy`, whose parts live on different floors,
/// by its second too.
const TABLE: &[(&str, &[&str])] = &[
    // The ground.
    ("time", &[]),
    ("hw", &[]),
    ("keyed", &["time"]),
    ("lru", &["time"]),
    ("telemetry::reasons", &[]),
    ("telemetry::counters", &["telemetry::reasons"]),
    ("burst", &["time", "telemetry::reasons"]),
    ("port", &["burst", "time", "telemetry::reasons", "telemetry::counters", "hw"]),
    // Policy is data, and knows nothing of traffic.
    ("policy::learnt", &[]),
    ("policy::endpoint", &["policy::learnt"]),
    ("policy::prefixes", &["policy::endpoint"]),
    ("policy::rules", &["policy::snapshot", "time"]),
    ("policy::snapshot", &["policy::endpoint", "policy::prefixes", "policy::rules", "time"]),
    ("policy::handoff", &["policy::snapshot"]),
    ("policy", &[]),
    // What is told, in words of the ground and of policy.
    ("telemetry::names", &["burst"]),
    ("telemetry::fingerprints", &["burst"]),
    ("telemetry::latency", &["time"]),
    ("telemetry::grounds", &[]),
    (
        "telemetry::event",
        &["burst", "keyed", "time", "policy::snapshot", "telemetry::grounds", "telemetry::names"],
    ),
    (
        "telemetry::line",
        &[
            "burst",
            "time",
            "policy::snapshot",
            "telemetry::event",
            "telemetry::fingerprints",
            "telemetry::grounds",
            "telemetry::names",
        ],
    ),
    ("telemetry::ledger", &["telemetry::event", "telemetry::line"]),
    ("telemetry::settle", &["time", "telemetry::event"]),
    ("telemetry", &[]),
    // The pipeline, in its order: each stage knows those before it.
    (
        "parse",
        &[
            "burst",
            "time",
            "telemetry::reasons",
            "telemetry::counters",
            // What was computed once is kept where a reader finds it.
            "telemetry::fingerprints",
        ],
    ),
    (
        "flow",
        &[
            "burst",
            "hw",
            "time",
            // A flow's entry holds the walk of its two streams (docs/decisions/0001).
            "parse",
            "policy::snapshot",
            "telemetry",
            "telemetry::reasons",
            "telemetry::counters",
            "telemetry::event",
            "telemetry::names",
        ],
    ),
    (
        "classify",
        &["burst", "flow", "time", "policy::snapshot", "telemetry::event", "telemetry::names"],
    ),
    (
        "exchange",
        &["burst", "flow", "lru", "time", "policy::learnt", "policy::snapshot", "telemetry::event"],
    ),
    (
        "detect",
        &[
            "burst",
            "flow",
            "exchange",
            "keyed",
            "lru",
            "time",
            "policy::endpoint",
            "policy::learnt",
            "policy::snapshot",
            "telemetry::event",
            "telemetry::grounds",
        ],
    ),
    (
        "decide",
        &[
            "burst",
            "detect",
            "exchange",
            "flow",
            "keyed",
            "lru",
            "time",
            "policy::rules",
            "policy::snapshot",
            "telemetry::event",
            "telemetry::grounds",
        ],
    ),
    (
        "act",
        &[
            "burst",
            "decide",
            "flow",
            "time",
            "policy::rules",
            "telemetry::counters",
            "telemetry::event",
            "telemetry::reasons",
        ],
    ),
    // An lcore's report has a word of the last stage and of the port: it stands above both.
    (
        "telemetry::report",
        &["telemetry::latency", "decide", "port", "policy::learnt", "policy::snapshot", "time"],
    ),
    (
        "lcore",
        &[
            "act",
            "burst",
            "classify",
            "decide",
            "detect",
            "exchange",
            "flow",
            "keyed",
            "parse",
            "policy::handoff",
            "policy::learnt",
            "policy::snapshot",
            "port",
            "time",
            "telemetry",
            "telemetry::counters",
            "telemetry::event",
            "telemetry::fingerprints",
            "telemetry::latency",
            "telemetry::names",
            "telemetry::report",
        ],
    ),
    // Around the loop.
    ("ipc", &["policy::learnt", "policy::snapshot", "telemetry::ledger", "telemetry::line"]),
    ("config", &["ipc", "lcore", "policy::endpoint", "policy::snapshot"]),
    (
        "replay",
        &[
            "keyed",
            "lcore",
            "port",
            "time",
            "policy::handoff",
            "policy::learnt",
            "policy::snapshot",
            "telemetry",
            "telemetry::event",
            "telemetry::settle",
        ],
    ),
    (
        "supervisor",
        &[
            // How the laws stand is told as it is.
            "decide",
            "ipc",
            "lcore",
            "port",
            "policy::endpoint",
            "policy::handoff",
            "policy::learnt",
            "policy::snapshot",
            "telemetry",
            "telemetry::event",
            "telemetry::ledger",
            "telemetry::line",
            "telemetry::reasons",
            "telemetry::report",
        ],
    ),
];

/// Parents whose parts are modules of the table.
const SPLIT: [&str; 2] = ["telemetry", "policy"];

/// An edge, and where it was met.
type Edge = (String, String, String, usize);

/// Edges that the table does not have, and entries of the table that no code uses.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    for (from, to, path, line) in sources.iter().flat_map(edges) {
        let allowed = TABLE.iter().find(|(module, _)| *module == from);
        if allowed.is_some_and(|(_, modules)| modules.contains(&to.as_str())) {
            used.insert((from, to));
        } else {
            let what = format!("`{from}` uses `crate::{to}`: no such edge in tidy's table");
            findings.push(Finding::new(&path, line, what));
        }
    }
    for (from, modules) in TABLE {
        for to in *modules {
            if !used.contains(&((*from).to_owned(), (*to).to_owned())) {
                let what = format!("nobody uses the edge `{from}` to `{to}` any more");
                findings.push(Finding::new("tests/tests/tidy/edges.rs", 1, what));
            }
        }
    }
    findings
}

/// The edges of one file of the data plane's library.
fn edges(source: &Source) -> Vec<Edge> {
    let Some(inside) = source.path.strip_prefix("fastpath/src/") else { return Vec::new() };
    if inside == "lib.rs" || inside == "main.rs" || source.is_test() {
        return Vec::new();
    }
    let file = inside.trim_end_matches(".rs").trim_end_matches("/mod");
    let place: Vec<String> = file.split('/').map(str::to_owned).collect();
    let mut edges = Edges { source, from: module(&place), place, found: Vec::new() };
    edges.visit_file(&source.syntax);
    edges.found
}

/// The module of the table that a path from the crate's root lies in.
fn module(place: &[String]) -> String {
    match place {
        [first, second, ..] if SPLIT.contains(&first.as_str()) && is_module(second) => {
            format!("{first}::{second}")
        }
        [first, ..] => first.clone(),
        [] => String::new(),
    }
}

/// Types are no modules: `telemetry::Totals` is of `telemetry`.
fn is_module(name: &str) -> bool {
    name.chars().all(|c| c.is_lowercase() || c == '_' || c.is_numeric())
}

struct Edges<'a> {
    source: &'a Source,
    from: String,
    /// Where the code stands now, from the crate's root.
    place: Vec<String>,
    found: Vec<Edge>,
}

impl Edges<'_> {
    /// Resolves `crate::`, `self::` and `super::`; other paths name other crates or what a `use`
    /// has named.
    fn path(&mut self, words: &[String], line: usize) {
        let supers = words.iter().take_while(|word| *word == "super").count();
        let whole: Vec<String> = match words.first().map(String::as_str) {
            Some("crate") => words[1..].to_vec(),
            Some("super") if supers <= self.place.len() => {
                let above = &self.place[..self.place.len() - supers];
                above.iter().chain(&words[supers..]).cloned().collect()
            }
            _ => return,
        };
        let to = module(&whole);
        // A parent re-exports its parts, and parts may use what their parent defines.
        if !to.is_empty() && to != self.from && !self.from.starts_with(&format!("{to}::")) {
            self.found.push((self.from.clone(), to, self.source.path.clone(), line));
        }
    }

    fn use_tree(&mut self, tree: &syn::UseTree, words: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                words.push(path.ident.to_string());
                self.use_tree(&path.tree, words);
                words.pop();
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.use_tree(tree, words));
            }
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                let mut whole = words.clone();
                if ident != "self" {
                    whole.push(ident.to_string());
                }
                self.path(&whole, line(ident.span()));
            }
            syn::UseTree::Glob(glob) => self.path(words, line(glob.star_token.spans[0])),
        }
    }
}

impl<'ast> Visit<'ast> for Edges<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_code(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.place.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.place.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.path(&words, line(first.ident.span()));
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// New edges of a file, without what is said of the table.
    fn said(path: &str, text: &str) -> Vec<String> {
        let findings = check(&[Source::read(path, text)]);
        let new = findings.iter().filter(|finding| finding.path == path);
        new.map(Finding::to_string).collect()
    }

    #[test]
    fn an_edge_of_the_table_is_none_to_tell_of() {
        let text = "use crate::burst::Packets;\nuse crate::{flow::table::FlowTable, time::Nanos};";
        assert_eq!(said("fastpath/src/exchange/h1.rs", text), [""; 0]);
    }

    #[test]
    fn an_edge_against_the_stream_is_found_however_it_is_written() {
        for text in [
            "use crate::decide::budget::Budget;",
            "use crate::{burst, decide};",
            "fn f() { crate::decide::f() }",
            "use super::super::decide::f;",
            "fn f(a: crate::decide::A) {}",
        ] {
            let said = said("fastpath/src/parse/tls.rs", text);
            assert_eq!(said.len(), 1, "{text}: {said:?}");
            assert!(said[0].contains(":1: `parse` uses `crate::decide`"), "{}", said[0]);
        }
    }

    #[test]
    fn parts_of_telemetry_have_edges_of_their_own() {
        assert_eq!(
            said("fastpath/src/burst/mod.rs", "use crate::telemetry::reasons::DropReason;").len(),
            0
        );
        assert_eq!(
            said("fastpath/src/burst/mod.rs", "use crate::telemetry::event::Event;").len(),
            1
        );
        assert_eq!(said("fastpath/src/burst/mod.rs", "use crate::telemetry::Totals;").len(), 1);
    }

    #[test]
    fn tests_may_use_what_they_like() {
        let text = "#[cfg(test)] mod tests { use crate::decide::f; }";
        assert_eq!(said("fastpath/src/parse/tls.rs", text), [""; 0]);
    }

    #[test]
    fn a_stale_entry_of_the_table_is_found() {
        let said: Vec<String> = check(&[]).iter().map(Finding::to_string).collect();
        assert!(said.iter().any(|line| line.contains("nobody uses the edge `lcore` to `act`")));
    }
}
