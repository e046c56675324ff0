//! Output tokens and their cost, from records and bytes of the response and the endpoint's
//! calibration.

use crate::exchange::h1::Facts;
use crate::policy::endpoint::{Calibration, Class, Endpoint, Fit, Price};
use crate::telemetry::event::{Estimate, Outcome};

/// Tokens of the response, as a range. `None` when there is no response, none of a model, or no
/// calibration.
#[must_use]
pub fn estimate(facts: &Facts, outcome: Outcome, endpoint: &Endpoint) -> Option<Estimate> {
    let failed = matches!(outcome, Outcome::Failed | Outcome::Throttled | Outcome::ConnectFailed);
    if failed || facts.seen.down_records == 0 {
        return None;
    }
    let Calibration { stream, plain, .. } = calibration(endpoint)?;
    // A plain reply comes in one piece: what was cut was a stream, however short it stayed.
    let cut = matches!(outcome, Outcome::ClientAbort | Outcome::ServerAbort);
    let fit = if facts.is_streamed() || cut { stream } else { plain? };
    let (records, bytes) = facts.body();
    let tail = if outcome == Outcome::Complete { fit.tail } else { 0.0 };
    let likely = fit.per_record * records as f32 + fit.per_byte * bytes as f32 + fit.offset + tail;
    Some(range(likely, fit))
}

/// What these tokens cost, in thousandths of a US dollar.
#[must_use]
pub fn cost(tokens: Estimate, price: Price) -> Estimate {
    let [cheap, usual, dear] = price.output_per_million.map(|usd| usd / 1000.0);
    Estimate { low: tokens.low * cheap, likely: tokens.likely * usual, high: tokens.high * dear }
}

/// Tokens of a response over HTTP/2: records and bytes without headers, and without what a stream
/// begins with.
#[must_use]
pub fn estimate_mux(
    (records, bytes): (u32, u32),
    streamed: bool,
    outcome: Outcome,
    endpoint: &Endpoint,
) -> Option<Estimate> {
    let failed = matches!(outcome, Outcome::Failed | Outcome::Throttled | Outcome::ConnectFailed);
    if failed || records == 0 {
        return None;
    }
    let Calibration { stream, mux_stream, mux_plain, .. } = calibration(endpoint)?;
    let fit = if streamed { mux_stream.unwrap_or(stream) } else { mux_plain? };
    let tail = if outcome == Outcome::Complete { fit.tail } else { 0.0 };
    let likely = fit.per_record * records as f32 + fit.per_byte * bytes as f32 + fit.offset + tail;
    Some(range(likely, fit))
}

/// The endpoint's own calibration; that of anybody for a model that has none.
fn calibration(endpoint: &Endpoint) -> Option<Calibration> {
    endpoint.calibration.or((endpoint.class == Class::Llm).then_some(ANYBODYS))
}

/// Of a model that nobody has calibrated: a record of a stream is an event, with one token (OpenAI,
/// vLLM) or two to three (Anthropic), and a few are none. The range says how little that is. Of a
/// plain reply nothing is said: what stands around its text may be longer than the text.
const ANYBODYS: Calibration = {
    let stream = Fit { per_record: 1.4, per_byte: 0.0, offset: -3.0, tail: -2.0, spread: 0.85 };
    let mux_stream = Some(Fit { offset: 0.0, ..stream });
    Calibration { stream, plain: None, mux_stream, mux_plain: None }
};

/// One token more or less never matters, and counts cannot be told closer than that.
fn range(likely: f32, fit: Fit) -> Estimate {
    let likely = likely.max(0.0);
    Estimate {
        low: (likely * (1.0 - fit.spread) - 1.0).max(0.0),
        likely,
        high: likely * (1.0 + fit.spread) + 2.0,
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
        let tokens = estimate(&facts, Outcome::Complete, &endpoint()).unwrap();
        assert_eq!(tokens.likely, 20.0);
        assert!(tokens.low < 20.0 && tokens.high > 20.0);
        let cost = cost(tokens, endpoint().price.unwrap());
        assert!((cost.likely - 0.04).abs() < 1e-6, "20 tokens at 2 dollars a million");
    }

    #[test]
    fn a_stream_that_was_cut_in_its_prelude_has_no_tokens_yet() {
        let facts = facts(Shape { down: &[(100, 300), (101, 300)], ..Shape::default() });
        let tokens = estimate(&facts, Outcome::ClientAbort, &endpoint()).unwrap();
        assert_eq!(tokens.likely, 0.0);
    }

    #[test]
    fn a_model_without_a_calibration_has_a_wide_estimate_and_a_tool_none() {
        let mut endpoint = Endpoint::gone("x");
        let down: Vec<_> = (0..44).map(|n| (100 + 20 * n, 300)).collect();
        let facts = facts(Shape { down: &down, ..Shape::default() });
        let tokens = estimate(&facts, Outcome::ClientAbort, &endpoint).unwrap();
        assert!(tokens.low < 40.0 && tokens.high > 100.0, "one token a record, or two and a half");
        endpoint.class = Class::Tool;
        assert_eq!(estimate(&facts, Outcome::ClientAbort, &endpoint), None);
    }

    #[test]
    fn an_error_has_no_tokens_and_no_calibration_no_estimate() {
        let facts = facts(Shape { down: &[(30, 900)], ..Shape::default() });
        assert_eq!(estimate(&facts, Outcome::Failed, &endpoint()), None);
        assert_eq!(
            estimate(&facts, Outcome::Complete, &endpoint()),
            None,
            "no fit for plain replies"
        );
    }
}
