//! `fermata check`: is this host ready, is this deployment right? One line a finding, with the
//! mend.

mod host;
mod plane;

use std::path::Path;

use serde::Serialize;

use crate::cli::CheckArgs;
use crate::failure::{Done, Failure};
use crate::output::{self, Format, Paint};

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// As it should be.
    Ok,
    /// Works, but not as well as it could.
    Warn,
    /// Does not work.
    Fail,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at.
    name: &'static str,
    level: Level,
    /// What was found.
    message: String,
    /// How to mend it.
    mend: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, message: message.into(), mend: None }
    }

    fn warn(name: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, level: Level::Warn, message: message.into(), mend: Some(mend.into()) }
    }

    fn fail(name: &'static str, message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, level: Level::Fail, message: message.into(), mend: Some(mend.into()) }
    }
}

/// Looks at the host and at the data plane behind `socket`.
///
/// # Errors
/// When standard output cannot be written. What is found wrong is no failure of the command.
pub fn run(socket: &Path, args: &CheckArgs) -> Result<Done, Failure> {
    let mut findings = host::findings(Path::new("/"));
    findings.extend(plane::findings(socket));
    match args.output {
        Format::Table => output::print_text(&text(&findings, Paint::of_stdout()))?,
        Format::Json => output::print_json(&findings)?,
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if failed { Done::Differs } else { Done::Wholly })
}

fn text(findings: &[Finding], paint: Paint) -> String {
    let wide = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for Finding { name, level, message, mend } in findings {
        let mark = match level {
            Level::Ok => paint.green("ok  "),
            Level::Warn => paint.yellow("warn"),
            Level::Fail => paint.red("FAIL"),
        };
        let mend = mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default();
        out += &format!("{mark}  {name:<wide$}  {message}{}\n", paint.dim(&mend));
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (warn, fail) = (count(Level::Warn), count(Level::Fail));
    let sum = format!("{} ok, {warn} to consider, {fail} to mend", count(Level::Ok));
    out + &format!("\n{}\n", paint.bold(&sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_its_mend() {
        let findings = [Finding::ok("cores", "2"), Finding::fail("socket", "none", "start it")];
        assert_eq!(
            text(&findings, Paint::PLAIN),
            "ok    cores   2\nFAIL  socket  none; start it\n\n1 ok, 0 to consider, 1 to mend\n"
        );
    }
}
