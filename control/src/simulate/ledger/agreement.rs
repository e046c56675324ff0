//! What the data plane told of exchanges, beside what the world knows of attempts.

use std::collections::BTreeMap;

use fastpath::burst::Address;
use fastpath::telemetry::event::{Exchange, Outcome};
use fastpath::time::Nanos;
use serde::Serialize;

use super::Ended;
use crate::simulate::frame::Socket;

/// How what was told compares with what was. An attempt is one whose request was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Attempts there were.
    pub attempts: u64,
    /// Exchanges that were told.
    pub exchanges: u64,
    /// Attempts of which none was told.
    pub missing: u64,
    /// Exchanges that were none.
    pub invented: u64,
    /// Attempts that were told with the right outcome. One that still ran when the run ended has none
    /// to be right about.
    pub outcomes_right: u64,
    /// Attempts told with another outcome: how it was and how it was told.
    pub outcomes_wrong: BTreeMap<String, u64>,
    /// Attempts that were retries: an earlier one had sent its request.
    pub retries: u64,
    /// Exchanges told as retries.
    pub retries_told: u64,
    /// Both.
    pub retries_right: u64,
}

/// An attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) client: Socket,
    pub(super) at: Nanos,
    pub(super) retry: bool,
    pub(super) ended: Option<Ended>,
}

/// An exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    client: Address,
    port: u16,
    start: Nanos,
    outcome: Outcome,
    retry: bool,
}

impl Told {
    pub(super) fn new(exchange: &Exchange) -> Self {
        let (client, port) = (exchange.peers.client, exchange.peers.client_port);
        let (start, outcome) = (exchange.start, exchange.outcome);
        Self { client, port, start, outcome, retry: exchange.retry_of.is_some() }
    }
}

/// Attempts on a connection, and exchanges told of it.
type Both<'a> = (Vec<&'a Attempt>, Vec<&'a Told>);

/// Compares them: the n-th exchange of a connection is its n-th attempt.
pub(super) fn compare(attempts: &[Attempt], told: &[Told]) -> Agreement {
    let mut by: BTreeMap<(u128, u16), Both<'_>> = BTreeMap::new();
    for attempt in attempts {
        let address = attempt.client.address.to_ipv6_mapped().to_bits();
        by.entry((address, attempt.client.port)).or_default().0.push(attempt);
    }
    for told in told {
        by.entry((number(told.client), told.port)).or_default().1.push(told);
    }
    let mut agreement = Agreement::default();
    for (attempts, told) in by.values_mut() {
        attempts.sort_by_key(|attempt| attempt.at);
        told.sort_by_key(|told| told.start);
        agreement.add(attempts, told);
    }
    agreement
}

impl Agreement {
    fn add(&mut self, attempts: &[&Attempt], told: &[&Told]) {
        let (there, seen) = (attempts.len() as u64, told.len() as u64);
        self.attempts += there;
        self.exchanges += seen;
        self.missing += there.saturating_sub(seen);
        self.invented += seen.saturating_sub(there);
        let count =
            |flags: &mut dyn Iterator<Item = bool>| flags.filter(|&flag| flag).count() as u64;
        self.retries += count(&mut attempts.iter().map(|attempt| attempt.retry));
        self.retries_told += count(&mut told.iter().map(|told| told.retry));
        for (attempt, told) in attempts.iter().zip(told) {
            self.retries_right += u64::from(attempt.retry && told.retry);
            let was = attempt.ended.map(Ended::outcome);
            if was.is_none_or(|was| was == told.outcome) {
                self.outcomes_right += 1;
            } else {
                let was = was.map_or("open", Outcome::name);
                let pair = format!("{was} told as {}", told.outcome.name());
                *self.outcomes_wrong.entry(pair).or_default() += 1;
            }
        }
    }
}

/// An address as a number, IPv4 as IPv6 does.
fn number(address: Address) -> u128 {
    match address.ip() {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        std::net::IpAddr::V6(v6) => v6.to_bits(),
    }
}
