//! Where things stand: the line of every field of a document, by its path.
//!
//! Read only when something is to be said of a document that could be parsed: what could not is told
//! by the parser, with its own position.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A document's fields with their lines.
#[derive(Debug)]
pub(super) struct Places(Option<Node>);

#[derive(Debug)]
struct Node {
    line: u64,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Map(Vec<(String, u64, Node)>),
    List(Vec<Node>),
    Scalar,
}

impl Places {
    /// The places of a document.
    pub(super) fn of(text: &str) -> Self {
        Self(serde_saphyr::from_str(text).ok())
    }

    /// The line of `path`, as in `spec.hosts[1]`; where it does not stand, of the nearest above it.
    pub(super) fn line(&self, path: &str) -> Option<u64> {
        let mut node = self.0.as_ref()?;
        let mut line = node.line;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match &node.inner {
                Inner::Map(fields) => {
                    let field = fields.iter().find(|(name, ..)| name == step);
                    field.map(|(_, line, node)| (*line, node))
                }
                Inner::List(items) => {
                    let index = step.trim_end_matches(']').parse::<usize>().ok();
                    let item = index.and_then(|index| items.get(index));
                    item.map(|node| (node.line, node))
                }
                Inner::Scalar => None,
            };
            let Some((at, below)) = next else { break };
            (line, node) = (at, below);
        }
        (line > 0).then_some(line)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Inner>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), inner: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InnerVisitor)
    }
}

struct InnerVisitor;

impl<'de> Visitor<'de> for InnerVisitor {
    type Value = Inner;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inner, A::Error> {
        let mut fields = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            fields.push((key.value, key.referenced.line(), map.next_value()?));
        }
        Ok(Inner::Map(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inner, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Inner::List(items))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Inner, E> {
        Ok(Inner::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Inner, E> {
        Ok(Inner::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Inner, E> {
        Ok(Inner::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Inner, E> {
        Ok(Inner::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Inner, E> {
        Ok(Inner::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Inner, E> {
        Ok(Inner::Scalar)
    }

    fn visit_none<E>(self) -> Result<Inner, E> {
        Ok(Inner::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Inner, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Inner::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_the_line_it_stands_in_and_one_that_is_missing_that_of_its_parent() {
        let text =
            "\n\nkind: A\nspec:\n  hosts: [a, b]\n  prefixes:\n    - 10.0.0.0/8\n    - ::/0\n";
        let places = Places::of(text);
        for (path, line) in [
            ("kind", 3),
            ("spec", 4),
            ("spec.hosts[1]", 5),
            ("spec.prefixes[1]", 8),
            ("spec.ports", 4),
            ("spec.hosts[9].deeper", 5),
        ] {
            assert_eq!(places.line(path), Some(line), "{path}");
        }
        assert_eq!(Places::of("[").line("kind"), None);
    }
}
