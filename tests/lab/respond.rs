//! From a request to its response: numbers it for the truth, asks the plan what befalls it, waits
//! for a slot, and hands the answer to the body that plays it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::response::Builder;
use hyper::{Request, Response};
use tokio::time::sleep;

use crate::answer::{Answer, Ask, Seed};
use crate::clock::now;
use crate::config::{Api, Endpoint};
use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::headers::head;
use crate::plan::{Cut, Fault, Plan};
use crate::slots::{Slot, Slots};
use crate::stream::{Reply, plain_script, script};
use crate::truth::{Log, Record};
use crate::{anthropic, openai};

/// Everything the requests of one endpoint share.
pub(crate) struct Service {
    /// The endpoint.
    pub(crate) endpoint: Endpoint,
    /// Its slots.
    pub(crate) slots: Slots,
    /// The plan of the run.
    pub(crate) plan: Arc<Plan>,
    /// The truth of the run.
    pub(crate) log: Arc<Log>,
}

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// An answer in tokens.
    Generate,
    /// An embedding.
    Embed,
    /// Nothing this endpoint knows.
    Unknown,
}

/// Answers one request. Dropped by hyper when the client leaves, and then the exchange inside
/// writes that truth.
pub(crate) async fn respond(
    service: Arc<Service>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let mut exchange = service.begin(&head.headers, &connection);
    let Ok(body) = body.collect().await else {
        drop(exchange); // the client left before its body was whole
        return std::future::pending().await;
    };
    let body = body.to_bytes();
    let ask: Ask = serde_json::from_slice(&body).unwrap_or_default();
    let route = Route::of(service.endpoint.api, &path);
    exchange.describe(route, &ask, &body);
    let mut seed = Seed::of_request(service.plan.seed, &path, &body);

    let call = &exchange.record.call;
    let fault = service.plan.fault(call, exchange.record.att + 1).cloned();
    exchange.record.fault = fault.as_ref().map(|fault| fault.name().to_owned());
    match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::ResetBefore) => {
            sleep(service.refusal(&mut seed)).await;
            exchange.broken(Cut::Rst);
            connection.cut(Cut::Rst);
            std::future::pending().await
        }
        Some(Fault::Status { code, retry_after_s }) => {
            sleep(service.refusal(&mut seed)).await;
            Ok(service.refuse(exchange, connection, code, retry_after_s))
        }
        None | Some(Fault::Cut { .. } | Fault::Stall { .. } | Fault::SlowFirst { .. }) => {
            let slot = service.queue(&mut exchange).await;
            let work = Work { ask, route, body_bytes: body.len(), fault, seed, slot };
            Ok(service.answer(exchange, connection, work).await)
        }
    }
}

/// A request that has its slot.
struct Work {
    ask: Ask,
    route: Route,
    body_bytes: usize,
    fault: Option<Fault>,
    seed: Seed,
    slot: Slot,
}

impl Service {
    /// Opens the truth of a request from its headers.
    fn begin(&self, headers: &HeaderMap, connection: &Connection) -> Exchange {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let call = text("x-lab-call");
        let attempt = self.plan.arrival(&call);
        let (id, retry_of) = self.log.number(&call);
        let ua = text("user-agent");
        let record = Record {
            id,
            ep: self.endpoint.name.clone(),
            sni: self.endpoint.sni.clone(),
            client: connection.client.ip().to_string(),
            port: connection.client.port(),
            server: self.endpoint.address.ip().to_string(),
            server_port: self.endpoint.address.port(),
            http: "1.1".to_owned(),
            srv: "hyper".to_owned(),
            call,
            att: attempt - 1,
            arrival: attempt - 1,
            sdk_retry: text("x-stainless-retry-count"),
            t_hdr: now(),
            conc: self.slots.in_use(),
            lib: ua.split(' ').next().unwrap_or_default().to_owned(),
            ua,
            is_retry: retry_of.is_some(),
            retry_of,
            visible: true,
            ..Record::default()
        };
        Exchange::new(record, Arc::clone(&self.log))
    }

    /// Waits for a slot and notes how long that took.
    async fn queue(&self, exchange: &mut Exchange) -> Slot {
        let since = now();
        let slot = self.slots.take().await;
        exchange.record.queue_s = crate::clock::micros(now() - since);
        slot
    }

    /// Time a refusal takes: a few milliseconds, as it costs no tokens.
    fn refusal(&self, seed: &mut Seed) -> Duration {
        Duration::from_millis(seed.between(4, 14))
    }

    /// An error answer.
    fn refuse(
        &self,
        mut exchange: Exchange,
        connection: Arc<Connection>,
        code: u16,
        retry_after_s: Option<u32>,
    ) -> Response<Reply> {
        exchange.record.status = code;
        let body = Bytes::from(match self.endpoint.api {
            Api::Openai => openai::error(code),
            Api::Anthropic => anthropic::error(code),
        });
        let mut response = self.head(code, "application/json", &exchange);
        if let Some(seconds) = retry_after_s {
            response = response.header("retry-after", seconds);
        }
        finish(response, plain(exchange, connection, &body, 0, None))
    }

    /// A real answer, once its first token is ready (or, when plain, all of them).
    async fn answer(
        &self,
        mut exchange: Exchange,
        connection: Arc<Connection>,
        work: Work,
    ) -> Response<Reply> {
        let Work { ask, route, body_bytes, fault, mut seed, slot } = work;
        if route == Route::Unknown {
            return self.refuse(exchange, connection, 404, None);
        }
        let [low, high] = self.endpoint.first_token_ms;
        let first = Duration::from_millis(seed.between(low, high));
        let late = fault.as_ref().map_or(Duration::ZERO, Fault::first_token_delay);
        let answer = Answer::new(&ask, body_bytes, &mut seed);
        exchange.record.tokens_planned = answer.token_count();
        if route == Route::Embed {
            exchange.record.tokens_planned = 0;
            sleep(first + late).await;
            let body = Bytes::from(openai::embedding(&answer, &mut seed));
            exchange.record.status = 200;
            let head = self.head(200, "application/json", &exchange);
            return finish(head, plain(exchange, connection, &body, 0, fault.as_ref()));
        }
        if ask.stream {
            sleep(first + late).await;
            exchange.record.status = 200;
            let events = self.events(&answer, &mut seed);
            let steps = script(&events, self.endpoint.token_ms, fault.as_ref(), &mut seed);
            let head = self.head(200, "text/event-stream; charset=utf-8", &exchange);
            let head = head.header("cache-control", "no-cache");
            let reply = Reply::new(exchange, steps, None, connection);
            return finish(head, reply.occupying(slot, self.endpoint.free_on_disconnect));
        }
        let [low, high] = self.endpoint.token_ms;
        let rest: u64 = answer.tokens.iter().map(|_| seed.between(low, high)).sum();
        sleep(first + late + Duration::from_millis(rest)).await;
        exchange.record.status = 200;
        let body = Bytes::from(self.plain_body(&answer));
        let head = self.head(200, "application/json", &exchange);
        finish(head, plain(exchange, connection, &body, answer.token_count(), fault.as_ref()))
    }

    fn events(&self, answer: &Answer, seed: &mut Seed) -> Vec<crate::answer::Event> {
        match self.endpoint.api {
            Api::Openai => openai::events(answer, self.endpoint.obfuscate, seed),
            Api::Anthropic => anthropic::events(answer, seed),
        }
    }

    fn plain_body(&self, answer: &Answer) -> String {
        match self.endpoint.api {
            Api::Openai => openai::plain(answer),
            Api::Anthropic => anthropic::plain(answer),
        }
    }

    fn head(&self, status: u16, content_type: &str, exchange: &Exchange) -> Builder {
        head(&self.endpoint, status, content_type, exchange.record.id)
    }
}

impl Route {
    /// What a path asks an endpoint for.
    fn of(api: Api, path: &str) -> Self {
        match (api, path) {
            (Api::Openai, "/v1/chat/completions") | (Api::Anthropic, "/v1/messages") => {
                Self::Generate
            }
            (Api::Openai, "/v1/embeddings") => Self::Embed,
            (Api::Openai | Api::Anthropic, _) => Self::Unknown,
        }
    }
}

impl Exchange {
    /// Notes what the body says.
    fn describe(&mut self, route: Route, ask: &Ask, body: &Bytes) {
        let record = &mut self.record;
        record.t_body = now();
        record.req_body = body.len() as u64;
        record.prompt_tokens = u32::try_from(body.len() / 4).unwrap_or(u32::MAX);
        record.stream = ask.stream;
        let kind = match (route, ask.stream) {
            (Route::Generate, true) => "chat_s",
            (Route::Generate, false) => "chat",
            (Route::Embed, _) => "embed",
            (Route::Unknown, _) => "unknown",
        };
        record.kind = kind.to_owned();
    }
}

/// A body whose length is told beforehand.
fn plain(
    exchange: Exchange,
    connection: Arc<Connection>,
    body: &Bytes,
    tokens: u32,
    fault: Option<&Fault>,
) -> Reply {
    let length = Some(body.len() as u64);
    Reply::new(exchange, plain_script(body, tokens, fault), length, connection)
}

fn finish(head: Builder, reply: Reply) -> Response<Reply> {
    head.body(reply).expect("every header above is valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_belong_to_their_api() {
        assert_eq!(Route::of(Api::Openai, "/v1/embeddings"), Route::Embed);
        assert_eq!(Route::of(Api::Anthropic, "/v1/embeddings"), Route::Unknown);
        assert_eq!(Route::of(Api::Anthropic, "/v1/messages"), Route::Generate);
    }
}
