//! The commands that change policy: `diff`, `apply`, `confirm`, `rollback`, `history` and `get`. They go
//! through the daemon where it is there, and else to the store in files, which the daemon reads when
//! it starts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use fastpath::ipc::ErrorReply;
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::client::{Client, ClientError};
use crate::api::{Applied, Difference, DryRun};
use crate::cli::{ApplyArgs, ChangeArgs, DiffArgs, RollbackArgs, StoreArgs};
use crate::clock::now;
use crate::failure::{Done, Failure};
use crate::figures;
use crate::output::{self, Format};
use crate::policy;
use crate::store::file::FileStore;
use crate::transaction::{self, Apply, By, Change, Current, History, Validated};

/// Where changes are made.
#[derive(Debug)]
enum Way {
    Daemon(Client),
    Store(FileStore),
}

impl Way {
    fn find(args: &StoreArgs) -> Self {
        let client = Client::new(&args.api);
        if client.is_there() {
            Self::Daemon(client)
        } else {
            Self::Store(FileStore::new(&args.store))
        }
    }
}

/// `fermata get`: the policy in force, as it was typed.
///
/// # Errors
/// When neither daemon nor store can be asked.
pub fn get(args: &ChangeArgs) -> Result<Done, Failure> {
    let current: Current = match Way::find(&args.store) {
        Way::Daemon(client) => client.ask(Method::GET, "/v1/policy", None)?,
        Way::Store(store) => transaction::current(&store)?,
    };
    match args.output {
        Format::Json => output::print_json(&current)?,
        Format::Table => {
            let about = match &current.entry {
                Some(entry) => {
                    format!("# revision {} by {}\n", entry.revision, output::clean(&entry.who))
                }
                None => {
                    "# nothing was ever applied: the shipped catalogue is in force\n".to_owned()
                }
            };
            output::print_text(&(about + &current.text))?;
        }
    }
    Ok(Done::Wholly)
}

/// `fermata history`: all revisions, newest first.
///
/// # Errors
/// When neither daemon nor store can be asked.
pub fn history(args: &ChangeArgs) -> Result<Done, Failure> {
    let history: History = match Way::find(&args.store) {
        Way::Daemon(client) => client.ask(Method::GET, "/v1/policy/history", None)?,
        Way::Store(store) => transaction::history(&store)?,
    };
    match args.output {
        Format::Json => output::print_json(&history)?,
        Format::Table => output::print_text(&history_text(&history, now()))?,
    }
    Ok(Done::Wholly)
}

fn history_text(history: &History, now: f64) -> String {
    let mut text = String::new();
    for entry in history.revisions.iter().rev() {
        let pending = history.pending.filter(|pending| pending.revision == entry.revision);
        let state = match pending {
            Some(pending) => {
                format!("waits, {} left", figures::duration((pending.until - now).max(0.0)))
            }
            None if history.confirmed == entry.revision => "in force".to_owned(),
            None => String::new(),
        };
        let restores = entry.restores.map(|to| format!("back to {to}. ")).unwrap_or_default();
        let _ = writeln!(
            text,
            "{:>4}  {:<18}  {:>8} ago  {:<24}  {restores}{}",
            entry.revision,
            state,
            figures::duration((now - entry.when).max(0.0)),
            output::clean(&entry.who),
            output::clean(&entry.why),
        );
    }
    if text.is_empty() { "nothing was ever applied\n".to_owned() } else { text }
}

/// `fermata diff`: what differs from the policy in force.
///
/// # Errors
/// When the file is no valid policy, or neither daemon nor store can be asked.
pub fn diff(args: &DiffArgs) -> Result<Done, Failure> {
    let text = checked(&args.file)?;
    let difference = match Way::find(&args.store) {
        Way::Daemon(client) => ask(&client, "/v1/policy/diff", &body(&args.file, &text))?,
        Way::Store(store) => {
            let current = transaction::current(&store)?;
            let changes = transaction::diff(&current.text, &text)?;
            Difference { revision: current.revision, changes }
        }
    };
    match args.output {
        Format::Json => output::print_json(&difference)?,
        Format::Table => output::print_text(&changes_text(&difference.changes))?,
    }
    Ok(if difference.changes.is_empty() { Done::Wholly } else { Done::Differs })
}

fn changes_text(changes: &[Change]) -> String {
    let mut text = String::new();
    for Change { document, path, before, after } in changes {
        let (sign, value) = match (before, after) {
            (Value::Null, after) => ('+', after.to_string()),
            (before, Value::Null) => ('-', before.to_string()),
            (before, after) => ('~', format!("{before} -> {after}")),
        };
        let place = if path.is_empty() { document.clone() } else { format!("{document} {path}") };
        let _ = writeln!(text, "{sign} {}: {}", output::clean(&place), output::clean(&value));
    }
    text
}

/// `fermata apply`.
///
/// # Errors
/// When the file is no valid policy, the change is refused, or neither daemon nor store can be
/// asked.
pub fn apply(args: &ApplyArgs) -> Result<Done, Failure> {
    let text = checked(&args.file)?;
    let way = Way::find(&args.store);
    if args.dry_run {
        return dry_run(&way, args, &text);
    }
    let applied = match &way {
        Way::Daemon(client) => {
            let mut body = body(&args.file, &text);
            body["why"] = json!(args.why);
            body["confirm_within"] = json!(args.confirm_within.map(|time| time.to_string()));
            body["if_revision"] = json!(args.if_revision);
            ask(client, "/v1/policy/apply", &body)?
        }
        Way::Store(_) if args.confirm_within.is_some() => {
            return Err(needs_daemon(&args.store.api));
        }
        Way::Store(store) => {
            let apply = Apply { text: &text, confirm_within: None, if_revision: args.if_revision };
            let current = transaction::apply(store, &apply, &by(&args.why))?;
            Applied { current, in_force: false }
        }
    };
    say(&applied, &way, args.output)
}

/// `fermata confirm`.
///
/// # Errors
/// When nothing waits, or neither daemon nor store can be asked.
pub fn confirm(args: &ChangeArgs) -> Result<Done, Failure> {
    let way = Way::find(&args.store);
    let applied = match &way {
        Way::Daemon(client) => ask(client, "/v1/policy/confirm", &json!({}))?,
        Way::Store(store) => Applied { current: transaction::confirm(store)?, in_force: false },
    };
    say(&applied, &way, args.output)
}

/// `fermata rollback`.
///
/// # Errors
/// When there is no such revision, or neither daemon nor store can be asked.
pub fn rollback(args: &RollbackArgs) -> Result<Done, Failure> {
    let way = Way::find(&args.store);
    let applied = match &way {
        Way::Daemon(client) => {
            let body = json!({ "to": args.revision, "why": args.why });
            ask(client, "/v1/policy/rollback", &body)?
        }
        Way::Store(store) => {
            let current = transaction::rollback(store, args.revision, &by(&args.why))?;
            Applied { current, in_force: false }
        }
    };
    say(&applied, &way, args.output)
}

fn dry_run(way: &Way, args: &ApplyArgs, text: &str) -> Result<Done, Failure> {
    let Way::Daemon(client) = way else { return Err(needs_daemon(&args.store.api)) };
    let run: DryRun = ask(client, "/v1/policy/dry-run", &body(&args.file, text))?;
    match args.output {
        Format::Json => output::print_json(&run)?,
        Format::Table => output::print_text(&dry_run_text(&run))?,
    }
    Ok(if run.changes.is_empty() { Done::Wholly } else { Done::Differs })
}

fn dry_run_text(run: &DryRun) -> String {
    let replay = &run.replay;
    let mut text = changes_text(&run.changes);
    let _ = writeln!(
        text,
        "Of {} exchanges of the last {}, compared with revision {}:",
        figures::count(replay.exchanges),
        figures::duration(replay.seconds),
        run.revision
    );
    let name = |name: &Option<String>| output::clean(name.as_deref().unwrap_or("none"));
    for (what, rows) in [("endpoint", &replay.endpoints), ("tenant", &replay.tenants)] {
        for row in rows {
            let (from, to) = (name(&row.from), name(&row.to));
            let _ =
                writeln!(text, "  {} go from {what} {from} to {to}", figures::count(row.exchanges));
        }
    }
    let _ = writeln!(
        text,
        "  {} had a verdict: rules act on {:.1} of them now, and would on {:.1}; {} would not be told",
        figures::count(replay.verdicts),
        replay.enforced_before,
        replay.enforced_after,
        figures::count(replay.silenced)
    );
    text
}

fn say(applied: &Applied, way: &Way, format: Format) -> Result<Done, Failure> {
    if format == Format::Json {
        output::print_json(applied)?;
        return Ok(Done::Wholly);
    }
    let Current { revision, pending, .. } = &applied.current;
    let force = match (way, applied.in_force) {
        (_, true) => "in force",
        (Way::Daemon(_), false) => "stored; the data plane is away, and gets it when it is back",
        (Way::Store(_), false) => {
            "stored; no daemon runs: it is put in force when `fermata serve` starts"
        }
    };
    let waits = match pending {
        Some(pending) => format!(
            "\nIt is taken back in {} unless `fermata confirm` keeps it.",
            figures::duration((pending.until - now()).max(0.0))
        ),
        None => String::new(),
    };
    output::print_text(&format!("Revision {revision}: {force}.{waits}\n"))?;
    Ok(Done::Wholly)
}

/// The text of a policy file that is valid: an error names the file's own lines.
fn checked(file: &Path) -> Result<String, Failure> {
    let text = policy::text(file)?;
    let documents = transaction::check(file, &text)?;
    let Validated { findings, .. } = Validated::of(&documents);
    for finding in findings {
        let message = format!("{}: {}", finding.path, finding.message);
        crate::cli::warn(&ErrorReply {
            path: Some(finding.at),
            ..ErrorReply::new("in_vain", message)
        });
    }
    Ok(text)
}

fn body(file: &Path, text: &str) -> Value {
    json!({ "text": text, "name": file.display().to_string() })
}

fn ask<T: DeserializeOwned + Serialize>(
    client: &Client,
    path: &str,
    body: &Value,
) -> Result<T, ClientError> {
    client.ask(Method::POST, path, Some(body))
}

fn by(why: &str) -> By<'_> {
    // Whoever may write the store's files may name themselves; the daemon asks the kernel instead.
    By { who: "command line", why, now: now() }
}

fn needs_daemon(api: &Path) -> Failure {
    let error = std::io::Error::from(std::io::ErrorKind::NotFound);
    ClientError::NotConnected(PathBuf::from(api), error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Entry, Pending};

    #[test]
    fn the_history_says_what_is_in_force_and_what_waits() {
        let entry = |revision, restores| Entry {
            revision,
            who: "ada".into(),
            when: 100.0,
            why: "less waste".into(),
            sha256: String::new(),
            restores,
        };
        let history = History {
            revision: 2,
            confirmed: 1,
            pending: Some(Pending { revision: 2, until: 220.0 }),
            revisions: vec![entry(1, None), entry(2, Some(1))],
        };
        let text = history_text(&history, 160.0);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].contains("waits, ") && lines[0].contains("back to 1. less waste"),
            "{text}"
        );
        assert!(lines[1].contains("in force") && lines[1].contains("ada"), "{text}");
    }

    #[test]
    fn a_difference_has_a_sign_and_both_values() {
        let change = |before: Value, after: Value| Change {
            document: "Endpoint/e".into(),
            path: "spec.ports[0]".into(),
            before,
            after,
        };
        let changes = [
            change(json!(1), json!(2)),
            change(Value::Null, json!(2)),
            change(json!(1), Value::Null),
        ];
        assert_eq!(
            changes_text(&changes),
            "~ Endpoint/e spec.ports[0]: 1 -> 2\n+ Endpoint/e spec.ports[0]: 2\n- Endpoint/e spec.ports[0]: 1\n"
        );
    }
}
