//! Rows of stacked bars, one for each endpoint or client.

use super::{Anchor, Svg, WIDTH, label, ticks};
use crate::figures;

/// One bar: its name, what its parts are, and a remark at its end.
#[derive(Debug)]
pub(in crate::report) struct Bar {
    pub(in crate::report) name: String,
    /// Class of the shape, how many, what they are.
    pub(in crate::report) parts: Vec<(&'static str, u64, &'static str)>,
    pub(in crate::report) remark: String,
}

const LEFT: f64 = 190.0;
const RIGHT: f64 = 150.0;
const ROW: f64 = 30.0;

/// The chart of `bars`.
pub(in crate::report) fn chart(title: &str, bars: &[Bar]) -> String {
    let sum = |bar: &Bar| bar.parts.iter().map(|part| part.1).sum::<u64>();
    let most = bars.iter().map(sum).max().unwrap_or(0);
    let marks = ticks(most as f64, 5.0);
    let top = marks.last().copied().unwrap_or(1.0);
    let height = ROW * bars.len() as f64 + 30.0;
    let description =
        format!("{} rows; the longest stands for {}.", bars.len(), figures::count(most));
    let mut svg = Svg::new(height, title, &description);
    let scale = (WIDTH - LEFT - RIGHT) / top;
    for mark in &marks {
        let x = LEFT + mark * scale;
        svg.line("grid", (x, 0.0), (x, height - 24.0));
        svg.text("tick", (x, height - 8.0), Anchor::Middle, &format!("{mark:.0}"));
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = ROW * i as f64 + 5.0;
        svg.text("name", (LEFT - 10.0, y + 15.0), Anchor::End, &label(&bar.name, 23));
        let mut x = LEFT;
        for (class, count, what) in &bar.parts {
            let wide = *count as f64 * scale;
            let hint = format!("{}: {} {what}", bar.name, figures::count(*count));
            svg.rect(class, (x, y), (wide, ROW - 10.0), &hint);
            x += wide;
        }
        svg.text("remark", (x + 8.0, y + 15.0), Anchor::Start, &bar.remark);
    }
    svg.finish()
}
