//! HTTP: who may ask how often and how much, and how it is answered.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;

use super::{ApiError, BODY_BYTES_MAX, Call, ROUTES, Route, assets, stream};
use crate::clock;
use crate::failure;
use crate::serve::Daemon;
use crate::serve::peer::{Peer, Role};

/// What is answered with.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The body is here within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// The stream of what is new.
const STREAM: &str = "/v1/events";

/// Answers one request. Whatever is refused is in the audit log, and changes nothing.
pub(crate) async fn answer(
    daemon: Arc<Daemon>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Response<Body> {
    // A task of its own: whoever hangs up in the middle is written down like everybody else.
    let answered = tokio::spawn(async move {
        let what = format!("{} {}", request.method(), request.uri().path());
        take(&daemon, &peer, request).await.unwrap_or_else(|error| {
            daemon.refuse(&peer, &what, error.status, &error.reply.code);
            refused(&error)
        })
    });
    answered.await.unwrap_or_else(|error| {
        let message = format!("the request could not be answered: {error}");
        refused(&ApiError::new(500, "internal", &message, None))
    })
}

async fn take(
    daemon: &Arc<Daemon>,
    peer: &Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let role = peer.role.ok_or_else(|| {
        let message = format!("{} has no role here", peer.who);
        let hint = "an administrator gives one: `roles` of the daemon's configuration, or a client \
                    certificate with `urn:fermata:role:read`";
        ApiError::new(403, "no_role", &message, Some(hint))
    })?;
    if !daemon.limits().take(&peer.who, clock::instant()) {
        let message = "more than 50 requests a second";
        return Err(ApiError::new(429, "too_many_requests", message, Some("ask less often")));
    }
    let path = request.uri().path().to_owned();
    if path == STREAM && request.method() == Method::GET {
        return Ok(stream::response(Arc::clone(daemon)));
    }
    if let Some(asset) = assets::find(&path)
        && request.method() == Method::GET
    {
        return Ok(respond(200, asset.content_type, Bytes::from_static(asset.content)));
    }
    let (route, open) = find(request.method(), &path)?;
    if role < route.role {
        return Err(forbidden(peer, role, route));
    }
    let query = query(request.uri().query().unwrap_or_default(), route)?;
    let what = format!("{} {path}", route.method);
    let body = body(request, route).await?;
    let call = Call { peer: Arc::clone(peer), path: open, query, body };
    let of = Arc::clone(daemon);
    let answered = tokio::task::spawn_blocking(move || (route.answer)(&of, &call)).await;
    let value = answered.map_err(|error| {
        ApiError::new(500, "internal", &format!("the request could not be answered: {error}"), None)
    })??;
    if route.changes() {
        let revision = value.pointer("/current/revision").and_then(Value::as_u64);
        daemon.audit.write(peer, &what, 200, "done", revision);
    }
    Ok(respond(200, "application/json", value.to_string().into()))
}

fn find(method: &Method, path: &str) -> Result<(&'static Route, Vec<String>), ApiError> {
    let mut known = false;
    for route in ROUTES {
        if let Some(open) = route.matches(path) {
            if route.method == *method {
                return Ok((route, open));
            }
            known = true;
        }
    }
    let hint = Some("/v1/openapi.json describes what there is");
    if known || path == STREAM || assets::find(path).is_some() {
        return Err(ApiError::new(405, "method_not_allowed", "this is asked in another way", hint));
    }
    Err(ApiError::new(404, "not_found", "there is nothing here", hint))
}

fn forbidden(peer: &Peer, role: Role, route: &Route) -> ApiError {
    let message =
        format!("{} has the role {}; expected {}", peer.who, role.name(), route.role.name());
    ApiError::new(403, "role_too_low", &message, Some("ask somebody who may, or for the role"))
}

fn query(text: &str, route: &Route) -> Result<Vec<(String, String)>, ApiError> {
    let fields = text.split('&').filter(|field| !field.is_empty()).map(|field| {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        if route.query.iter().any(|(name, _)| *name == key) {
            return Ok((key.to_owned(), value.to_owned()));
        }
        let names: Vec<&str> = route.query.iter().map(|(name, _)| *name).collect();
        let expected = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let message = format!("unknown field `{key}` of the query; expected {expected}");
        Err(ApiError::new(422, "malformed_query", &message, None))
    });
    fields.collect()
}

async fn body(request: Request<Incoming>, route: &Route) -> Result<Vec<u8>, ApiError> {
    if route.body.is_none() {
        return Ok(Vec::new());
    }
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"application/json")) {
        let message = "expected a body of `Content-Type: application/json`";
        return Err(ApiError::new(415, "unsupported_media_type", message, None));
    }
    let limited = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let collected = tokio::time::timeout(PATIENCE, limited)
        .await
        .map_err(|_| ApiError::new(408, "timed_out", "the body did not come within 20 s", None))?;
    collected.map(|body| body.to_bytes().to_vec()).map_err(|error| {
        if error.is::<LengthLimitError>() {
            let message = format!("expected a body of at most {BODY_BYTES_MAX} bytes");
            return ApiError::new(413, "body_too_large", &message, None);
        }
        ApiError::new(400, "malformed_request", &format!("the body broke off: {error}"), None)
    })
}

fn refused(error: &ApiError) -> Response<Body> {
    let text = failure::for_programs(&error.reply);
    let mut response = respond(error.status, "application/json", text.into());
    if error.status == 429 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if error.status == 405 {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, POST"));
    }
    response
}

fn respond(status: u16, content_type: &'static str, body: Bytes) -> Response<Body> {
    respond_with(status, content_type, Full::new(body).boxed_unsync())
}

pub(super) fn respond_with(status: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The dashboard takes nothing from anywhere else, and is shown inside nothing else.
    let policy = "default-src 'self'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}
