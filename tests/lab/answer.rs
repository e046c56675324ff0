//! What an endpoint answers: a pure function of the request, so that a call gets the same bytes
//! whenever it is asked, on the wire, on the direct path and on its third attempt.

use serde::Deserialize;

/// A request as the endpoint understands it. Fields it does not know are ignored, as real endpoints
/// do.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Ask {
    /// The model asked for; echoed.
    #[serde(default)]
    pub(crate) model: String,
    /// Whether the answer is wanted as a stream.
    #[serde(default)]
    pub(crate) stream: bool,
    /// Wanted length; the lab gives exactly this many tokens.
    #[serde(default, alias = "max_completion_tokens")]
    pub(crate) max_tokens: Option<u32>,
}

/// One answer, before an API gives it a shape.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Ends in the identifiers of the answer.
    pub(crate) id: String,
    /// The model's name.
    pub(crate) model: String,
    /// The tokens, each a word with its leading space.
    pub(crate) tokens: Vec<String>,
    /// Tokens of the prompt: bytes of the body / 4, by definition.
    pub(crate) prompt_tokens: u32,
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its bytes, with the empty line at its end.
    pub(crate) bytes: String,
    /// How many tokens it carries.
    pub(crate) tokens: u32,
}

/// Splitmix64: small, good enough and the same on every machine. A crate would be more code than
/// this.
#[derive(Debug, Clone)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The seed of a request: the scenario's seed and every byte that decides the answer.
    pub(crate) fn of_request(scenario: u64, path: &str, body: &[u8]) -> Self {
        let bytes = path.bytes().chain(body.iter().copied());
        Self(bytes.fold(scenario ^ FNV_OFFSET, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
        }))
    }

    /// The next number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number of `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high - low + 1)
    }

    /// The next letter, a to z.
    fn letter(&mut self) -> char {
        let offset = u8::try_from(self.between(0, 25)).expect("25 fits in a byte");
        char::from(b'a' + offset)
    }

    /// The next `length` letters.
    pub(crate) fn letters(&mut self, length: u64) -> String {
        (0..length).map(|_| self.letter()).collect()
    }
}

impl Answer {
    /// The answer to a request.
    pub(crate) fn new(ask: &Ask, body_bytes: usize, seed: &mut Seed) -> Self {
        let id = seed.letters(24);
        let usual = seed.between(24, 64);
        let count = ask.max_tokens.map_or(usual, u64::from);
        let tokens = (0..count).map(|_| word(seed)).collect();
        let prompt_tokens = u32::try_from(body_bytes / 4).unwrap_or(u32::MAX);
        Self { id, model: ask.model.clone(), tokens, prompt_tokens }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> String {
        self.tokens.concat()
    }

    /// How many tokens it has.
    pub(crate) fn token_count(&self) -> u32 {
        u32::try_from(self.tokens.len()).expect("the count came from a u32 or is below 65")
    }
}

/// A token: a space and three to seven letters, near the six bytes a token of English takes.
fn word(seed: &mut Seed) -> String {
    let length = seed.between(3, 7);
    format!(" {}", seed.letters(length))
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(scenario: u64, body: &str) -> String {
        let mut seed = Seed::of_request(scenario, "/v1/messages", body.as_bytes());
        Answer::new(&Ask::default(), body.len(), &mut seed).text()
    }

    #[test]
    fn the_same_request_gets_the_same_answer() {
        assert_eq!(text(7, "hello"), text(7, "hello"));
    }

    #[test]
    fn another_request_or_seed_gets_another_answer() {
        assert_ne!(text(7, "hello"), text(7, "hellp"));
        assert_ne!(text(7, "hello"), text(8, "hello"));
    }

    #[test]
    fn the_client_decides_the_number_of_tokens() {
        let ask = Ask { max_tokens: Some(11), ..Ask::default() };
        let answer = Answer::new(&ask, 400, &mut Seed::of_request(1, "/", b""));
        assert_eq!((answer.token_count(), answer.prompt_tokens), (11, 100));
    }
}
