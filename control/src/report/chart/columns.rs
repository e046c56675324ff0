//! A distribution as columns.

use super::{Anchor, Svg, WIDTH, ticks};
use crate::figures;

const LEFT: f64 = 52.0;
const TOP: f64 = 22.0;
const TALL: f64 = 150.0;
const HEIGHT: f64 = 222.0;

/// The chart of `columns`: what each stands for, and how many.
pub(in crate::report) fn chart(title: &str, below: &str, columns: &[(String, u64)]) -> String {
    let most = columns.iter().map(|column| column.1).max().unwrap_or(0);
    let sum: u64 = columns.iter().map(|column| column.1).sum();
    let description = format!("{} columns over {}.", columns.len(), figures::count(sum));
    let mut svg = Svg::new(HEIGHT, title, &description);
    let marks = ticks(most as f64, 4.0);
    let top = marks.last().copied().unwrap_or(1.0);
    for mark in &marks {
        let y = TOP + TALL - TALL * mark / top;
        svg.line("grid", (LEFT, y), (WIDTH - 12.0, y));
        svg.text("tick", (LEFT - 8.0, y + 4.0), Anchor::End, &format!("{mark:.0}"));
    }
    // No fewer than six places, so that one column does not fill the chart.
    let slot = (WIDTH - LEFT - 12.0) / columns.len().max(6) as f64;
    let width = slot * 0.72;
    for (i, (name, count)) in columns.iter().enumerate() {
        let middle = LEFT + slot * (i as f64 + 0.5);
        let tall = TALL * *count as f64 / top;
        let hint = format!("{name} at once: {}", figures::count(*count));
        svg.rect("a-first", (middle - width / 2.0, TOP + TALL - tall), (width, tall), &hint);
        let above = format!("{} ({})", figures::count(*count), figures::percent(*count, sum));
        svg.text("remark", (middle, TOP + TALL - tall - 6.0), Anchor::Middle, &above);
        svg.text("name", (middle, TOP + TALL + 18.0), Anchor::Middle, name);
    }
    svg.text("tick", (LEFT + (WIDTH - LEFT) / 2.0, HEIGHT - 8.0), Anchor::Middle, below);
    svg.finish()
}
