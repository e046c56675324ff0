//! The shape of an Anthropic answer: `/v1/messages` streamed and plain, errors.

use serde_json::{Value, json};

use crate::answer::{Answer, Event, Seed};

/// The events of a streamed answer in their real order. A delta carries one to four tokens.
pub(crate) fn events(answer: &Answer, seed: &mut Seed) -> Vec<Event> {
    let mut message = message(answer, json!([]), 1);
    message["stop_reason"] = Value::Null;
    let start = json!({"type": "content_block_start", "index": 0,
                       "content_block": {"type": "text", "text": ""}});
    let mut events = vec![
        event(json!({"type": "message_start", "message": message}), 0),
        event(start, 0),
        event(json!({"type": "ping"}), 0),
    ];
    let mut rest = answer.tokens.as_slice();
    while !rest.is_empty() {
        let wanted = usize::try_from(seed.between(1, 4)).expect("4 fits in a usize");
        let (now, later) = rest.split_at(wanted.min(rest.len()));
        let delta = json!({"type": "text_delta", "text": now.concat()});
        let tokens = u32::try_from(now.len()).expect("at most four");
        events.push(event(
            json!({"type": "content_block_delta", "index": 0, "delta": delta}),
            tokens,
        ));
        rest = later;
    }
    let delta = json!({"type": "message_delta", "usage": {"output_tokens": answer.token_count()},
                       "delta": {"stop_reason": "end_turn", "stop_sequence": null}});
    events.push(event(json!({"type": "content_block_stop", "index": 0}), 0));
    events.push(event(delta, 0));
    events.push(event(json!({"type": "message_stop"}), 0));
    events
}

/// One event, named as its type.
fn event(data: Value, tokens: u32) -> Event {
    let name = data["type"].as_str().expect("every event above has a type");
    Event { bytes: format!("event: {name}\ndata: {data}\n\n"), tokens }
}

/// A plain answer.
pub(crate) fn plain(answer: &Answer) -> String {
    let content = json!([{"type": "text", "text": answer.text()}]);
    message(answer, content, answer.token_count()).to_string()
}

/// A message object.
fn message(answer: &Answer, content: Value, output_tokens: u32) -> Value {
    json!({
        "id": format!("msg_{}", answer.id), "type": "message", "role": "assistant",
        "model": answer.model, "content": content, "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {
            "input_tokens": answer.prompt_tokens, "output_tokens": output_tokens,
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "service_tier": "standard",
        },
    })
}

/// An error body.
pub(crate) fn error(code: u16) -> String {
    let (kind, message) = match code {
        429 => (
            "rate_limit_error",
            "This request would exceed the rate limit of 50 requests per minute for your organization. \
             Please reduce the number of requests, or contact sales.",
        ),
        404 => ("not_found_error", "Not found"),
        529 => ("overloaded_error", "Overloaded"),
        _ => ("api_error", "Internal server error"),
    };
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_lab"})
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Ask;

    #[test]
    fn events_come_in_the_order_of_the_real_api() {
        let ask = Ask { max_tokens: Some(1), ..Ask::default() };
        let mut seed = Seed::of_request(1, "/v1/messages", b"{}");
        let answer = Answer::new(&ask, 2, &mut seed);
        let events = events(&answer, &mut seed);
        let names: Vec<&str> = events
            .iter()
            .map(|event| event.bytes.lines().next().unwrap().trim_start_matches("event: "))
            .collect();
        assert_eq!(
            names,
            [
                "message_start",
                "content_block_start",
                "ping",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop"
            ]
        );
    }
}
