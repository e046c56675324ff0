//! Fills that can be told apart without colour: each class of shapes has a colour and a pattern.

use std::fmt::Write as _;

/// What is drawn over the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Plain,
    Rising,
    Falling,
    Level,
    Upright,
    Dots,
    Grid,
    Rings,
}

/// The classes that the style sheet fills with `#p-CLASS`. Those of one chart differ.
const PATTERNS: [(&str, Mark); 21] = [
    ("a-first", Mark::Plain),
    ("a-retry", Mark::Rising),
    ("w-retry", Mark::Rising),
    ("w-abort", Mark::Falling),
    ("w-partial", Mark::Level),
    ("w-orphan", Mark::Upright),
    ("w-thrash", Mark::Dots),
    ("w-doomed", Mark::Rings),
    ("w-hedge", Mark::Grid),
    ("o-complete", Mark::Plain),
    ("o-failed", Mark::Rising),
    ("o-throttled", Mark::Dots),
    ("o-client", Mark::Falling),
    ("o-server", Mark::Level),
    ("o-truncated", Mark::Upright),
    ("o-stalled", Mark::Grid),
    ("o-connect", Mark::Rings),
    ("o-open", Mark::Plain),
    ("s-failure", Mark::Plain),
    ("s-retry", Mark::Rising),
    ("s-followed", Mark::Dots),
];

/// Side of a pattern's tile, in a chart's units.
const TILE: u32 = 8;

/// An element that shows nothing and holds all patterns.
pub(in crate::report) fn patterns() -> String {
    let mut out = String::from(
        "<svg class=\"patterns\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>",
    );
    for (class, mark) in PATTERNS {
        let _ = write!(
            out,
            "<pattern id=\"p-{class}\" width=\"{TILE}\" height=\"{TILE}\" patternUnits=\"userSpaceOnUse\">\
             <rect class=\"c-{class}\" width=\"{TILE}\" height=\"{TILE}\"/>{}</pattern>",
            mark.drawing()
        );
    }
    out + "</defs></svg>"
}

impl Mark {
    const fn drawing(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Rising => "<path class=\"ink\" d=\"M-2 2L2 -2M0 8L8 0M6 10L10 6\"/>",
            Self::Falling => "<path class=\"ink\" d=\"M-2 6L2 10M0 0L8 8M6 -2L10 2\"/>",
            Self::Level => "<path class=\"ink\" d=\"M0 2H8M0 6H8\"/>",
            Self::Upright => "<path class=\"ink\" d=\"M2 0V8M6 0V8\"/>",
            Self::Dots => {
                "<circle class=\"dot\" cx=\"2\" cy=\"2\" r=\"1.3\"/><circle class=\"dot\" cx=\"6\" cy=\"6\" r=\"1.3\"/>"
            }
            Self::Grid => "<path class=\"ink\" d=\"M0 4H8M4 0V8\"/>",
            Self::Rings => "<circle class=\"ink\" cx=\"4\" cy=\"4\" r=\"2.4\"/>",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_one_chart_differs_without_colour() {
        // Waste stands beside `o-complete` in the chart of clients.
        for chart in ["a-", "w-", "o-", "s-"] {
            let mut marks: Vec<Mark> = Vec::new();
            for (class, mark) in PATTERNS.into_iter().filter(|(class, _)| class.starts_with(chart))
            {
                // What still runs stands at the end of its bar, and pale.
                assert!(!marks.contains(&mark) || class == "o-open", "{class}");
                marks.push(mark);
            }
        }
        let waste = PATTERNS.iter().filter(|(class, _)| class.starts_with("w-"));
        assert!(waste.into_iter().all(|&(_, mark)| mark != Mark::Plain));
    }

    #[test]
    fn every_filled_class_of_the_style_sheet_has_its_pattern() {
        let sheet = include_str!("../html/page.css");
        for (class, _) in PATTERNS {
            assert!(sheet.contains(&format!(".{class} {{ fill: url(#p-{class}); }}")), "{class}");
            assert!(sheet.contains(&format!(".c-{class} {{ fill: var(--")), "{class}");
        }
    }
}
