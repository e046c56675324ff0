//! Attempts over time above, wasted seconds below, on one axis of time.

use fastpath::telemetry::event::Waste;

use super::{Anchor, Svg, WIDTH, ticks};
use crate::figures;
use crate::report::terminal::waste_text;
use crate::report::timeline::Step;

const LEFT: f64 = 52.0;
const RIGHT: f64 = 12.0;
const ATTEMPTS: (f64, f64) = (26.0, 150.0);
const WASTE: (f64, f64) = (222.0, 110.0);
const HEIGHT: f64 = 364.0;

/// The class of a waste's shapes.
pub(in crate::report) const fn waste_class(waste: Waste) -> &'static str {
    match waste {
        Waste::Retry => "w-retry",
        Waste::LateAbort => "w-abort",
        Waste::Partial => "w-partial",
        Waste::Orphan => "w-orphan",
        Waste::Thrash => "w-thrash",
        Waste::Doomed => "w-doomed",
        Waste::Hedge => "w-hedge",
    }
}

/// The chart of `steps`, each `step_seconds` long.
pub(in crate::report) fn chart(steps: &[Step], step_seconds: f64) -> String {
    let attempts = steps.iter().map(|s| s.first_attempts + s.retries);
    let most = attempts.clone().max().unwrap_or(0);
    let description = format!(
        "{} attempts in {} steps of {}; at most {most} began in one step.",
        attempts.sum::<u64>(),
        steps.len(),
        figures::duration(step_seconds)
    );
    let mut svg = Svg::new(HEIGHT, "Attempts and waste over time", &description);
    let every = figures::duration(step_seconds);
    svg.text("panel", (LEFT, 14.0), Anchor::Start, &format!("Attempts begun, every {every}"));
    svg.text("panel", (LEFT, 210.0), Anchor::Start, "Seconds wasted by them");
    let top = axis(&mut svg, ATTEMPTS, most as f64);
    let waste = steps.iter().map(Step::wasted_seconds).fold(0.0, f64::max);
    let waste_top = axis(&mut svg, WASTE, waste);
    let slot = (WIDTH - LEFT - RIGHT) / steps.len().max(1) as f64;
    let width = (slot * 0.86).min(40.0);
    for (i, step) in steps.iter().enumerate() {
        let x = LEFT + slot * (i as f64 + 0.5) - width / 2.0;
        let time = figures::clock(step.time);
        let parts = [
            (
                "a-first",
                step.first_attempts as f64,
                format!("{time}: {} first attempts", step.first_attempts),
            ),
            ("a-retry", step.retries as f64, format!("{time}: {} retries", step.retries)),
        ];
        stack(&mut svg, (x, width), ATTEMPTS, top, &parts);
        let parts = Waste::ALL.map(|class| {
            let wasted = step.wasted.get(&class).copied().unwrap_or_default();
            let hint = format!(
                "{time}: {} in {} {}",
                figures::duration(wasted.seconds),
                figures::counted(wasted.exchanges, "attempt", "attempts"),
                waste_text(class)
            );
            (waste_class(class), wasted.seconds, hint)
        });
        stack(&mut svg, (x, width), WASTE, waste_top, &parts);
    }
    times(&mut svg, steps, step_seconds, slot);
    svg.finish()
}

/// Marks and lines of one panel; gives the value at its top.
fn axis(svg: &mut Svg, (y, height): (f64, f64), max: f64) -> f64 {
    let marks = ticks(max, 4.0);
    let top = marks.last().copied().unwrap_or(1.0);
    for mark in &marks {
        let at = y + height - height * mark / top;
        svg.line("grid", (LEFT, at), (WIDTH - RIGHT, at));
        let text = if top < 5.0 && top.fract() != 0.0 || marks.iter().any(|m| m.fract() != 0.0) {
            format!("{mark:.1}")
        } else {
            format!("{mark:.0}")
        };
        svg.text("tick", (LEFT - 8.0, at + 4.0), Anchor::End, &text);
    }
    top
}

fn stack(
    svg: &mut Svg,
    (x, width): (f64, f64),
    (y, height): (f64, f64),
    top: f64,
    parts: &[(&str, f64, String)],
) {
    let mut base = y + height;
    for (class, value, hint) in parts {
        let tall = height * value / top;
        svg.rect(class, (x, base - tall), (width, tall), hint);
        base -= tall;
    }
}

/// Times of day below, about seven of them.
fn times(svg: &mut Svg, steps: &[Step], step_seconds: f64, slot: f64) {
    let every = steps.len().div_ceil(7).max(1);
    let span = step_seconds * steps.len() as f64;
    for (i, step) in steps.iter().enumerate().step_by(every) {
        let x = LEFT + slot * i as f64;
        svg.line("mark", (x, WASTE.0 + WASTE.1), (x, WASTE.0 + WASTE.1 + 5.0));
        let clock = figures::clock(step.time);
        let text = match span {
            days if days > 300.0 * 86_400.0 => figures::utc(step.time)[..10].to_owned(),
            days if days > 86_400.0 => figures::utc(step.time)[5..16].to_owned(),
            _ if step_seconds < 1.0 => clock[..10].to_owned(),
            _ => clock[..8].to_owned(),
        };
        let anchor = if i == 0 { Anchor::Start } else { Anchor::Middle };
        svg.text("tick", (x, WASTE.0 + WASTE.1 + 20.0), anchor, &text);
    }
}
