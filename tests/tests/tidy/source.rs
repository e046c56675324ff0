//! One Rust file, read.

use proc_macro2::Span;

/// A file and its syntax.
pub(crate) struct Source {
    /// Relative to the root.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
}

impl Source {
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|e| {
            panic!("{path}:{}: cannot be read as Rust: {e}", e.span().start().line)
        });
        Self { path: path.to_owned(), text: text.to_owned(), syntax }
    }

    /// Whether it lies in this folder or is this file.
    pub(crate) fn is_in(&self, prefix: &str) -> bool {
        self.path.starts_with(prefix)
    }

    /// A file of tests only: there a test's liberties hold.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs") || self.is_in("tests/")
    }
}

/// `#[cfg(test)]`, `#[test]`: code that no binary has.
pub(crate) fn is_test_code(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().trim() == "test"
        }
        syn::Meta::NameValue(_) => false,
    })
}

/// The attributes of an item that can hold test code.
pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        _ => &[],
    }
}

pub(crate) fn line(span: Span) -> usize {
    span.start().line
}
