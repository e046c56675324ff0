//! The shape of an OpenAI-compatible answer: `/v1/chat/completions` streamed and plain,
//! `/v1/embeddings`, errors.

use serde_json::json;

use crate::answer::{Answer, Event, Seed};

/// The events of a streamed answer, `[DONE]` at the end. With `obfuscate` every event is filled to
/// one length, as OpenAI does to hide the lengths of tokens.
pub(crate) fn events(answer: &Answer, obfuscate: bool, seed: &mut Seed) -> Vec<Event> {
    let mut chunk = |delta: &str, finish: &str, tokens| {
        let head = head(answer);
        let body = format!(
            "{head},\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]"
        );
        let room = EVENT_BYTES.saturating_sub(body.len() + OBFUSCATION_BYTES);
        let filling = match (obfuscate, room) {
            (true, 1..) => {
                let letters = seed.letters(room as u64);
                format!(",\"obfuscation\":\"{letters}\"")
            }
            (true, 0) | (false, _) => String::new(),
        };
        Event { bytes: format!("data: {body}{filling}}}\n\n"), tokens }
    };
    let mut events = vec![chunk(r#"{"role":"assistant","content":"","refusal":null}"#, "null", 0)];
    for token in &answer.tokens {
        events.push(chunk(&format!("{{\"content\":\"{token}\"}}"), "null", 1));
    }
    events.push(chunk("{}", "\"stop\"", 0));
    events.push(Event { bytes: "data: [DONE]\n\n".to_owned(), tokens: 0 });
    events
}

/// The first fields of every chunk.
fn head(answer: &Answer) -> String {
    let Answer { id, model, .. } = answer;
    format!(
        "{{\"id\":\"chatcmpl-{id}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\"model\":{},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_50cad350e4\"",
        json!(model)
    )
}

/// A plain answer.
pub(crate) fn plain(answer: &Answer) -> String {
    let (prompt, completion) = (answer.prompt_tokens, answer.token_count());
    json!({
        "id": format!("chatcmpl-{}", answer.id), "object": "chat.completion", "created": CREATED,
        "model": answer.model,
        "choices": [{
            "index": 0, "logprobs": null, "finish_reason": "stop",
            "message": {
                "role": "assistant", "content": answer.text(), "refusal": null, "annotations": [],
            },
        }],
        "usage": {
            "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default", "system_fingerprint": "fp_50cad350e4",
    })
    .to_string()
}

/// An embedding of 1,536 numbers in base64, which is what the SDK asks for.
pub(crate) fn embedding(answer: &Answer, seed: &mut Seed) -> String {
    // Letters are valid base64, and 1,536 floats of four bytes take 8,192 of them.
    let numbers = seed.letters(8192);
    json!({
        "object": "list", "model": answer.model,
        "data": [{"object": "embedding", "index": 0, "embedding": numbers}],
        "usage": {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens},
    })
    .to_string()
}

/// An error body.
pub(crate) fn error(code: u16) -> String {
    let (kind, message) = match code {
        429 => (
            "requests",
            "Rate limit reached for requests: limit 500 per minute, please try again in 1s. \
             Visit https://platform.openai.test/account/rate-limits to learn more.",
        ),
        404 => ("invalid_request_error", "Unknown request URL."),
        _ => ("server_error", "The server is currently overloaded. Sorry about that!"),
    };
    let name = if code == 429 { json!("rate_limit_exceeded") } else { json!(null) };
    json!({"error": {"message": message, "type": kind, "param": null, "code": name}}).to_string()
}

/// Every answer is as old as the lab: a clock in it would make two answers differ.
const CREATED: u64 = 1_795_000_000;
/// Length an obfuscated event is filled to, without `data: ` and its end.
const EVENT_BYTES: usize = 312;
/// `,"obfuscation":""` and the closing brace.
const OBFUSCATION_BYTES: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Ask;

    fn answer() -> (Answer, Seed) {
        let ask = Ask { model: "gpt-lab".into(), max_tokens: Some(9), ..Ask::default() };
        let mut seed = Seed::of_request(1, "/v1/chat/completions", b"{}");
        (Answer::new(&ask, 2, &mut seed), seed)
    }

    #[test]
    fn obfuscated_events_have_one_length() {
        let (answer, mut seed) = answer();
        let events = events(&answer, true, &mut seed);
        let lengths: Vec<usize> = events.iter().map(|event| event.bytes.len()).collect();
        assert!(lengths[..11].iter().all(|length| *length == lengths[0]), "{lengths:?}");
    }

    #[test]
    fn every_event_but_the_last_is_json_and_they_carry_all_tokens() {
        let (answer, mut seed) = answer();
        let events = events(&answer, false, &mut seed);
        let (done, chunks) = events.split_last().unwrap();
        assert_eq!(done.bytes, "data: [DONE]\n\n");
        for chunk in chunks {
            let data = chunk.bytes.strip_prefix("data: ").unwrap();
            serde_json::from_str::<serde_json::Value>(data).unwrap();
        }
        assert_eq!(events.iter().map(|event| event.tokens).sum::<u32>(), 9);
    }
}
