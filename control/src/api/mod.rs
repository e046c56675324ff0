//! The API, version 1: HTTP and JSON, described by docs/openapi.json, which is made from [`ROUTES`].
//!
//! `routes` is the one list of what can be asked and who may; `http` carries requests and answers;
//! `look` and `change` answer them; `stream` tells what is new as it comes; `assets` are the pages of
//! the dashboard; `client` asks.

pub mod assets;
mod change;
pub mod client;
pub(crate) mod http;
mod look;
pub mod openapi;
mod routes;
mod stream;

use std::sync::Arc;

use fastpath::ipc::ErrorReply;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;
use crate::link::LinkError;
use crate::serve::peer::Peer;
use crate::store::StoreError;
use crate::transaction::TransactionError;

pub use change::{
    Applied, ApplyRequest, BypassRequest, Bypassed, DryRun, PolicyText, RollbackRequest,
};
pub use look::{Difference, Health};
pub use routes::{ROUTES, Route};

/// The longest body of a request, bytes: a policy of the longest text, as JSON.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// A request, for whoever answers it.
#[derive(Debug)]
pub struct Call {
    /// Who asks.
    pub peer: Arc<Peer>,
    /// The parts of the path that the route leaves open, in their order.
    pub path: Vec<String>,
    /// The query's fields.
    pub query: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An error: the status, and the error object of the contract.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// Of HTTP.
    pub status: u16,
    /// What is said.
    pub reply: ErrorReply,
}

impl ApiError {
    /// An error without a place.
    #[must_use]
    pub fn new(status: u16, code: &str, message: &str, hint: Option<&str>) -> Self {
        let reply = ErrorReply::new(code, message);
        Self { status, reply: ErrorReply { hint: hint.map(str::to_owned), ..reply } }
    }
}

impl Call {
    /// The body, as what is expected.
    fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let mut reader = serde_json::Deserializer::from_slice(&self.body);
        let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let reply = ErrorReply::new("malformed_body", error.inner().to_string());
            ApiError { status: 422, reply: ErrorReply { path: Some(path), ..reply } }
        })?;
        let end = reader.end();
        end.map(|()| parsed).map_err(|error| {
            ApiError::new(
                422,
                "malformed_body",
                &error.to_string(),
                Some("expected one JSON object"),
            )
        })
    }

    /// A number of the query.
    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let Some((_, text)) = self.query.iter().find(|(key, _)| key == name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            let message = format!("`{name}={text}`: expected a number that is not negative");
            ApiError::new(422, "malformed_query", &message, None)
        })
    }
}

impl From<LinkError> for ApiError {
    fn from(error: LinkError) -> Self {
        let status = match &error {
            LinkError::Refused(_) => 409,
            LinkError::NotUnderstood(..) => 502,
            _ => 503,
        };
        Self { status, reply: error.reply() }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        TransactionError::from(error).into()
    }
}

impl From<TransactionError> for ApiError {
    fn from(error: TransactionError) -> Self {
        let status = match &error {
            TransactionError::Invalid(_) | TransactionError::Value(..) => 422,
            TransactionError::Store(StoreError::Changed(_))
            | TransactionError::Unexpected(..)
            | TransactionError::Pending(_)
            | TransactionError::NothingPending
            | TransactionError::NothingBefore
            | TransactionError::Refused(_) => 409,
            TransactionError::NoRevision(_) => 404,
            TransactionError::Store(_) => 503,
        };
        Self { status, reply: error.reply() }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let status = match &failure {
            Failure::NoExchange(..) => 404,
            Failure::Link(error) => return Self { status: 503, reply: error.reply() },
            _ => 500,
        };
        Self { status, reply: failure.reply() }
    }
}

/// A value as JSON. What the daemon answers with can always be written so.
fn json<T: serde::Serialize>(value: &T) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| {
        ApiError::new(500, "internal", &format!("the answer cannot be written: {error}"), None)
    })
}
