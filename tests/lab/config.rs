//! The endpoint file: who listens where, how fast it answers, and how many calls it can work on at
//! once.

use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use crate::error::{LabError, read};

/// The endpoint file (`tests/lab/endpoints.json`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Every endpoint the lab serves.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endpoint {
    /// Its short name, the `ep` of the truth.
    pub(crate) name: String,
    /// The name in its certificate and in the client's SNI.
    pub(crate) sni: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Whose API it speaks.
    pub(crate) api: Api,
    /// How many calls it works on at once; the others wait in the order they came.
    pub(crate) slots: usize,
    /// Whether a client that leaves frees its slot, or the server works on to the end for nobody.
    #[serde(default = "yes")]
    pub(crate) free_on_disconnect: bool,
    /// Whether stream events are filled to one length, as OpenAI's are.
    #[serde(default)]
    pub(crate) obfuscate: bool,
    /// Whether a cloud's edge stands before it and adds its headers.
    #[serde(default)]
    pub(crate) cloud: bool,
    /// Time to the first token, as a range that the request's seed picks from.
    pub(crate) first_token_ms: [u64; 2],
    /// Time of every further token, likewise.
    pub(crate) token_ms: [u64; 2],
}

/// The API an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Api {
    /// `/v1/chat/completions` and `/v1/embeddings`.
    Openai,
    /// `/v1/messages`.
    Anthropic,
}

impl Config {
    /// Reads and checks the endpoint file.
    pub(crate) fn load(path: &Path) -> Result<Self, LabError> {
        let text = read(path)?;
        let config: Self = serde_json::from_str(&text).map_err(|source| LabError::Json {
            path: path.into(),
            line: source.line(),
            source,
        })?;
        let wrong = config.endpoints.iter().find_map(Endpoint::complaint);
        match wrong {
            Some(wrong) => Err(LabError::Content { path: path.into(), wrong }),
            None => Ok(config),
        }
    }
}

impl Endpoint {
    /// What is wrong with this endpoint, if anything.
    fn complaint(&self) -> Option<String> {
        let name = &self.name;
        if self.slots == 0 {
            return Some(format!("endpoint {name}: slots is 0, expected at least 1"));
        }
        for (field, [low, high]) in
            [("first_token_ms", self.first_token_ms), ("token_ms", self.token_ms)]
        {
            if low > high {
                return Some(format!("endpoint {name}: {field} [{low}, {high}] is no range"));
            }
        }
        None
    }
}

fn yes() -> bool {
    true
}
