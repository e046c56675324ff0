//! What can go wrong with a command: the exit codes and the error object of the contract.

use std::fmt;
use std::io;
use std::path::PathBuf;

use fastpath::ipc::ErrorReply;
use fastpath::port::pcap::PcapError;
use fastpath::telemetry::event::ExchangeId;

use crate::api::client::ClientError;
use crate::export::run::StartError;
use crate::link::LinkError;
use crate::policy::document::DocumentError;
use crate::transaction::TransactionError;

/// How far a command that did not fail has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// All the way.
    Wholly,
    /// It found differences, or something that is not as it should be.
    Differs,
    /// Part of the work could not be done; stderr says which.
    Partly,
}

impl Done {
    /// The exit code of the contract.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Wholly => 0,
            Self::Differs => 2,
            Self::Partly => 6,
        }
    }

    /// Both together: partly done weighs most.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.exit_code() >= other.exit_code() { self } else { other }
    }
}

/// Exit code for wrong usage.
pub const EXIT_USAGE: u8 = 4;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// A capture cannot be read.
    Capture(PathBuf, PcapError),
    /// None of several captures could be read; each was reported by itself.
    NoCapture(usize),
    /// There is no exchange of this number; the numbers of those there are.
    NoExchange(ExchangeId, Option<(ExchangeId, ExchangeId)>, u64),
    /// A policy is not valid.
    Policy(Box<DocumentError>),
    /// A scenario is not valid.
    Scenario(Box<DocumentError>),
    /// The data plane cannot be reached, or refused.
    Link(LinkError),
    /// An exporter could not be started.
    Export(StartError),
    /// Something cannot be written.
    Write(PathBuf, io::Error),
    /// Standard output cannot be written.
    Output(io::Error),
    /// The terminal cannot be used.
    Terminal(io::Error),
    /// The daemon cannot start: what it is about, and why.
    Serve(String, String),
    /// The daemon cannot be asked, or says no.
    Daemon(ClientError),
    /// A change of policy was not made.
    Transaction(TransactionError),
}

impl Failure {
    /// The exit code of the contract.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Capture(..)
            | Self::NoCapture(_)
            | Self::NoExchange(..)
            | Self::Scenario(_)
            | Self::Export(_)
            | Self::Write(..)
            | Self::Output(_)
            | Self::Terminal(_)
            | Self::Serve(..) => 1,
            Self::Daemon(error) => error.exit_code(),
            Self::Transaction(error) => error.exit_code(),
            Self::Policy(error) => error.exit_code(),
            Self::Link(error) => error.exit_code(),
        }
    }

    /// The error object of the contract.
    #[must_use]
    pub fn reply(&self) -> ErrorReply {
        let reply = |code: &str, message: String, path: Option<String>, hint: Option<&str>| {
            let (code, hint) = (code.to_owned(), hint.map(str::to_owned));
            ErrorReply { code, message, path, hint }
        };
        match self {
            Self::Capture(path, error) => reply(
                error.code(),
                without_path(&error.to_string(), path),
                Some(path.display().to_string()),
                Some(error.hint()),
            ),
            Self::NoCapture(count) => reply(
                "unreadable_capture",
                format!("none of the {count} captures could be read"),
                None,
                None,
            ),
            Self::NoExchange(id, Some((first, last)), count) => reply(
                "no_such_exchange",
                format!("no exchange {id}: there are {count}, from {first} to {last}"),
                None,
                Some(
                    "`fermata exchanges` lists them with their numbers; not every number is taken",
                ),
            ),
            Self::NoExchange(id, None, _) => reply(
                "no_such_exchange",
                format!("no exchange {id}: there is none at all"),
                None,
                None,
            ),
            Self::Policy(error) => error.reply(),
            Self::Scenario(error) => cannot_simulate(error),
            Self::Link(error) => error.reply(),
            Self::Export(error) => error.reply(),
            Self::Write(path, error) => reply(
                "unwritable",
                format!("cannot be written: {error}"),
                Some(path.display().to_string()),
                Some("give a directory you may write to with --out"),
            ),
            Self::Output(error) => {
                reply("output", format!("standard output cannot be written: {error}"), None, None)
            }
            Self::Daemon(error) => error.reply(),
            Self::Transaction(error) => error.reply(),
            Self::Serve(what, why) => cannot_serve(what, why),
            Self::Terminal(error) => reply(
                "terminal",
                format!("the terminal cannot be used: {error}"),
                None,
                Some("`fermata top --once` prints one frame and needs no terminal"),
            ),
        }
    }
}

fn cannot_simulate(error: &DocumentError) -> ErrorReply {
    let ErrorReply { message, path, hint, .. } = error.reply();
    match error {
        DocumentError::Unreadable(_, error) => ErrorReply {
            code: "unreadable_scenario".to_owned(),
            message: format!("the scenario cannot be read: {error}"),
            path,
            hint: Some("docs/examples/scenarios has some to start from".to_owned()),
        },
        DocumentError::Invalid { .. } => {
            ErrorReply { code: "invalid_scenario".to_owned(), message, path, hint }
        }
    }
}

fn cannot_serve(what: &str, why: &str) -> ErrorReply {
    let hint = "docs/examples/serve.yaml shows a configuration; docs/daemon.md explains it";
    ErrorReply {
        path: Some(what.to_owned()),
        hint: Some(hint.to_owned()),
        ..ErrorReply::new("cannot_serve", format!("the daemon cannot start: {why}"))
    }
}

/// An error as people read it: `error: PATH: MESSAGE`, and below it what to do.
#[must_use]
pub fn for_people(reply: &ErrorReply) -> String {
    let place = reply.path.as_ref().map(|path| format!("{path}: ")).unwrap_or_default();
    let hint = reply.hint.as_ref().map(|hint| format!("\n  {hint}")).unwrap_or_default();
    format!("error: {place}{}{hint}", reply.message)
}

/// An error as programs read it.
#[must_use]
pub fn for_programs(reply: &ErrorReply) -> String {
    serde_json::json!({ "error": reply }).to_string()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&for_people(&self.reply()))
    }
}

impl std::error::Error for Failure {}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Daemon(error)
    }
}

impl From<TransactionError> for Failure {
    fn from(error: TransactionError) -> Self {
        Self::Transaction(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Export(error)
    }
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        Self::Policy(Box::new(error))
    }
}

/// The message without the path in it: the path has a place of its own, before it.
fn without_path(message: &str, path: &std::path::Path) -> String {
    let name = path.display().to_string();
    let rest = message.strip_prefix(&name).map_or(message, str::trim_start);
    rest.replace(&format!(" of {name}"), "").replace(&format!(" {name}"), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partly_done_outweighs_a_difference() {
        assert_eq!(Done::Differs.and(Done::Partly), Done::Partly);
        assert_eq!(Done::Partly.and(Done::Wholly).exit_code(), 6);
    }

    #[test]
    fn the_path_is_said_once() {
        let without = |message| without_path(message, std::path::Path::new("a.pcap"));
        assert_eq!(without("cannot open a.pcap: no"), "cannot open: no");
        assert_eq!(without("a.pcap is empty"), "is empty");
        assert_eq!(
            without("the packet at byte 5 of a.pcap claims 9"),
            "the packet at byte 5 claims 9"
        );
    }

    #[test]
    fn an_error_says_where_what_and_what_to_do() {
        let reply = ErrorReply {
            code: "x".to_owned(),
            message: "is wrong".to_owned(),
            path: Some("a.yaml:3".to_owned()),
            hint: Some("mend it".to_owned()),
        };
        assert_eq!(for_people(&reply), "error: a.yaml:3: is wrong\n  mend it");
        let text =
            r#"{"error":{"code":"x","message":"is wrong","path":"a.yaml:3","hint":"mend it"}}"#;
        let value: serde_json::Value = serde_json::from_str(&for_programs(&reply)).unwrap();
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }
}
