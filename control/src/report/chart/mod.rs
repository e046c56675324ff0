//! Charts as SVG text: rectangles, lines and words, styled by the page's style sheet.
//!
//! No chart knows colours: a shape has a class, so that light, dark and print are the sheet's
//! business. Everything that is written passes [`escape`].

pub(super) mod bars;
pub(super) mod columns;
pub(super) mod pattern;
pub(super) mod spread;
pub(super) mod timeline;

use std::fmt::Write as _;

/// Width of every chart, in its own units.
pub(crate) const WIDTH: f64 = 960.0;

/// An SVG under construction.
#[derive(Debug)]
pub(crate) struct Svg {
    body: String,
    height: f64,
}

/// Which side of its place a word stands on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty chart of `height`, with the title and description that screen readers read.
    pub(crate) fn new(height: f64, title: &str, description: &str) -> Self {
        let mut body = String::new();
        let _ =
            write!(body, "<title>{}</title><desc>{}</desc>", escape(title), escape(description));
        Self { body, height }
    }

    /// A rectangle; `hint` is shown when a pointer rests on it.
    pub(super) fn rect(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64), hint: &str) {
        if w <= 0.0 || h <= 0.0 {
            return;
        }
        let _ = write!(
            self.body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\"><title>{}</title></rect>",
            escape(hint)
        );
    }

    /// A straight line.
    pub(crate) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = write!(
            self.body,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    /// A word at its base line.
    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escape(text)
        );
    }

    /// A path.
    pub(crate) fn path(&mut self, class: &str, d: &str, hint: &str) {
        let _ = write!(
            self.body,
            "<path class=\"{class}\" d=\"{d}\"><title>{}</title></path>",
            escape(hint)
        );
    }

    /// The finished element.
    pub(crate) fn finish(self) -> String {
        format!(
            "<div class=\"scroll\"><svg role=\"img\" viewBox=\"0 0 {WIDTH} {:.0}\" class=\"chart\">{}</svg></div>",
            self.height, self.body
        )
    }
}

/// A legend: what each class of shapes means.
pub(crate) fn legend(entries: &[(&str, &str)]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for (class, text) in entries {
        let _ = write!(
            out,
            "<li><svg class=\"swatch\" viewBox=\"0 0 16 16\" aria-hidden=\"true\"><rect class=\"{class}\" \
             width=\"16\" height=\"16\"/></svg>{}</li>",
            escape(text)
        );
    }
    out + "</ul>"
}

/// Text for HTML and SVG, in content and in attributes. What would be obeyed becomes U+FFFD. A per
/// cent sign stays beside its number.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ' ' if chars.peek() == Some(&'%') => out.push_str("&nbsp;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if crate::output::is_obeyed(c) => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

/// A figure for HTML: it may break before its range, and nowhere else.
pub(super) fn figure(text: &str) -> String {
    let parts: Vec<String> =
        text.split(" (").map(|part| escape(part).replace(' ', "&nbsp;")).collect();
    parts.join(" (")
}

/// A name short enough for a label of `chars` characters.
pub(super) fn label(name: &str, chars: usize) -> String {
    if name.chars().count() <= chars {
        return name.to_owned();
    }
    name.chars().take(chars - 1).chain(['…']).collect()
}

/// Round marks from 0 to at least `max`, about `wanted` of them.
pub(crate) fn ticks(max: f64, wanted: f64) -> Vec<f64> {
    if max <= 0.0 || !max.is_finite() {
        return vec![0.0, 1.0];
    }
    let raw = max / wanted;
    let magnitude = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|&step| step >= raw);
    let step = step.unwrap_or(magnitude * 10.0);
    let mut marks = vec![0.0];
    while marks.last().is_some_and(|&last| last < max) {
        marks.push(marks.len() as f64 * step);
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_reach_the_top() {
        assert_eq!(ticks(7.0, 4.0), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(100.0, 4.0), [0.0, 50.0, 100.0]);
        assert_eq!(ticks(0.0, 4.0), [0.0, 1.0]);
    }

    #[test]
    fn a_figure_breaks_before_its_range_only() {
        assert_eq!(
            figure("2 min (84 s to <3 min)"),
            "2&nbsp;min (84&nbsp;s&nbsp;to&nbsp;&lt;3&nbsp;min)"
        );
    }

    #[test]
    fn nothing_that_means_something_to_html_is_left() {
        assert_eq!(escape("<a b='\"&\x1b"), "&lt;a b=&#39;&quot;&amp;\u{fffd}");
    }
}
