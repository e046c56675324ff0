//! Records: which elements each has, and their values.

use std::net::IpAddr;

use fastpath::telemetry::event::{Outcome, Reason, Verdict, Visibility, Waste};
use fastpath::telemetry::line::{EventLine, ExchangeLine};

use super::element::{
    DESTINATION_PORT, DESTINATION_V4, DESTINATION_V6, ENTERPRISE_ELEMENTS, EXCHANGE, Element,
    FLOW_END, FLOW_START, INITIATOR_OCTETS, OBSERVED, OCTETS, PROTOCOL, RESPONDER_OCTETS,
    SOURCE_PORT, SOURCE_V4, SOURCE_V6, WASTE,
};

/// What a record is of; each has a template, by the family of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    ExchangeV4,
    ExchangeV6,
    AmendmentV4,
    AmendmentV6,
    /// What the elements of the enterprise are: an options template.
    Elements,
}

/// A record's bytes, and its template.
pub(super) type Record = (Template, Vec<u8>);

impl Template {
    pub(super) const DATA: [Self; 4] =
        [Self::ExchangeV4, Self::ExchangeV6, Self::AmendmentV4, Self::AmendmentV6];

    /// Its number, which is also that of its sets.
    pub(super) const fn id(self) -> u16 {
        match self {
            Self::ExchangeV4 => 256,
            Self::ExchangeV6 => 257,
            Self::AmendmentV4 => 258,
            Self::AmendmentV6 => 259,
            Self::Elements => 260,
        }
    }

    /// Its elements, in the order of its records.
    pub(super) fn elements(self) -> Vec<Element> {
        let v4 = [SOURCE_V4, DESTINATION_V4, SOURCE_PORT, DESTINATION_PORT, PROTOCOL];
        let v6 = [SOURCE_V6, DESTINATION_V6, SOURCE_PORT, DESTINATION_PORT, PROTOCOL];
        let octets = [OCTETS, INITIATOR_OCTETS, RESPONDER_OCTETS];
        let exchange = [&octets[..], &ENTERPRISE_ELEMENTS].concat();
        match self {
            Self::ExchangeV4 => [&[FLOW_START, FLOW_END], &v4[..], &exchange].concat(),
            Self::ExchangeV6 => [&[FLOW_START, FLOW_END], &v6[..], &exchange].concat(),
            Self::AmendmentV4 => [&[OBSERVED], &v4[..], &[EXCHANGE, WASTE]].concat(),
            Self::AmendmentV6 => [&[OBSERVED], &v6[..], &[EXCHANGE, WASTE]].concat(),
            Self::Elements => super::element::DESCRIPTION.to_vec(),
        }
    }
}

/// What stands for a time or number that there is not.
const NONE: u32 = u32::MAX;

/// The record of an exchange; none where its addresses cannot be read.
pub(super) fn of_exchange(x: &ExchangeLine) -> Option<Record> {
    let mut out = Vec::with_capacity(160);
    out.extend_from_slice(&millis(x.start).to_be_bytes());
    out.extend_from_slice(&millis(x.end.max(x.start)).to_be_bytes());
    let protocol = if x.visibility == Visibility::Quic { 17 } else { 6 };
    let v4 =
        five_tuple(&mut out, (&x.client, x.client_port), (&x.server, x.server_port), protocol)?;
    for octets in [x.up_bucket, x.up_bucket, x.down_bucket] {
        out.extend_from_slice(&octets.to_be_bytes());
    }
    out.extend_from_slice(&number(&x.id).to_be_bytes());
    out.extend_from_slice(&x.retry_of.as_deref().map_or(0, number).to_be_bytes());
    out.extend_from_slice(&x.attempt.to_be_bytes());
    let confidence = whole(x.confidence.outcome * 100.0).min(100);
    out.push(outcome(x.outcome));
    out.push(u8::try_from(confidence).unwrap_or(100));
    out.extend_from_slice(&[waste(x.waste), verdict(x.verdict), reason(x.reason)]);
    out.push(boolean(x.enforced));
    let hold = x.hold_ms.map_or(0, |ms| u32::try_from(ms).unwrap_or(NONE - 1));
    out.extend_from_slice(&hold.to_be_bytes());
    let waited = x.first_byte.map_or(NONE, |at| whole((at - x.start) * 1e3));
    out.extend_from_slice(&waited.to_be_bytes());
    let tokens = x.tokens_estimate.map_or(NONE, |[_, likely, _]| whole(likely));
    out.extend_from_slice(&tokens.to_be_bytes());
    out.extend_from_slice(&[boolean(x.hedge), boolean(x.restart), visibility(x.visibility)]);
    string(&mut out, x.endpoint.as_deref().unwrap_or_default());
    string(&mut out, x.tenant.as_deref().unwrap_or_default());
    Some((if v4 { Template::ExchangeV4 } else { Template::ExchangeV6 }, out))
}

/// The record of an exchange that turns out to have been waste.
pub(super) fn of_amendment(event: &EventLine) -> Option<Record> {
    let why = event.waste?;
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&millis(event.time).to_be_bytes());
    let client = (&*event.client, event.client_port);
    let v4 = five_tuple(&mut out, client, (&event.server, event.server_port), 6)?;
    out.extend_from_slice(&number(&event.exchange).to_be_bytes());
    out.push(waste(Some(why)));
    Some((if v4 { Template::AmendmentV4 } else { Template::AmendmentV6 }, out))
}

/// The record that describes an element of `enterprise`.
pub(super) fn of_element(element: &Element, enterprise: u32) -> Record {
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(&enterprise.to_be_bytes());
    out.extend_from_slice(&element.id.to_be_bytes());
    out.push(element.kind.number());
    string(&mut out, element.name);
    (Template::Elements, out)
}

/// Addresses, ports and protocol. Returns whether the addresses are of IPv4.
fn five_tuple(
    out: &mut Vec<u8>,
    client: (&str, u16),
    server: (&str, u16),
    protocol: u8,
) -> Option<bool> {
    let addresses = (client.0.parse().ok()?, server.0.parse().ok()?);
    let v4 = match addresses {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            out.extend_from_slice(&client.octets());
            out.extend_from_slice(&server.octets());
            true
        }
        (IpAddr::V6(client), IpAddr::V6(server)) => {
            out.extend_from_slice(&client.octets());
            out.extend_from_slice(&server.octets());
            false
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    out.extend_from_slice(&client.1.to_be_bytes());
    out.extend_from_slice(&server.1.to_be_bytes());
    out.push(protocol);
    Some(v4)
}

/// Variable length (RFC 7011, section 7): one byte of length below 255, else 255 and two.
fn string(out: &mut Vec<u8>, text: &str) {
    let text = text.get(..STRING_MAX.min(text.len())).unwrap_or_default();
    match u8::try_from(text.len()) {
        Ok(length) if length < u8::MAX => out.push(length),
        Ok(_) | Err(_) => {
            out.push(u8::MAX);
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Bytes of a name at most: a message has to hold its record.
const STRING_MAX: usize = 512;

/// The number of `x57`.
fn number(id: &str) -> u64 {
    id.trim_start_matches('x').parse().unwrap_or(0)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates at both ends"
)]
fn millis(seconds: f64) -> u64 {
    (seconds * 1e3).round() as u64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates at both ends"
)]
fn whole(value: f64) -> u32 {
    (value.round() as u32).min(NONE - 1)
}

const fn boolean(is: bool) -> u8 {
    if is { 1 } else { 2 }
}

/// Numbers that collectors keep: add, never change.
const fn outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Complete => 1,
        Outcome::Failed => 2,
        Outcome::Throttled => 3,
        Outcome::ClientAbort => 4,
        Outcome::ServerAbort => 5,
        Outcome::Truncated => 6,
        Outcome::Stalled => 7,
        Outcome::ConnectFailed => 8,
        Outcome::Open => 9,
    }
}

/// Likewise; 0 is no waste.
const fn waste(waste: Option<Waste>) -> u8 {
    match waste {
        None => 0,
        Some(Waste::Retry) => 1,
        Some(Waste::LateAbort) => 2,
        Some(Waste::Partial) => 3,
        Some(Waste::Orphan) => 4,
        Some(Waste::Thrash) => 5,
        Some(Waste::Doomed) => 6,
        Some(Waste::Hedge) => 7,
    }
}

/// Likewise.
const fn verdict(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Hold => 1,
        Verdict::Pace => 2,
        Verdict::Police => 3,
        Verdict::Mark => 4,
        Verdict::Reset => 5,
        Verdict::Reroute => 6,
    }
}

/// Likewise.
const fn reason(reason: Reason) -> u8 {
    match reason {
        Reason::NoRule => 0,
        Reason::WithinRetryBudget => 1,
        Reason::OverRetryBudget => 2,
        Reason::ConcurrencyLimit => 3,
        Reason::AdmissionControl => 4,
        Reason::BreakerOpen => 5,
        Reason::ReplicaChoice => 6,
        Reason::ClientLeft => 7,
        Reason::RetriesLast => 8,
        Reason::FanOut => 9,
    }
}

/// Likewise.
const fn visibility(visibility: Visibility) -> u8 {
    match visibility {
        Visibility::H1 => 1,
        Visibility::Mux => 2,
        Visibility::Quic => 3,
        Visibility::Opaque => 4,
        Visibility::Both => 5,
    }
}
