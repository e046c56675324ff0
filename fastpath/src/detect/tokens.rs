//! Output tokens and their cost, from records and bytes of the response and the endpoint's
//! calibration.

use crate::exchange::cadence::Cadence;
use crate::exchange::h1::Facts;
use crate::exchange::mux::Stream;
use crate::policy::endpoint::{Calibration, Class, Endpoint, Fit, Price};
use crate::telemetry::event::{Estimate, Outcome};

/// Tokens of the response, as a range. `None` when there is no response, none of a model, or no
/// calibration. Of an endpoint that nobody has named, a steady stream of events is counted.
#[must_use]
pub fn estimate(facts: &Facts, outcome: Outcome, endpoint: Option<&Endpoint>) -> Option<Estimate> {
    let failed = matches!(outcome, Outcome::Failed | Outcome::Throttled | Outcome::ConnectFailed);
    if failed || facts.seen.down_records == 0 {
        return None;
    }
    let cadence = facts.seen.cadence;
    let calibration = match endpoint {
        Some(Endpoint { calibration: Some(known), .. }) => *known,
        Some(Endpoint { class: Class::Llm, .. }) => anybodys(&cadence),
        None if is_steady(facts) => anybodys(&cadence),
        _ => return None,
    };
    // A plain reply comes in one piece: what was cut was a stream, however short it stayed.
    let cut = matches!(outcome, Outcome::ClientAbort | Outcome::ServerAbort);
    if !facts.is_streamed() && !cut {
        return Some(range(linear(calibration.plain?, facts.body(), outcome), calibration.plain?));
    }
    Some(stream(&cadence, facts.body(), outcome, calibration.stream))
}

/// Tokens of a stream. `body`: records and bytes of all of it.
fn stream(cadence: &Cadence, body: (u32, u32), outcome: Outcome, fit: Fit) -> Estimate {
    let by_event = fit.per_event != 0.0;
    let counts = if by_event || fit.events_only { cadence.counts() } else { body };
    let events = cadence.event_length().map_or(0.0, |length| counts.1 as f32 / length);
    let role = if cadence.opens_with_role() { 1.0 } else { 0.0 };
    let likely = linear(fit, counts, outcome) + fit.per_event * (events - role);
    // An event carries a token; one that opens the text and one that closes it may look alike.
    let least = if fit.per_record > 0.0 { 0.0 } else { cadence.events() as f32 - 2.0 };
    let likely = likely.max(least);
    let is_clear = 2 * cadence.events() >= cadence.counts().0;
    let spread = if by_event && !is_clear { fit.spread.max(UNCLEAR) } else { fit.spread };
    let tokens = range(likely, Fit { spread, ..fit });
    let several = fit.per_byte == 0.0 && cadence.swing() > TOKEN_BYTES;
    Estimate { high: tokens.high.max(if several { likely * SEVERAL } else { 0.0 }), ..tokens }
}

/// What records and bytes, and the end, say.
fn linear(fit: Fit, (records, bytes): (u32, u32), outcome: Outcome) -> f32 {
    let tail = if outcome == Outcome::Complete { fit.tail } else { 0.0 };
    fit.per_record * records as f32 + fit.per_byte * bytes as f32 + fit.offset + tail
}

/// Most of its records are events of one length, and enough of them.
fn is_steady(facts: &Facts) -> bool {
    let cadence = facts.seen.cadence;
    let events = cadence.events();
    let is_event = |length: f32| length <= EVENT_BYTES_MAX;
    facts.is_streamed()
        && events >= STEADY_EVENTS
        && 4 * events >= 3 * cadence.counts().0
        && cadence.event_length().is_some_and(is_event)
}

/// What these tokens cost, in thousandths of a US dollar.
#[must_use]
pub fn cost(tokens: Estimate, price: Price) -> Estimate {
    let [cheap, usual, dear] = price.output_per_million.map(|usd| usd / 1000.0);
    Estimate { low: tokens.low * cheap, likely: tokens.likely * usual, high: tokens.high * dear }
}

/// Tokens of a response over HTTP/2. `data`: bytes of one in one piece, without headers.
#[must_use]
pub fn estimate_mux(
    seen: &Stream,
    data: u32,
    outcome: Outcome,
    endpoint: &Endpoint,
) -> Option<Estimate> {
    let failed = matches!(outcome, Outcome::Failed | Outcome::Throttled | Outcome::ConnectFailed);
    let records = u32::from(seen.down_records);
    if failed || records == 0 {
        return None;
    }
    let fallback = (endpoint.class == Class::Llm).then(|| anybodys(&seen.cadence));
    let fits = endpoint.calibration.or(fallback)?;
    if seen.is_streamed() {
        let fit = fits.mux_stream.unwrap_or(fits.stream);
        return Some(stream(&seen.cadence, (records, seen.down_bytes), outcome, fit));
    }
    let fit = fits.mux_plain?;
    Some(range(linear(fit, (records, data), outcome), fit))
}

/// Of a model that nobody has calibrated. An event that says which answer and which model it is of
/// is long and carries a token (OpenAI, vLLM); a short one carries two to three (Anthropic), and a
/// few carry none. The range says how little that is. Of a plain reply nothing is said: what stands
/// around its text may be longer than the text.
fn anybodys(cadence: &Cadence) -> Calibration {
    let is_long = cadence.event_length().is_some_and(|length| length >= LONG_EVENT);
    let (per_event, tail, spread) = if is_long { (1.0, -1.0, 1.4) } else { (2.2, -5.0, 0.85) };
    let stream = Fit { per_event, tail, spread, ..Fit::default() };
    Calibration { stream, plain: None, mux_stream: None, mux_plain: None }
}

/// Half-width of the range where most records are no event of one length.
const UNCLEAR: f32 = 0.6;
/// Events of one token differ by less, bytes; those that differ by more are padded, or carry up to
/// so many.
const TOKEN_BYTES: f32 = 5.0;
const SEVERAL: f32 = 6.0;
/// An event of OpenAI's form is longer.
const LONG_EVENT: f32 = 190.0;
/// Events of a stream that is taken for a model's whoever serves it, and their length at most.
const STEADY_EVENTS: u32 = 4;
const EVENT_BYTES_MAX: f32 = 1024.0;

/// One token more or less never matters, and counts cannot be told closer than that.
fn range(likely: f32, fit: Fit) -> Estimate {
    let likely = likely.max(0.0);
    Estimate {
        low: (likely * (1.0 - fit.spread) - fit.margin - 1.0).max(0.0),
        likely,
        high: likely * (1.0 + fit.spread) + fit.margin + 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};

    fn endpoint() -> Endpoint {
        let text = "name: x\nprice: { outputPerMillion: [1, 2, 4], inputPerMillion: [0, 0, 0] }\n\
                    calibration: { stream: { perRecord: 1, offset: -2, tail: -2, spread: 0.1 } }";
        serde_saphyr::from_str(text).unwrap()
    }

    #[test]
    fn a_stream_is_counted_by_its_records() {
        let mut down: Vec<_> = (0..24).map(|n| (100 + 20 * n, 300)).collect();
        down.push((600, 5));
        let facts = facts(Shape { down: &down, ..Shape::default() });
        let tokens = estimate(&facts, Outcome::Complete, Some(&endpoint())).unwrap();
        assert_eq!(tokens.likely, 20.0);
        assert!(tokens.low < 20.0 && tokens.high > 20.0);
        let cost = cost(tokens, endpoint().price.unwrap());
        assert!((cost.likely - 0.04).abs() < 1e-6, "20 tokens at 2 dollars a million");
    }

    #[test]
    fn a_stream_that_was_cut_in_its_prelude_has_no_tokens_yet() {
        let facts = facts(Shape { down: &[(100, 300), (101, 300)], ..Shape::default() });
        let tokens = estimate(&facts, Outcome::ClientAbort, Some(&endpoint())).unwrap();
        assert_eq!(tokens.likely, 0.0);
    }

    fn fitted(fit: &str) -> Endpoint {
        serde_saphyr::from_str(&format!("name: x\ncalibration: {{ stream: {{ {fit} }} }}")).unwrap()
    }

    fn tokens_of(lengths: &[u16], endpoint: Option<&Endpoint>) -> Option<Estimate> {
        let at = |(n, &length): (usize, &u16)| (100 + 20 * n as u64, length);
        let down: Vec<_> = lengths.iter().enumerate().map(at).collect();
        estimate(&facts(Shape { down: &down, ..Shape::default() }), Outcome::Complete, endpoint)
    }

    #[test]
    fn headers_of_another_server_and_longer_events_change_no_estimate() {
        let endpoint = fitted("perEvent: 1, tail: -1, spread: 0.1");
        for (prelude, event) in [(&[1113, 365][..], 331), (&[224, 410], 312), (&[1478], 290)] {
            let stream = [prelude, &[event; 20], &[event - 14, 14, 5]].concat();
            let tokens = tokens_of(&stream, Some(&endpoint)).unwrap().likely;
            assert!((tokens - 20.0).abs() < 1.0, "{tokens} of {prelude:?}");
        }
        let endpoint =
            fitted("eventsOnly: true, perRecord: -18, perByte: 0.152, tail: 11.4, spread: 0.2");
        let of = |headers, start| {
            let mut stream = vec![headers, start, 123, 41];
            stream.extend([&[130, 134, 126, 131, 128, 133][..], &[79, 144, 57, 5]].concat());
            tokens_of(&stream, Some(&endpoint)).unwrap().likely
        };
        assert_eq!(of(788, 332), of(199, 269));
        assert!((of(788, 332) - 10.9).abs() < 1.0, "782 bytes in six events");
    }

    #[test]
    fn events_that_differ_by_more_than_a_token_widen_the_range_upwards() {
        let endpoint = fitted("perRecord: 1, spread: 0.1");
        let one = [285, 286, 284, 287, 286, 285, 284, 286, 287];
        let several = [285, 301, 284, 299, 288, 303, 285, 297, 286];
        let high = |lengths| tokens_of(lengths, Some(&endpoint)).unwrap().high;
        assert!(high(&one) < 13.0 && high(&several) > 50.0);
    }

    #[test]
    fn of_an_endpoint_that_nobody_named_only_a_steady_stream_is_counted() {
        let stream = [&[178, 315][..], &[285; 12], &[271, 19, 5]].concat();
        let tokens = tokens_of(&stream, None).unwrap();
        assert!((tokens.likely - 12.0).abs() < 1.5 && tokens.high > 24.0);
        assert_eq!(tokens_of(&[900, 60, 4000, 300, 2000, 90, 700, 1200, 40, 5], None), None);
        assert_eq!(tokens_of(&[16384; 12], None), None, "a download");
    }

    #[test]
    fn a_model_without_a_calibration_has_a_wide_estimate_and_a_tool_none() {
        let mut endpoint = Endpoint::gone("x");
        let down: Vec<_> = (0..44).map(|n| (100 + 20 * n, 300)).collect();
        let facts = facts(Shape { down: &down, ..Shape::default() });
        let tokens = estimate(&facts, Outcome::ClientAbort, Some(&endpoint)).unwrap();
        assert!(tokens.low < 40.0 && tokens.high > 100.0, "one token a record, or two and a half");
        endpoint.class = Class::Tool;
        assert_eq!(estimate(&facts, Outcome::ClientAbort, Some(&endpoint)), None);
    }

    #[test]
    fn an_error_has_no_tokens_and_no_calibration_no_estimate() {
        let facts = facts(Shape { down: &[(30, 900)], ..Shape::default() });
        assert_eq!(estimate(&facts, Outcome::Failed, Some(&endpoint())), None);
        assert_eq!(
            estimate(&facts, Outcome::Complete, Some(&endpoint())),
            None,
            "no fit for plain replies"
        );
    }
}
