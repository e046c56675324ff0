//! `fermata learnt`: what has been learnt of endpoints, as policy documents to ship to other data
//! planes or to read other captures with.
//!
//! What is told is of the endpoint over all its clients (docs/privacy.md, P2): centres of lengths
//! that recur, in steps of four bytes, and counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fastpath::ipc::{ErrorReply, Reply, Request};
use fastpath::policy::endpoint::Endpoint;
use fastpath::policy::learnt::Learnt;
use fastpath::policy::snapshot::Policy;
use serde::Serialize;

use crate::cli::LearntArgs;
use crate::failure::{Done, Failure};
use crate::link::{Link, ask};
use crate::output::{self, Format};
use crate::policy::document::API_VERSION;
use crate::{capture, policy};

/// An endpoint with what was learnt of it, as a policy document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct Metadata {
    name: String,
}

/// An lcore puts down what it has learnt within a few ticks of ten milliseconds.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(30);
const QUESTIONS_MAX: usize = 40;

/// Prints what was learnt from captures, or what the running data plane has learnt.
///
/// # Errors
/// When a capture or the policy cannot be read, or the data plane cannot be asked.
pub fn run(socket: &Path, args: &LearntArgs) -> Result<Done, Failure> {
    let (policy, learnt, done) = match args.read.is_empty() {
        true => {
            let (policy, learnt) = of_data_plane(socket)?;
            (policy, learnt, Done::Wholly)
        }
        false => of_captures(args)?,
    };
    let documents = documents(&policy, learnt)?;
    match args.output {
        Format::Json => output::print_json(&documents)?,
        Format::Table => output::print_text(&text(&documents)?)?,
    }
    Ok(done)
}

fn of_captures(args: &LearntArgs) -> Result<(Policy, BTreeMap<String, Learnt>, Done), Failure> {
    let snapshot = policy::snapshot(args.policy.as_deref())?;
    let json = args.output == Format::Json;
    let (read, done) = capture::read(&args.read, &snapshot, json, |_, _, _| {})?;
    let mut learnt: BTreeMap<String, Learnt> = BTreeMap::new();
    for (name, more) in read.into_iter().flat_map(|read| read.summary.learnt) {
        learnt.entry(name).or_default().merge(&more);
    }
    Ok((snapshot.policy().clone(), learnt, done))
}

fn of_data_plane(socket: &Path) -> Result<(Policy, BTreeMap<String, Learnt>), Failure> {
    let mut link = Link::connect(socket)?;
    let policy = ask(&mut link, &Request::Policy, |reply| {
        if let Reply::Policy(policy) = reply { Some(*policy) } else { None }
    })?;
    for _ in 0..QUESTIONS_MAX {
        let learnt = ask(&mut link, &Request::Learnt, |reply| {
            if let Reply::Learnt(learnt) = reply { Some(learnt) } else { None }
        })?;
        if let Some(learnt) = learnt {
            return Ok((policy, learnt));
        }
        std::thread::sleep(ASK_AGAIN_AFTER);
    }
    let message = "the lcore has not told what it has learnt; `fermata check` looks at it";
    Err(Failure::from(crate::link::LinkError::Refused(ErrorReply::new("lcore_silent", message))))
}

/// The endpoints of the policy that something was learnt of.
fn documents(
    policy: &Policy,
    mut learnt: BTreeMap<String, Learnt>,
) -> Result<Vec<Document>, Failure> {
    let mut documents = Vec::new();
    for endpoint in &policy.endpoints {
        let Some(learnt) = learnt.remove(&endpoint.name) else { continue };
        let endpoint = Endpoint { learnt: Some(Box::new(learnt)), ..endpoint.clone() };
        let json = |error: serde_json::Error| Failure::Output(error.into());
        // Through text, where a number has the digits that it was typed with.
        let mut spec: serde_json::Value =
            serde_json::from_str(&serde_json::to_string(&endpoint).map_err(json)?).map_err(json)?;
        if let Some(fields) = spec.as_object_mut() {
            fields.remove("name");
        }
        let metadata = Metadata { name: endpoint.name };
        documents.push(Document { api_version: API_VERSION, kind: "Endpoint", metadata, spec });
    }
    Ok(documents)
}

fn text(documents: &[Document]) -> Result<String, Failure> {
    let mut text = String::new();
    for document in documents {
        let yaml = serde_saphyr::to_string(document)
            .map_err(|error| Failure::Output(std::io::Error::other(error.to_string())))?;
        text += "---\n";
        text += &yaml;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastpath::policy::learnt::Cluster;

    #[test]
    fn what_is_printed_is_a_policy_that_says_the_same() {
        let policy = Policy::catalogue().unwrap();
        let mut learnt = Learnt::default();
        learnt.http1.errors = vec![Cluster { value: 852, count: 7 }];
        learnt.http2.plain_marked = 12;
        let learnt = BTreeMap::from([("openai".to_owned(), learnt)]);
        let text = text(&documents(&policy, learnt.clone()).unwrap()).unwrap();
        let read = policy::document::parse(Path::new("learnt.yaml"), &text).unwrap();
        let find = |policy: &Policy| {
            policy.endpoints.iter().find(|endpoint| endpoint.name == "openai").unwrap().clone()
        };
        let (before, after) = (find(&policy), find(&read));
        assert_eq!(after.learnt.as_deref(), learnt.get("openai"));
        let after = Endpoint { learnt: None, ..after };
        assert_eq!(format!("{after:?}"), format!("{before:?}"), "the rest is as it was");
        assert_eq!(read.endpoints.len(), policy.endpoints.len());
    }
}
