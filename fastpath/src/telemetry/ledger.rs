//! The waste ledger: what exchanges add up to, in all, by endpoint, by client and by tenant.
//!
//! Pure and bounded: fed with [`ExchangeLine`]s in the order in which they end, it reads no clock
//! and never grows past its limits; what does not fit goes to an account named [`OTHERS`].
//! Exchanges with known AI endpoints and with other servers are kept in two [`Book`]s, so that the
//! second never blurs the first. What cannot be seen is counted as unseen, never as zero.
//!
//! Some waste is known only after an exchange has ended: [`Ledger::amend`] moves what was entered
//! from no waste to waste. So the ledger is at any time the sum of the lines as they are then.

mod concurrency;
pub mod propagation;
pub mod savings;
mod tally;

use std::collections::HashMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::event::Waste;
use super::line::ExchangeLine;
use concurrency::Concurrency;
pub use concurrency::{CONCURRENCY_FLOORS, ConcurrencyRow};
pub use tally::{Held, Range, Tally, Unseen, WasteTotals};

/// Clients with an account of their own, in each book.
pub const CLIENTS_MAX: usize = 4096;

/// Endpoints, or other servers, with an account of their own. As many as a policy can name.
pub const ACCOUNTS_MAX: usize = 512;

/// Tenants with an account of their own, in each book.
pub const TENANTS_MAX: usize = 512;

/// Name of the account of everything that belongs to no tenant the policy names.
pub const UNNAMED: &str = "(unnamed)";

/// Name of the account of everything that found no room.
pub const OTHERS: &str = "(others)";

/// The waste ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Exchanges with known AI endpoints.
    pub endpoints: Book,
    /// Exchanges with every other server, by the name asked for or by address.
    pub others: Book,
}

/// Accounts of one kind of server.
#[derive(Debug, Default)]
pub struct Book {
    tally: Tally,
    servers: HashMap<String, ServerAccount>,
    clients: HashMap<String, ClientAccount>,
    tenants: HashMap<String, Tally>,
}

#[derive(Debug)]
struct ServerAccount {
    tally: Tally,
    first_byte: Histogram<u64>,
}

#[derive(Debug, Default)]
struct ClientAccount {
    tally: Tally,
    concurrency: Concurrency,
}

/// An endpoint (or another server) as a row: of a table, of the report, of the socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EndpointRow {
    /// Name of the endpoint; of another server the name asked for, or its address.
    pub name: String,
    /// Everything its exchanges add up to.
    #[serde(flatten)]
    pub tally: Tally,
    /// Attempts for one first attempt; none without a first attempt.
    pub amplification: Option<f64>,
    /// Exchanges running now; only the live data plane knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    /// Half of the responses began within this time, milliseconds.
    pub first_byte_p50_ms: Option<f64>,
    /// 99 of a hundred responses began within this time, milliseconds.
    pub first_byte_p99_ms: Option<f64>,
}

/// A client as a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClientRow {
    /// Its address.
    pub name: String,
    /// Everything its exchanges add up to.
    #[serde(flatten)]
    pub tally: Tally,
    /// Attempts for one first attempt; none without a first attempt.
    pub amplification: Option<f64>,
    /// Exchanges running now; only the live data plane knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    /// Most exchanges it had running at once.
    pub concurrency_max: u32,
}

/// A tenant as a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TenantRow {
    /// Its name.
    pub name: String,
    /// Everything its exchanges add up to.
    #[serde(flatten)]
    pub tally: Tally,
    /// Attempts for one first attempt; none without a first attempt.
    pub amplification: Option<f64>,
}

/// Both books, as one message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LedgerView {
    /// Exchanges with known AI endpoints.
    pub endpoints: BookView,
    /// Exchanges with every other server.
    pub others: BookView,
}

/// A book, as rows: those with the most waste first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BookView {
    /// In all.
    pub totals: Tally,
    /// By endpoint or server.
    pub servers: Vec<EndpointRow>,
    /// By client.
    pub clients: Vec<ClientRow>,
    /// By tenant.
    #[serde(default)]
    pub tenants: Vec<TenantRow>,
    /// How many exchanges a client had running when one of its exchanges began.
    pub concurrency: Vec<ConcurrencyRow>,
}

impl Ledger {
    /// Enters one exchange.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        let book = if exchange.endpoint.is_some() { &mut self.endpoints } else { &mut self.others };
        book.add(exchange);
    }

    /// Books an exchange that was entered as no waste as `waste`. One that is waste stays what it is,
    /// so that nothing is added up twice.
    pub fn amend(&mut self, entered: &ExchangeLine, waste: Waste) {
        let book = if entered.endpoint.is_some() { &mut self.endpoints } else { &mut self.others };
        if entered.waste.is_none() {
            book.amend(entered, waste);
        }
    }

    /// Everything it holds.
    #[must_use]
    pub fn view(&self) -> LedgerView {
        LedgerView { endpoints: self.endpoints.view(), others: self.others.view() }
    }
}

impl Book {
    /// Enters one exchange.
    pub fn add(&mut self, exchange: &ExchangeLine) {
        self.tally.add(exchange);
        account(&mut self.servers, exchange.server_name(), ACCOUNTS_MAX).add(exchange);
        account(&mut self.clients, &exchange.client, CLIENTS_MAX).add(exchange);
        account(&mut self.tenants, tenant(exchange), TENANTS_MAX).add(exchange);
    }

    fn amend(&mut self, entered: &ExchangeLine, waste: Waste) {
        self.tally.amend(entered, waste);
        let server = account(&mut self.servers, entered.server_name(), ACCOUNTS_MAX);
        server.tally.amend(entered, waste);
        let client = account(&mut self.clients, &entered.client, CLIENTS_MAX);
        client.tally.amend(entered, waste);
        account(&mut self.tenants, tenant(entered), TENANTS_MAX).amend(entered, waste);
    }

    /// Totals of all its exchanges.
    #[must_use]
    pub fn totals(&self) -> &Tally {
        &self.tally
    }

    /// By endpoint or server, most waste first.
    #[must_use]
    pub fn server_rows(&self) -> Vec<EndpointRow> {
        let mut rows: Vec<_> = self.servers.iter().map(|(name, a)| a.row(name)).collect();
        rows.sort_by(|a, b| worst_first((&a.tally, &a.name), (&b.tally, &b.name)));
        rows
    }

    /// By client, most waste first.
    #[must_use]
    pub fn client_rows(&self) -> Vec<ClientRow> {
        let mut rows: Vec<_> = self.clients.iter().map(|(name, a)| a.row(name)).collect();
        rows.sort_by(|a, b| worst_first((&a.tally, &a.name), (&b.tally, &b.name)));
        rows
    }

    /// By tenant, most waste first.
    #[must_use]
    pub fn tenant_rows(&self) -> Vec<TenantRow> {
        let row = |(name, tally): (&String, &Tally)| TenantRow {
            name: name.clone(),
            amplification: tally.amplification(),
            tally: tally.clone(),
        };
        let mut rows: Vec<_> = self.tenants.iter().map(row).collect();
        rows.sort_by(|a, b| worst_first((&a.tally, &a.name), (&b.tally, &b.name)));
        rows
    }

    /// Everything it holds.
    #[must_use]
    pub fn view(&self) -> BookView {
        let mut all = Concurrency::default();
        for client in self.clients.values() {
            all.merge(&client.concurrency);
        }
        BookView {
            totals: self.tally.clone(),
            servers: self.server_rows(),
            clients: self.client_rows(),
            tenants: self.tenant_rows(),
            concurrency: all.rows(),
        }
    }
}

impl ServerAccount {
    fn add(&mut self, exchange: &ExchangeLine) {
        self.tally.add(exchange);
        if let Some(seconds) = exchange.first_byte_seconds() {
            self.first_byte.saturating_record(micros(seconds));
        }
    }

    fn row(&self, name: &str) -> EndpointRow {
        EndpointRow {
            name: name.to_owned(),
            amplification: self.tally.amplification(),
            tally: self.tally.clone(),
            in_flight: None,
            first_byte_p50_ms: self.first_byte_ms(0.5),
            first_byte_p99_ms: self.first_byte_ms(0.99),
        }
    }

    fn first_byte_ms(&self, quantile: f64) -> Option<f64> {
        let value = || self.first_byte.value_at_quantile(quantile) as f64 / 1e3;
        (!self.first_byte.is_empty()).then(value)
    }
}

impl Default for ServerAccount {
    fn default() -> Self {
        // Two figures from 0.1 ms to ten minutes, about 16 KB; a slower response counts as ten
        // minutes.
        let first_byte = Histogram::new_with_bounds(100, 600_000_000, 2)
            .expect("the low bound is above zero and less than half of the high one");
        Self { tally: Tally::default(), first_byte }
    }
}

impl ClientAccount {
    fn add(&mut self, exchange: &ExchangeLine) {
        self.tally.add(exchange);
        self.concurrency.add(exchange.start, exchange.over());
    }

    fn row(&self, name: &str) -> ClientRow {
        ClientRow {
            name: name.to_owned(),
            amplification: self.tally.amplification(),
            tally: self.tally.clone(),
            in_flight: None,
            concurrency_max: self.concurrency.max(),
        }
    }
}

fn tenant(exchange: &ExchangeLine) -> &str {
    exchange.tenant.as_deref().unwrap_or(UNNAMED)
}

/// The account of `name`, or the one of the others when there is no room for a new one.
fn account<'a, A: Default>(
    accounts: &'a mut HashMap<String, A>,
    name: &str,
    limit: usize,
) -> &'a mut A {
    let known = accounts.contains_key(name);
    let name = if known || accounts.len() < limit { name } else { OTHERS };
    if !known && !accounts.contains_key(name) {
        accounts.insert(name.to_owned(), A::default());
    }
    accounts.get_mut(name).expect("it was there, or has just been made")
}

/// Most waste first; then the busiest; then by name, so that the order is stable.
fn worst_first(a: (&Tally, &String), b: (&Tally, &String)) -> std::cmp::Ordering {
    let weight = |tally: &Tally| (tally.waste.exchanges, tally.exchanges);
    weight(b.0).cmp(&weight(a.0)).then_with(|| a.1.cmp(b.1))
}

/// Microseconds, for the histogram; negative time is none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped just before")]
fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).clamp(0.0, 1e12) as u64
}

#[cfg(test)]
pub(crate) mod tests;
