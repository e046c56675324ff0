//! `fermata bypass`: the kill switch. While it is on, nothing acts on traffic, and everything that was
//! held goes; what passes is counted all the same.

use std::path::Path;

use fastpath::ipc::{Reply, Request};

use crate::cli::{BypassArgs, Position};
use crate::failure::{Done, Failure};
use crate::link::{Link, ask};
use crate::output::{self, Format};

/// Sets the switch of the running data plane.
///
/// # Errors
/// When the data plane cannot be asked.
pub fn run(socket: &Path, args: &BypassArgs) -> Result<Done, Failure> {
    let on = args.position == Position::On;
    let now = ask(&mut Link::connect(socket)?, &Request::Bypass { on }, |reply| {
        if let Reply::Bypassed(now) = reply { Some(now) } else { None }
    })?;
    match args.output {
        Format::Json => output::print_json(&serde_json::json!({ "bypassed": now }))?,
        Format::Table => {
            let text = if now {
                "Bypassed: nothing acts on traffic until `fermata bypass off`.\n"
            } else {
                "Not bypassed: rules act as the policy says.\n"
            };
            output::print_text(text)?;
        }
    }
    Ok(Done::Wholly)
}
