//! What an AI endpoint is: names, prefixes and ports to recognise it by, its class, prices and
//! calibration.
//!
//! The shipped catalogue and a user's policy are lists of the same [`Endpoint`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::learnt::Learnt;

/// What kind of work an endpoint does; decides which shapes of a reply are ordinary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Text from a model, streamed or plain.
    #[default]
    Llm,
    /// Vectors.
    Embedding,
    /// An API that agents call and that is no model: sizes say nothing.
    Tool,
}

/// An AI endpoint. Recognised by prefix and port first, then by host pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// Unique name.
    pub name: String,
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What it does.
    #[serde(default)]
    pub class: Class,
    /// Host names; a leading `*.` stands for one or more labels, a trailing `.*` likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<Prefix>,
    /// Server ports the prefixes hold for; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// JA4 fingerprints of clients that call this endpoint only; a hint where no name is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<FingerprintPattern>,
    /// Prices, for costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// How tokens follow from what is seen of a reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What was learnt of it elsewhere, as `fermata learnt` prints it; learning goes on from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learnt: Option<Box<Learnt>>,
}

/// US dollars for a million tokens. A range where an endpoint serves several models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Price {
    /// Cheapest, usual and dearest output price.
    pub output_per_million: [f32; 3],
    /// The same for input.
    pub input_per_million: [f32; 3],
}

/// Output tokens = `perRecord` · data records + `perByte` · plaintext bytes + `perEvent` · events +
/// `offset`, not less than 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Calibration {
    /// Of streamed replies.
    pub stream: Fit,
    /// Of plain replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<Fit>,
    /// Of streamed replies over HTTP/2, where servers join the records that close an answer; `stream`
    /// where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mux_stream: Option<Fit>,
    /// Of plain replies over HTTP/2, where HPACK compresses the headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mux_plain: Option<Fit>,
}

/// One linear fit and its spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fit {
    /// Tokens a record.
    #[serde(default)]
    pub per_record: f32,
    /// Tokens a plaintext byte.
    #[serde(default)]
    pub per_byte: f32,
    /// Tokens an event of a stream: bytes from the first event on by the length that
    /// events have there. Headers and the form of events differ from server to server and do not
    /// count.
    #[serde(default)]
    pub per_event: f32,
    /// Records and bytes count from the first event on: what a stream opens with carries none.
    #[serde(default)]
    pub events_only: bool,
    /// Tokens that are always there, usually negative: the prelude carries none.
    #[serde(default)]
    pub offset: f32,
    /// What the closing records of a complete reply add on top of `offset`; usually negative.
    #[serde(default)]
    pub tail: f32,
    /// Half-width of the range as a share of the likely value.
    pub spread: f32,
    /// Half-width of the range that is always there, tokens: what the headers of a plain reply differ
    /// by from server to server.
    #[serde(default)]
    pub margin: f32,
}

/// A host name, or all names below or before one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Exactly this name.
    Exact(String),
    /// `*.suffix`: names that end in `.suffix`.
    Below(String),
    /// `prefix.*`: names that begin with `prefix.`; for private names such as
    /// `llm.example.internal`.
    Starts(String),
    /// `prefix*.suffix`... with one star inside the first label: `*-aiplatform.googleapis.com`.
    Around(String, String),
}

/// A JA4 fingerprint, or the beginning of one before a `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FingerprintPattern {
    begins: String,
    whole: bool,
}

/// An address prefix, `10.0.0.0/8` or `2001:db8::/32`; an address alone is a prefix of full length.
/// Bits beyond the length are no part of it: `10.1.2.3/8` is `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What is wrong with a pattern or prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// Not a host pattern.
    Host(String),
    /// Not a prefix.
    Prefix(String),
    /// Not a fingerprint.
    Fingerprint(String),
}

impl Fit {
    /// Numbers that an estimate can be made of.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let terms = [self.per_record, self.per_byte, self.per_event, self.offset, self.tail];
        terms.iter().all(|term| term.is_finite())
            && (0.0..=10.0).contains(&self.spread)
            && (0.0..=1e6).contains(&self.margin)
    }
}

impl Endpoint {
    /// An endpoint that is known by name and never found.
    #[must_use]
    pub fn gone(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            provider: None,
            class: Class::default(),
            hosts: Vec::new(),
            prefixes: Vec::new(),
            ports: Vec::new(),
            fingerprints: Vec::new(),
            price: None,
            calibration: None,
            learnt: None,
        }
    }
}

impl HostPattern {
    /// Whether `name` (lower case) is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(host) => name == host,
            Self::Below(suffix) => name
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Self::Starts(prefix) => name
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.starts_with('.')),
            Self::Around(prefix, suffix) => {
                let middle = name
                    .strip_prefix(prefix.as_str())
                    .and_then(|rest| rest.strip_suffix(suffix.as_str()));
                middle.is_some_and(|middle| !middle.is_empty() && !middle.contains('.'))
            }
        }
    }

    /// How specific it is: longer is more, an exact name is most.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Exact(host) => 1000 + host.len(),
            Self::Below(part) | Self::Starts(part) => part.len(),
            Self::Around(prefix, suffix) => prefix.len() + suffix.len(),
        }
    }
}

impl FromStr for HostPattern {
    type Err = EndpointError;
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let lower = text.to_ascii_lowercase();
        // A name with the root's dot is the name without it; so are those in hellos (RFC 6066, 3).
        let lower = lower.strip_suffix('.').unwrap_or(&lower);
        // No label is empty (RFC 1034, 3.1).
        if lower.split('.').any(str::is_empty) {
            return Err(EndpointError::Host(text.to_owned()));
        }
        let plain = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let pattern = match (lower.strip_prefix("*."), lower.strip_suffix(".*")) {
            (Some(suffix), None) if plain(suffix) => Self::Below(suffix.to_owned()),
            (None, Some(prefix)) if plain(prefix) => Self::Starts(prefix.to_owned()),
            (None, None) => match lower.split_once('*') {
                None if plain(lower) => Self::Exact(lower.to_owned()),
                Some((prefix, suffix)) if plain(suffix) && (prefix.is_empty() || plain(prefix)) => {
                    Self::Around(prefix.to_owned(), suffix.to_owned())
                }
                _ => return Err(EndpointError::Host(text.to_owned())),
            },
            _ => return Err(EndpointError::Host(text.to_owned())),
        };
        Ok(pattern)
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(suffix) => write!(f, "*.{suffix}"),
            Self::Starts(prefix) => write!(f, "{prefix}.*"),
            Self::Around(prefix, suffix) => write!(f, "{prefix}*{suffix}"),
        }
    }
}

impl FingerprintPattern {
    /// Whether this JA4 is meant.
    #[must_use]
    pub fn matches(&self, ja4: &str) -> bool {
        if self.whole { ja4 == self.begins } else { ja4.starts_with(&self.begins) }
    }
}

impl FromStr for FingerprintPattern {
    type Err = EndpointError;
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let begins = text.strip_suffix('*').unwrap_or(text);
        let whole = begins.len() == text.len();
        let fits = if whole { begins.len() == JA4_BYTES } else { begins.len() < JA4_BYTES };
        let plain = begins.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fits || !plain || begins.is_empty() {
            return Err(EndpointError::Fingerprint(text.to_owned()));
        }
        Ok(Self { begins: begins.to_owned(), whole })
    }
}

impl std::fmt::Display for FingerprintPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.begins, if self.whole { "" } else { "*" })
    }
}

impl Prefix {
    /// The prefix of `ip` that is `length` bits long, or all of `ip` where that is shorter.
    #[must_use]
    pub fn of(ip: IpAddr, length: u8) -> Self {
        let (address, length) = match ip {
            IpAddr::V4(ip) => {
                let length = length.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                (Ipv4Addr::from_bits(ip.to_bits() & mask).into(), length)
            }
            IpAddr::V6(ip) => {
                let length = length.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                (Ipv6Addr::from_bits(ip.to_bits() & mask).into(), length)
            }
        };
        Self { address, length }
    }

    /// Whether `ip` lies in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && Self::of(ip, self.length) == *self
    }

    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        if self.address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Length in bits.
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.length
    }
}

impl FromStr for Prefix {
    type Err = EndpointError;
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError::Prefix(text.to_owned());
        let (address, length) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(full), |l| l.parse::<u8>().map_err(|_| wrong()))?;
        if length > full {
            return Err(wrong());
        }
        Ok(Self::of(address, length))
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl std::fmt::Display for EndpointError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(text) => write!(
                f,
                "`{text}` is no host pattern; expected a name such as `api.example.com`, `*.example.com` or `llm.*`"
            ),
            Self::Fingerprint(text) => write!(
                f,
                "`{text}` is no JA4 fingerprint; expected one of 36 characters, or its beginning and `*`"
            ),
            Self::Prefix(text) => write!(
                f,
                "`{text}` is no address prefix; expected one such as `10.1.0.0/16`, `192.0.2.7` or `2001:db8::/32`"
            ),
        }
    }
}

impl std::error::Error for EndpointError {}

macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let shape = <$type>::SHAPE;
                schemars::json_schema!({ "type": "string", "pattern": shape })
            }
        }
    )*};
}
serde_as_text!(HostPattern, Prefix, FingerprintPattern);

/// Shapes of the texts for the JSON Schema: what they cannot say the parser refuses.
#[cfg(feature = "schema")]
impl HostPattern {
    const SHAPE: &'static str = r"^[A-Za-z0-9._-]*\*?[A-Za-z0-9._-]+(\.\*)?$";
}
#[cfg(feature = "schema")]
impl Prefix {
    const SHAPE: &'static str = "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$";
}
#[cfg(feature = "schema")]
impl FingerprintPattern {
    const SHAPE: &'static str = r"^[A-Za-z0-9_]{1,36}\*?$";
}

/// Length of a JA4 fingerprint.
const JA4_BYTES: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_match_what_they_say() {
        assert!(host("api.openai.com").matches("api.openai.com"));
        assert!(!host("api.openai.com").matches("xapi.openai.com"));
        assert!(host("*.openai.azure.com").matches("mine.openai.azure.com"));
        assert!(!host("*.openai.azure.com").matches("openai.azure.com"));
        assert!(host("llm.*").matches("llm.internal.test"));
        assert!(!host("llm.*").matches("llmx.internal.test"));
        assert!(host("*-aiplatform.googleapis.com").matches("us-east1-aiplatform.googleapis.com"));
        assert!(!host("bedrock-runtime.*.amazonaws.com").matches("bedrock-runtime.amazonaws.com"));
        assert!(
            host("bedrock-runtime.*.amazonaws.com")
                .matches("bedrock-runtime.eu-west-1.amazonaws.com")
        );
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "*", "*.", "a b", "*.*", "http://x", "a..", "*.a..b", ".a", "*..a", "a..*"]
        {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_fingerprint_is_whole_or_ends_in_a_star() {
        let matches =
            |pattern: &str, ja4| pattern.parse::<FingerprintPattern>().map(|p| p.matches(ja4));
        let ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1";
        assert_eq!(matches(ja4, ja4), Ok(true));
        assert_eq!(matches("t13d1516h2_8daaf6152771_*", ja4), Ok(true));
        assert_eq!(matches("t13d1517*", ja4), Ok(false));
        for text in ["", "*", "t13d1516h2", "t13d*_e5627efa2ab1", "t13 *"] {
            assert!(text.parse::<FingerprintPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_contain_by_bits_and_family() {
        let ten: Prefix = "10.0.0.0/8".parse().unwrap();
        assert!(ten.contains("10.255.0.1".parse().unwrap()));
        assert!(!ten.contains("11.0.0.1".parse().unwrap()));
        assert!(!ten.contains("::ffff:a00:1".parse::<IpAddr>().unwrap()));
        assert_eq!("10.1.2.3/8".parse(), Ok(ten), "what lies beyond the length does not count");
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
        assert!("::/0".parse::<Prefix>().unwrap().contains("2001:db8::1".parse().unwrap()));
    }
}
