//! The first page: what was wasted, why, what a policy would have saved, and what to do next.

use std::fmt::Write as _;

use crate::figures;
use crate::output::clean;
use crate::report::chart::{escape, figure};
use crate::report::naming::Naming;
use crate::report::terminal::waste_text;
use crate::report::wording;
use crate::report::{Report, causes::Cause};

/// Causes on the first page; `report.json` has more.
const CAUSES_SHOWN: usize = 3;

/// The coordination tax: tokens, time, money; below it what was asked for and sent.
pub(super) fn tax(out: &mut String, report: &Report) {
    let (totals, waste) = (&report.totals, &report.waste);
    let bad = if waste.exchanges > 0 { "bad" } else { "" };
    out.push_str("<section class=\"tiles tax\" aria-label=\"Coordination tax\">");
    for figure in wording::tax(report) {
        tile(out, bad, figure.name, &figure.value, &figure.remark);
    }
    out.push_str("</section><section class=\"tiles\" aria-label=\"Calls and attempts\">");
    let ratio = format!("{} a call", figures::times(totals.amplification));
    let share = format!("{} of all attempts", figures::percent(waste.exchanges, totals.attempts));
    tile(out, "", "Calls", &figures::count(totals.first_attempts), "work somebody wanted done");
    tile(out, "", "Attempts", &figures::count(totals.attempts), &ratio);
    tile(out, bad, "Wasted attempts", &figures::count(waste.exchanges), &share);
    out.push_str("</section>");
    if let Some(unseen) = wording::unseen(report) {
        let _ = write!(out, "<p class=\"unseen\"><strong>Unseen:</strong> {}</p>", escape(&unseen));
    }
}

fn tile(out: &mut String, class: &str, name: &str, figure: &str, remark: &str) {
    let _ = write!(
        out,
        "<div class=\"tile {class}\"><span class=\"tile-name\">{name}</span>\
         <span class=\"tile-figure\">{}</span><span class=\"tile-remark\">{}</span></div>",
        escape(figure),
        escape(remark)
    );
}

/// The worst causes, each with its evidence and what to do about it.
pub(super) fn causes(out: &mut String, report: &Report) {
    let shown = &report.causes[..report.causes.len().min(CAUSES_SHOWN)];
    let title = match shown.len() {
        0 => "No cause of waste was seen",
        1 => "The cause",
        2 => "The two causes",
        _ => "The three worst causes",
    };
    let _ = write!(out, "<section><h2>{title}</h2>");
    if shown.is_empty() {
        out.push_str(
            "<p class=\"none\">No attempt was wasted, as far as it can be seen.</p></section>",
        );
        return;
    }
    out.push_str("<ol class=\"causes\">");
    for (cause, advice) in shown.iter().zip(wording::advice(shown)) {
        cause_item(out, report, cause, advice);
    }
    out.push_str("</ol></section>");
}

fn cause_item(out: &mut String, report: &Report, cause: &Cause, advice: Option<&str>) {
    let _ = write!(
        out,
        "<li><h3>{}: {}</h3><p class=\"figures\">{}</p><p>{}</p><p class=\"evidence\">Evidence: ",
        escape(&clean(&cause.endpoint)),
        waste_text(cause.waste),
        escape(&wording::cause_figures(cause)),
        escape(&wording::cause_place(cause)),
    );
    for (n, evidence) in cause.evidence.iter().enumerate() {
        let comma = if n > 0 { ", " } else { "" };
        let _ = write!(
            out,
            "{comma}<code>{}</code>",
            escape(&wording::evidence(report, evidence, Naming::Short))
        );
    }
    if let Some(command) = wording::explain_command(report, cause, Naming::Short) {
        let _ = write!(out, "; see <code>{}</code>", escape(&command));
    }
    out.push_str(".</p>");
    if let Some(advice) = advice {
        let _ = write!(out, "<p class=\"advice\">{}</p>", escape(advice));
    }
    out.push_str("</li>");
}

/// What each law would have prevented.
pub(super) fn prevented(out: &mut String, report: &Report) {
    out.push_str("<section><h2>What a policy would have saved</h2>");
    let savings = wording::savings(report);
    if savings.is_empty() {
        let _ = write!(
            out,
            "<p class=\"none\">{}</p></section>",
            escape(&wording::nothing_prevented(report))
        );
        return;
    }
    out.push_str(
        "<p class=\"lead\">Likely, and from what to what: each law by itself, so they do not add up. In shadow: nothing \
         was held.</p><div class=\"scroll\"><table><thead><tr><th scope=\"col\">Law</th><th scope=\"col\">Attempts</th>\
         <th scope=\"col\">Time</th><th scope=\"col\">Tokens</th><th scope=\"col\">Money</th></tr></thead><tbody>",
    );
    for (law, saving) in &savings {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(law),
            figure(&figures::range(saving.exchanges.0, figures::tokens)),
            figure(&figures::range(saving.seconds.0, figures::duration)),
            figure(&figures::range(saving.tokens.0, figures::tokens)),
            figure(&wording::money(saving.tokens, saving.cost)),
        );
    }
    out.push_str("</tbody></table></div></section>");
}

/// What to do next.
pub(super) fn next(out: &mut String, report: &Report) {
    out.push_str("<section><h2>What to do next</h2><ol class=\"next\">");
    for step in wording::next_steps(report, Naming::Short) {
        let _ = write!(out, "<li>{}", escape(&step.text));
        if let Some(command) = &step.command {
            let _ = write!(out, "<br><code>{}</code>", escape(command));
        }
        out.push_str("</li>");
    }
    out.push_str("</ol></section>");
}
