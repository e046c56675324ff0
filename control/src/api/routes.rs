//! What can be asked, by whom, and what is answered: the one list that requests are dispatched by and
//! the OpenAPI document is made from.

use fastpath::ipc::{ClientRow, EndpointRow, LedgerView, Page, Standings, Status};
use fastpath::telemetry::ledger::TenantRow;
use fastpath::telemetry::ledger::propagation::PropagationView;
use fastpath::telemetry::ledger::savings::SavingsView;
use fastpath::telemetry::line::{EventLine, ExchangeLine, FlowLine};
use hyper::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::change::{
    Applied, ApplyRequest, BypassRequest, Bypassed, DryRun, PolicyText, RollbackRequest,
};
use super::look::{Difference, Health};
use super::{ApiError, Call, change, look};
use crate::policy::document::TenantEntry;
use crate::serve::Daemon;
use crate::serve::peer::Role;
use crate::serve::view::Point;
use crate::store::Member;
use crate::transaction::{Current, History, Validated};

type Answer = Result<Value, ApiError>;
type Shape = fn(&mut SchemaGenerator) -> Schema;

/// Something that can be asked.
#[derive(Debug)]
pub struct Route {
    /// GET or POST.
    pub method: Method,
    /// The path; `{name}` stands for one part.
    pub path: &'static str,
    /// The least role that may ask.
    pub role: Role,
    /// What it is for.
    pub summary: &'static str,
    /// Fields of the query, all numbers, with what they mean.
    pub query: &'static [(&'static str, &'static str)],
    /// The shape of the body, where there is one.
    pub body: Option<Shape>,
    /// The shape of the answer.
    pub reply: Shape,
    /// Who answers.
    pub answer: fn(&Daemon, &Call) -> Answer,
}

/// Rows of a page that are answered unless the query says otherwise, and at most.
pub(super) const LIMIT_DEFAULT: usize = 100;
pub(super) const LIMIT_MAX: usize = 1_000;

const PAGE: &[(&str, &str)] = &[
    (
        "after",
        "Only rows after this one, as `next` of the page before gave it; without it the newest.",
    ),
    ("limit", "At most so many rows: 100 unless it is said, and 1000."),
];
const LIMIT: &[(&str, &str)] =
    &[("limit", "At most so many rows: 100 unless it is said, and 1000.")];
const SECONDS: &[(&str, &str)] = &[("seconds", "Of the last so many seconds; without it a day.")];

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn get(
    path: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    reply: Shape,
    answer: fn(&Daemon, &Call) -> Answer,
) -> Route {
    Route { method: Method::GET, path, role: Role::Read, summary, query, body: None, reply, answer }
}

const fn post(
    path: &'static str,
    role: Role,
    summary: &'static str,
    body: Shape,
    reply: Shape,
    answer: fn(&Daemon, &Call) -> Answer,
) -> Route {
    Route { method: Method::POST, path, role, summary, query: &[], body: Some(body), reply, answer }
}

/// Everything that can be asked, but for the stream of `/v1/events` and the pages of the dashboard.
pub static ROUTES: &[Route] = &[
    get(
        "/v1/health",
        "Whether daemon, store and data plane are well",
        &[],
        of::<Health>,
        look::health,
    ),
    get("/v1/status", "How the data plane is doing", &[], of::<Status>, look::status),
    get(
        "/v1/endpoints",
        "Endpoints, those with most waste first",
        &[],
        of::<Vec<EndpointRow>>,
        look::endpoints,
    ),
    get(
        "/v1/backends",
        "How backends and endpoints stand: limits, breakers, what is held",
        &[],
        of::<Standings>,
        look::backends,
    ),
    get(
        "/v1/clients",
        "Clients, those with most waste first",
        &[],
        of::<Vec<ClientRow>>,
        look::clients,
    ),
    get(
        "/v1/tenants",
        "Tenants, those with most waste first",
        &[],
        of::<Vec<TenantRow>>,
        look::tenants,
    ),
    get(
        "/v1/tenants/prefixes",
        "Whose clients are whose",
        &[],
        of::<Vec<TenantEntry>>,
        look::prefixes,
    ),
    get(
        "/v1/flows",
        "Flows that were seen last, newest first",
        LIMIT,
        of::<Vec<FlowLine>>,
        look::flows,
    ),
    get(
        "/v1/exchanges",
        "Exchanges of the last minutes, oldest first",
        PAGE,
        of::<Page<ExchangeLine>>,
        look::exchanges,
    ),
    get(
        "/v1/signals",
        "What detectors and rules said, oldest first",
        PAGE,
        of::<Page<EventLine>>,
        look::signals,
    ),
    get(
        "/v1/explain/{exchange}",
        "Why an exchange was judged as it was",
        &[],
        of::<serde_json::Map<String, Value>>,
        look::explain,
    ),
    get("/v1/ledger", "The whole waste ledger", &[], of::<LedgerView>, look::ledger),
    get("/v1/savings", "What the rules prevent, or would", &[], of::<SavingsView>, look::savings),
    get("/v1/series", "Waste and savings over time", SECONDS, of::<Vec<Point>>, look::series),
    get(
        "/v1/propagation",
        "Who makes whom do things in vain",
        &[],
        of::<PropagationView>,
        look::propagation,
    ),
    get("/v1/policy", "The policy in force", &[], of::<Current>, look::policy),
    get("/v1/policy/history", "All revisions, oldest first", &[], of::<History>, look::history),
    get(
        "/v1/policy/revisions/{revision}",
        "The policy of a revision",
        &[],
        of::<Current>,
        look::revision,
    ),
    post(
        "/v1/policy/validate",
        Role::Read,
        "Check a policy",
        of::<PolicyText>,
        of::<Validated>,
        look::validate,
    ),
    post(
        "/v1/policy/diff",
        Role::Read,
        "Compare a policy with the one in force",
        of::<PolicyText>,
        of::<Difference>,
        look::diff,
    ),
    post(
        "/v1/policy/dry-run",
        Role::Read,
        "What a policy would change",
        of::<PolicyText>,
        of::<DryRun>,
        change::dry_run,
    ),
    post(
        "/v1/policy/apply",
        Role::Admin,
        "Put a policy in force",
        of::<ApplyRequest>,
        of::<Applied>,
        change::apply,
    ),
    post(
        "/v1/policy/confirm",
        Role::Operate,
        "Keep what waits to be confirmed",
        of::<change::Nothing>,
        of::<Applied>,
        change::confirm,
    ),
    post(
        "/v1/policy/rollback",
        Role::Operate,
        "Go back",
        of::<RollbackRequest>,
        of::<Applied>,
        change::rollback,
    ),
    post(
        "/v1/bypass",
        Role::Operate,
        "Stop everything that acts, or let it act again",
        of::<BypassRequest>,
        of::<Bypassed>,
        change::bypass,
    ),
    get(
        "/v1/members",
        "Appliances that have this policy; none where the store is of one",
        &[],
        of::<Vec<Member>>,
        look::members,
    ),
    get(
        "/v1/openapi.json",
        "This description",
        &[],
        of::<serde_json::Map<String, Value>>,
        look::openapi,
    ),
    get(
        "/v1/policy.schema.json",
        "The schema of policy documents",
        &[],
        of::<serde_json::Map<String, Value>>,
        look::schema,
    ),
];

impl Route {
    /// The parts that `path` has in the places this route leaves open, if it is this route's.
    pub(super) fn matches(&self, path: &str) -> Option<Vec<String>> {
        let mut open = Vec::new();
        let (mut own, mut asked) = (self.path.split('/'), path.split('/'));
        loop {
            match (own.next(), asked.next()) {
                (None, None) => return Some(open),
                (Some(own), Some(asked)) if own.starts_with('{') && !asked.is_empty() => {
                    open.push(asked.to_owned());
                }
                (Some(own), Some(asked)) if own == asked => {}
                _ => return None,
            }
        }
    }

    /// Whether it changes something.
    pub(super) fn changes(&self) -> bool {
        self.role > Role::Read
    }
}
