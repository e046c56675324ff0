//! `fermata bypass`: the kill switch. While it is on, nothing acts on traffic, and everything that was
//! held goes; what passes is counted all the same.

use std::path::Path;

use fastpath::ipc::{Reply, Request};
use hyper::Method;

use crate::api::Bypassed;
use crate::api::client::{Client, ClientError};
use crate::cli::{BypassArgs, Position};
use crate::failure::{Done, Failure};
use crate::link::{Link, ask};
use crate::output::{self, Format};

/// Sets the switch of the running data plane.
///
/// # Errors
/// When neither daemon nor data plane can be asked, or the daemon says no.
pub fn run(socket: &Path, args: &BypassArgs) -> Result<Done, Failure> {
    let now = set(socket, args)?;
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

/// Through the daemon, which knows who may and writes down who did. Where it gives no answer the data
/// plane is asked itself: a switch for emergencies depends on as little as it can.
fn set(socket: &Path, args: &BypassArgs) -> Result<bool, Failure> {
    let on = args.position == Position::On;
    let body = serde_json::json!({ "on": on });
    let asked: Result<Bypassed, ClientError> =
        Client::new(&args.api).ask(Method::POST, "/v1/bypass", Some(&body));
    match asked {
        Ok(Bypassed { bypassed }) => Ok(bypassed),
        Err(error @ ClientError::Refused(..)) => Err(error.into()),
        Err(ClientError::NotConnected(..) | ClientError::NotUnderstood(..)) => {
            let now = ask(&mut Link::connect(socket)?, &Request::Bypass { on }, |reply| {
                if let Reply::Bypassed(now) = reply { Some(now) } else { None }
            })?;
            Ok(now)
        }
    }
}
