//! The response headers of each kind of endpoint. Their length counts on the wire (a plain answer
//! is one record with its headers), so they are about as many as the real ones; they set no cookie.

use hyper::Response;
use hyper::http::response::Builder;

use crate::config::{Api, Endpoint};

/// A response head with the headers such an endpoint sends; `id` names the request.
pub(crate) fn head(endpoint: &Endpoint, status: u16, content_type: &str, id: u64) -> Builder {
    let builder = Response::builder().status(status).header("content-type", content_type);
    if !endpoint.cloud {
        return builder.header("server", "uvicorn");
    }
    let (lines, id_name): (&[(&str, &str)], _) = match endpoint.api {
        Api::Openai => (OPENAI, "x-request-id"),
        Api::Anthropic => (ANTHROPIC, "request-id"),
    };
    let builder = CLOUD
        .iter()
        .chain(lines)
        .fold(builder, |builder, (name, value)| builder.header(*name, *value));
    builder.header(id_name, format!("req_{id:028}"))
}

/// What an edge in a cloud adds.
const CLOUD: &[(&str, &str)] = &[
    ("server", "edge"),
    ("via", "1.1 edge"),
    ("x-content-type-options", "nosniff"),
    ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
    ("x-edge-ray", "9a3f5d0e8c7b6a51-FRA"),
    ("x-edge-cache-status", "DYNAMIC"),
];

const OPENAI: &[(&str, &str)] = &[
    ("access-control-expose-headers", "X-Request-ID"),
    ("alt-svc", "h3=\":443\"; ma=86400"),
    ("openai-organization", "fermata-lab"),
    ("openai-processing-ms", "212"),
    ("openai-project", "proj_0123456789abcdefghijklmn"),
    ("openai-version", "2020-10-01"),
    ("x-envoy-upstream-service-time", "231"),
    ("x-openai-proxy-wasm", "v0.1"),
    ("x-ratelimit-limit-requests", "30000"),
    ("x-ratelimit-limit-tokens", "150000000"),
    ("x-ratelimit-remaining-requests", "29999"),
    ("x-ratelimit-remaining-tokens", "149999986"),
    ("x-ratelimit-reset-requests", "2ms"),
    ("x-ratelimit-reset-tokens", "0s"),
    ("permissions-policy", "browsing-topics=(), interest-cohort=(), join-ad-interest-group=()"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
];

const ANTHROPIC: &[(&str, &str)] = &[
    ("anthropic-organization-id", "00000000-0000-0000-0000-000000000000"),
    ("anthropic-ratelimit-requests-limit", "4000"),
    ("anthropic-ratelimit-requests-remaining", "3999"),
    ("anthropic-ratelimit-requests-reset", "2026-11-24T00:00:00Z"),
    ("anthropic-ratelimit-tokens-limit", "4000000"),
    ("anthropic-ratelimit-tokens-remaining", "3990000"),
    ("anthropic-ratelimit-tokens-reset", "2026-11-24T00:00:00Z"),
    ("x-robots-tag", "none"),
];
