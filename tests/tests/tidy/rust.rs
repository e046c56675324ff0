//! Rules about one Rust file: sizes, documents, leftovers, and what only certain places may do.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Finding;
use crate::source::{Source, attributes, is_test_code, line};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

/// The places that may hold `unsafe` (docs/architecture.md).
const UNSAFE_IN: [&str; 3] = ["dpdk-sys/", "fastpath/src/port/dpdk/", "fastpath/src/hw.rs"];
/// Who may name the raw bindings.
const DPDK_SYS_IN: [&str; 2] = ["dpdk-sys/", "fastpath/src/port/dpdk/"];
/// Who may start threads in the data plane.
const SPAWN_IN: [&str; 2] = ["fastpath/src/supervisor.rs", "fastpath/src/supervisor/"];
/// Who may look at the bytes of a frame: ports, which move them, and `parse`. `act` will, when it
/// rewrites.
const PAYLOAD_IN: [&str; 3] = ["fastpath/src/parse/", "fastpath/src/port/", "fastpath/src/act/"];
/// The methods that give bytes of a frame away.
const PAYLOAD_METHODS: [&str; 4] = ["payload", "split", "split_mut", "drain"];

/// Checks a file by every rule.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut rules = Rules { source, findings: Vec::new(), test: source.is_test() };
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        rules.find(lines, format!("{lines} lines in a file, limit {FILE_LINES_MAX}"));
    }
    if !source.text.trim_start().starts_with("//!") {
        rules.find(1, "the file does not open with `//!`");
    }
    for (number, text) in source.text.lines().enumerate() {
        // Comments are no syntax. The word is put together so that this line is none of its own
        // findings.
        if text.contains(concat!("FIX", "ME")) || text.contains(concat!("XX", "X")) {
            rules.find(number + 1, "a note of unfinished work; finish it or write an issue");
        }
    }
    rules.visit_file(&source.syntax);
    rules.findings
}

struct Rules<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
    /// Inside test code.
    test: bool,
}

impl Rules<'_> {
    fn find(&mut self, line: usize, what: impl Into<String>) {
        self.findings.push(Finding::new(&self.source.path, line, what));
    }

    /// A function of this many lines, signature and closing brace included.
    fn size(&mut self, name: &syn::Ident, span: proc_macro2::Span) {
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES_MAX {
            self.find(
                line(span),
                format!("`{name}` has {lines} lines, limit {FUNCTION_LINES_MAX}"),
            );
        }
    }

    fn unsafe_at(&mut self, span: proc_macro2::Span) {
        if !UNSAFE_IN.iter().any(|place| self.source.is_in(place)) {
            self.find(line(span), format!("`unsafe` outside {}", UNSAFE_IN.join(", ")));
        }
    }

    fn path(&mut self, words: &[String], at: usize) {
        let starts = |start: &[&str]| {
            words.iter().map(String::as_str).take(start.len()).eq(start.iter().copied())
        };
        if starts(&["dpdk_sys"]) && !DPDK_SYS_IN.iter().any(|place| self.source.is_in(place)) {
            self.find(at, format!("`dpdk_sys` named outside {}", DPDK_SYS_IN.join(", ")));
        }
        if !self.source.is_in("fastpath/src/") {
            return;
        }
        if starts(&["control"]) {
            self.find(at, "the data plane names `control`");
        }
        let is_main = self.source.is_in("fastpath/src/main.rs");
        if starts(&["std", "env"]) && !is_main && !self.test {
            self.find(at, "arguments or environment read outside main.rs");
        }
        let spawns = starts(&["std", "thread", "spawn"]) || starts(&["thread", "spawn"]);
        if spawns && !self.may_spawn() {
            self.find(at, format!("a thread started outside {}", SPAWN_IN.join(", ")));
        }
    }

    fn may_spawn(&self) -> bool {
        self.test || SPAWN_IN.iter().any(|place| self.source.is_in(place))
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
            syn::UseTree::Name(name) => self.used(&name.ident, words),
            syn::UseTree::Rename(rename) => self.used(&rename.ident, words),
            syn::UseTree::Glob(glob) => self.path(words, line(glob.span())),
        }
    }

    fn used(&mut self, name: &syn::Ident, words: &[String]) {
        let whole: Vec<String> = words.iter().cloned().chain([name.to_string()]).collect();
        self.path(&whole, line(name.span()));
    }
}

impl<'ast> Visit<'ast> for Rules<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let outside = self.test;
        self.test |= is_test_code(attributes(item));
        visit::visit_item(self, item);
        self.test = outside;
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.size(&function.sig.ident, function.span());
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.size(&function.sig.ident, function.span());
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.size(&function.sig.ident, function.span());
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(word) = &signature.unsafety {
            self.unsafe_at(word.span());
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.unsafe_at(block.unsafe_token.span());
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(word) = &item.unsafety {
            self.unsafe_at(word.span());
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if let Some(word) = &item.unsafety {
            self.unsafe_at(word.span());
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("ignore") {
            self.find(
                line(attribute.span()),
                "`#[ignore]`: assert today's answer with a note instead",
            );
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().map(|segment| segment.ident.to_string());
        if let Some(name @ ("todo" | "unimplemented" | "dbg")) = name.as_deref() {
            self.find(line(call.span()), format!("`{name}!` is unfinished work"));
        }
        visit::visit_macro(self, call);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(&words, line(path.span()));
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let name = call.method.to_string();
        let at = line(call.method.span());
        if name == "spawn" && self.source.is_in("fastpath/src/") && !self.may_spawn() {
            self.find(at, format!("a thread started outside {}", SPAWN_IN.join(", ")));
        }
        let outside = self.source.is_in("fastpath/src/")
            && !self.test
            && !PAYLOAD_IN.iter().any(|place| self.source.is_in(place))
            && !self.source.is_in("fastpath/src/burst/");
        if outside && gives_payload(call, &name) {
            self.find(at, format!("`{name}` of a frame outside {}", PAYLOAD_IN.join(", ")));
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// `frame.bytes()`, `headers.payload()`, `burst.split()`: by the receiver's name where the method's
/// is a common one.
fn gives_payload(call: &syn::ExprMethodCall, method: &str) -> bool {
    let receiver = match &*call.receiver {
        syn::Expr::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        syn::Expr::Field(field) => match &field.member {
            syn::Member::Named(name) => Some(name.to_string()),
            syn::Member::Unnamed(_) => None,
        },
        _ => None,
    };
    let receiver = receiver.unwrap_or_default();
    match method {
        "payload" => true,
        "bytes" => receiver.contains("frame") || receiver.contains("buffer"),
        other => PAYLOAD_METHODS.contains(&other) && receiver.contains("burst"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the rules say of this text at this path, without the file's own document.
    fn said(path: &str, text: &str) -> String {
        let findings = check(&Source::read(path, &format!("//! x\n{text}")));
        findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("; ")
    }

    const LOOP: &str = "fastpath/src/detect/retry.rs";

    #[test]
    fn sound_code_has_no_finding() {
        let text = "// unsafe, todo! in a comment\nfn f() -> &'static str { \"std::env todo!()\" }";
        assert_eq!(said(LOOP, text), "");
    }

    #[test]
    fn a_function_of_71_lines_is_one_too_long() {
        let body = |lines: usize| format!("fn long() {{\n{}}}", "a();\n".repeat(lines - 2));
        assert_eq!(said(LOOP, &body(70)), "");
        assert!(said(LOOP, &body(71)).contains("`long` has 71 lines, limit 70"));
        let method = format!("impl A {{\n{}\n}}", body(71));
        assert!(said(LOOP, &method).contains("`long` has 71 lines"));
    }

    #[test]
    fn a_file_of_801_lines_is_one_too_long() {
        assert_eq!(said(LOOP, &"// x\n".repeat(799)), "");
        assert!(said(LOOP, &"// x\n".repeat(800)).contains("801 lines in a file, limit 800"));
    }

    #[test]
    fn a_file_without_a_document_is_found() {
        let findings = check(&Source::read(LOOP, "// no document\nfn f() {}"));
        assert_eq!(findings[0].to_string(), format!("{LOOP}:1: the file does not open with `//!`"));
    }

    #[test]
    fn leftovers_are_found() {
        for text in ["fn f() { todo!() }", "fn f() { unimplemented!() }", "fn f() { dbg!(1); }"] {
            assert!(said(LOOP, text).contains("unfinished work"), "{text}");
        }
        assert!(said(LOOP, concat!("// FIX", "ME: later")).contains(":2: a note"));
        assert!(said("control/src/x.rs", "#[test]\n#[ignore]\nfn f() {}").contains("#[ignore]"));
    }

    #[test]
    fn unsafe_is_found_outside_its_three_places() {
        for text in ["fn f() { unsafe { g() } }", "unsafe fn f() {}", "unsafe impl Send for A {}"] {
            assert!(said(LOOP, text).contains(":2: `unsafe` outside"), "{text}");
            assert!(said("tests/tests/x.rs", text).contains("`unsafe` outside"), "{text}");
            assert_eq!(said("fastpath/src/hw.rs", text), "");
            assert_eq!(said("fastpath/src/port/dpdk/eal.rs", text), "");
        }
    }

    #[test]
    fn the_bindings_are_named_by_the_dpdk_port_only() {
        for text in ["use dpdk_sys::rte_eal_init;", "fn f() { dpdk_sys::rte_eal_init() }"] {
            assert!(said("fastpath/src/port/mod.rs", text).contains("`dpdk_sys` named"), "{text}");
            assert_eq!(said("fastpath/src/port/dpdk/eal.rs", text), "");
        }
    }

    #[test]
    fn only_main_reads_arguments_and_environment() {
        for text in
            ["fn f() { std::env::var(\"A\"); }", "use std::{env, fs};", "use std::env::args;"]
        {
            assert!(said(LOOP, text).contains("outside main.rs"), "{text}");
            assert_eq!(said("fastpath/src/main.rs", text), "");
        }
        assert_eq!(said(LOOP, "#[cfg(test)] mod tests { fn f() { std::env::temp_dir(); } }"), "");
    }

    #[test]
    fn only_the_supervisor_starts_threads() {
        for text in ["fn f() { std::thread::spawn(g); }", "fn f() { Builder::new().spawn(g); }"] {
            assert!(said("fastpath/src/lcore.rs", text).contains("a thread started"), "{text}");
            assert_eq!(said("fastpath/src/supervisor/socket.rs", text), "");
        }
    }

    #[test]
    fn the_data_plane_does_not_name_the_control_plane() {
        assert!(said(LOOP, "use control::policy;").contains("names `control`"));
        assert_eq!(said("control/src/cli.rs", "use control::policy;"), "");
    }

    #[test]
    fn payload_is_read_in_parse_only() {
        for text in [
            "fn f() { frame.bytes()[headers.payload()].len() }",
            "fn f() { self.frame.bytes() }",
            "fn f() { burst.split() }",
        ] {
            assert!(said(LOOP, text).contains("of a frame outside"), "{text}");
            assert_eq!(said("fastpath/src/parse/tls.rs", text), "");
        }
        assert_eq!(said(LOOP, "fn f() { name.bytes().all(g); text.split(',') }"), "");
    }
}
