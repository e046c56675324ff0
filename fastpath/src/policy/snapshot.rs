//! The snapshot: policy compiled for an lcore. Immutable, shared by reference, swapped at a burst
//! boundary.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, FingerprintPattern, HostPattern};
use super::prefixes::Prefixes;
use super::rules::{Rule, Rules};
use crate::time::Nanos;

/// Endpoints a snapshot can hold; per-endpoint counters are arrays of this length.
pub const ENDPOINTS_MAX: usize = 512;

/// The longest host name there can be, its final dot included (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// Index of an endpoint in its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u16);

impl EndpointId {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Whether rules are evaluated, and whether what they say is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RuleMode {
    /// No verdicts.
    Off,
    /// Verdicts are formed and reported.
    #[default]
    Shadow,
    /// Verdicts are carried out, where frames pass through here.
    Enforce,
}

impl RuleMode {
    /// The word of the policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }

    /// Whether verdicts are carried out.
    #[must_use]
    pub const fn enforces(self) -> bool {
        matches!(self, Self::Enforce)
    }
}

/// Retries an endpoint may get beyond its first attempts (Gateway API `retryConstraint`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryBudget {
    /// Retries for a hundred first attempts.
    pub percent: f64,
    /// Retries a second that are always allowed.
    pub min_per_sec: f64,
    /// Retries that can be saved up.
    pub burst: f64,
    /// Rate and burst are these, however much the endpoint can do.
    #[serde(default)]
    pub fixed: bool,
}

impl Default for RetryBudget {
    /// A tenth of the first attempts, and at least one in ten seconds.
    fn default() -> Self {
        Self { percent: 10.0, min_per_sec: 0.1, burst: 10.0, fixed: false }
    }
}

/// Limits of the detectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// An attempt that starts later than this after a failed one is no retry of it.
    pub retry_window_ms: u64,
    /// Silence inside a response that counts as a stall.
    pub stall_ms: u64,
}

impl Default for Limits {
    /// Twelve seconds cover the back-off of SDKs; half a second is longer than any steady stream
    /// pauses.
    fn default() -> Self {
        Self { retry_window_ms: 12_000, stall_ms: 500 }
    }
}

impl Limits {
    /// The retry window as time.
    #[must_use]
    pub fn retry_window(&self) -> Nanos {
        Nanos::from_millis(self.retry_window_ms)
    }

    /// The stall limit as time.
    #[must_use]
    pub fn stall(&self) -> Nanos {
        Nanos::from_millis(self.stall_ms)
    }
}

/// A checked policy: what is compiled, stored and sent from process to process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// The endpoints, most important first among equals.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Off, shadow or enforce: the most that any rule does.
    #[serde(default)]
    pub mode: RuleMode,
    /// The retry budget of every endpoint.
    #[serde(default)]
    pub retry_budget: RetryBudget,
    /// The detectors' limits.
    #[serde(default)]
    pub limits: Limits,
    /// The control laws.
    #[serde(default)]
    pub rules: Rules,
}

/// A policy that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// More endpoints than [`ENDPOINTS_MAX`].
    TooManyEndpoints(usize),
    /// Two endpoints of one name.
    DuplicateName(String),
    /// A value that cannot be: where it stands, and what was expected.
    Value(String, &'static str),
    /// The catalogue that ships with the program cannot be read: a defect of the build.
    Catalogue(String),
}

/// The compiled policy.
#[derive(Debug)]
pub struct Snapshot {
    policy: Policy,
    revision: u64,
    exact: HashMap<String, EndpointId>,
    /// Suffixes of `*.suffix`, each with its rank among all patterns: less is more specific.
    below: HashMap<String, (usize, EndpointId)>,
    /// Other patterns, most specific first, with their ranks.
    patterns: Vec<(HostPattern, usize, EndpointId)>,
    fingerprints: Vec<(FingerprintPattern, EndpointId)>,
    /// Whether the endpoint of an id can be found.
    live: Vec<bool>,
    prefixes: Prefixes<EndpointId>,
}

impl Policy {
    /// The catalogue of AI providers that ships with the program.
    ///
    /// # Errors
    /// Only when the build is broken.
    pub fn catalogue() -> Result<Self, PolicyError> {
        let endpoints = serde_saphyr::from_str(include_str!("../../catalogue.yaml"))
            .map_err(|e| PolicyError::Catalogue(e.to_string()))?;
        Ok(Self { endpoints, ..Self::default() })
    }

    /// Checks what the types cannot: whoever a policy comes from, it comes through here.
    fn check_values(&self) -> Result<(), PolicyError> {
        let check = |right: bool, path: &str, expected| {
            if right { Ok(()) } else { Err(PolicyError::Value(path.to_owned(), expected)) }
        };
        let RetryBudget { percent, min_per_sec, burst, fixed: _ } = self.retry_budget;
        check((0.0..=1000.0).contains(&percent), "retryBudget.percent", "0 to 1000")?;
        check((0.0..=1e6).contains(&min_per_sec), "retryBudget.minPerSec", "0 to 1000000")?;
        check((1.0..=1e9).contains(&burst), "retryBudget.burst", "at least 1")?;
        let Limits { retry_window_ms, stall_ms } = self.limits;
        let window = (1..=64_000).contains(&retry_window_ms);
        check(window, "limits.retryWindowMs", "1 to 64000")?;
        check((1..=600_000).contains(&stall_ms), "limits.stallMs", "1 to 600000")?;
        self.rules.check_values()?;
        for endpoint in &self.endpoints {
            let path = |key| format!("endpoint {}: {key}", endpoint.name);
            let prices = endpoint.price.map(|p| [p.output_per_million, p.input_per_million]);
            let ascending = |[cheap, usual, dear]: [f32; 3]| {
                0.0 <= cheap && cheap <= usual && usual <= dear && dear.is_finite()
            };
            let right = prices.is_none_or(|prices| prices.into_iter().all(ascending));
            check(right, &path("price"), "[cheapest, usual, dearest], none below 0")?;
            let fits = endpoint
                .calibration
                .iter()
                .flat_map(|c| [Some(c.stream), c.plain, c.mux_stream, c.mux_plain]);
            let right = fits.flatten().all(|fit| fit.is_usable());
            check(right, &path("calibration"), "finite numbers, and a spread from 0 to 10")?;
            let right = endpoint.learnt.as_ref().is_none_or(|learnt| learnt.is_usable());
            check(right, &path("learnt"), "lists as `fermata learnt` prints them")?;
        }
        Ok(())
    }
}

impl Snapshot {
    /// Compiles `policy`.
    ///
    /// # Errors
    /// When there are too many endpoints or two of one name.
    pub fn compile(policy: Policy) -> Result<Self, PolicyError> {
        let revision = 1;
        let order: Vec<usize> = (0..policy.endpoints.len()).collect();
        Self::index(policy, &order, revision)
    }

    /// Compiles the policy that comes after this snapshot. An endpoint of the same name keeps its
    /// id; one that is gone keeps its place and its name, and is never found again. So ids mean the
    /// same in both.
    ///
    /// # Errors
    /// When there are too many endpoints, those that are gone included, or two of one name.
    pub fn succeeded_by(&self, policy: Policy) -> Result<Self, PolicyError> {
        let Policy { endpoints, mode, retry_budget, limits, rules } = policy;
        let mut placed: Vec<Endpoint> =
            self.policy.endpoints.iter().map(|old| Endpoint::gone(&old.name)).collect();
        let mut order = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let place = placed.iter().position(|old| old.name == endpoint.name);
            let place = place.unwrap_or(placed.len());
            if order.contains(&place) {
                return Err(PolicyError::DuplicateName(endpoint.name));
            }
            order.push(place);
            match placed.get_mut(place) {
                Some(old) => *old = endpoint,
                None => placed.push(endpoint),
            }
        }
        let policy = Policy { endpoints: placed, mode, retry_budget, limits, rules };
        Self::index(policy, &order, self.revision + 1)
    }

    /// Indexes the endpoints of `policy` that `order` names, most important first.
    fn index(policy: Policy, order: &[usize], revision: u64) -> Result<Self, PolicyError> {
        if policy.endpoints.len() > ENDPOINTS_MAX {
            return Err(PolicyError::TooManyEndpoints(policy.endpoints.len()));
        }
        policy.check_values()?;
        let mut seen = HashSet::new();
        let mut exact = HashMap::new();
        let mut patterns = Vec::new();
        let mut prefixes = Prefixes::default();
        let mut fingerprints = Vec::new();
        let mut live = vec![false; policy.endpoints.len()];
        for &place in order {
            live[place] = true;
            let endpoint = &policy.endpoints[place];
            let id = EndpointId(u16::try_from(place).expect("ENDPOINTS_MAX is below 65536"));
            if !seen.insert(endpoint.name.as_str()) {
                return Err(PolicyError::DuplicateName(endpoint.name.clone()));
            }
            for host in &endpoint.hosts {
                if let HostPattern::Exact(name) = host {
                    exact.entry(name.clone()).or_insert(id);
                } else {
                    patterns.push((host.clone(), id));
                }
            }
            let named = endpoint.fingerprints.iter().cloned();
            fingerprints.extend(named.map(|fingerprint| (fingerprint, id)));
            endpoint.prefixes.iter().for_each(|&prefix| prefixes.add(prefix, id));
        }
        // A stable sort: among equals the endpoint that was named first wins.
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.weight()));
        let (below, patterns) = ranked(patterns);
        Ok(Self { policy, revision, exact, below, patterns, fingerprints, live, prefixes })
    }

    /// The endpoint of an address and port: longest prefix first.
    #[must_use]
    pub fn by_address(&self, ip: IpAddr, port: u16) -> Option<EndpointId> {
        self.prefixes.longest(ip, |id| {
            let ports = &self.endpoint(id).ports;
            ports.is_empty() || ports.contains(&port)
        })
    }

    /// The endpoint of a host name: exact names first, then the most specific pattern.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<EndpointId> {
        // On the stack: a hello is no reason to allocate. What is longer than a host name can be is
        // none.
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let name = std::str::from_utf8(lower).ok()?;
        let name = name.strip_suffix('.').unwrap_or(name);
        self.exact.get(name).copied().or_else(|| self.by_pattern(name))
    }

    /// The endpoint of a client by its JA4 fingerprint.
    #[must_use]
    pub fn by_fingerprint(&self, ja4: &str) -> Option<EndpointId> {
        self.fingerprints.iter().find(|(pattern, _)| pattern.matches(ja4)).map(|&(_, id)| id)
    }

    /// Whether this snapshot still has the endpoint, and not only its name.
    #[must_use]
    pub fn is_live(&self, id: EndpointId) -> bool {
        self.live.get(id.index()).is_some_and(|&live| live)
    }

    /// What the policy says of an endpoint.
    ///
    /// # Panics
    /// When `id` is not of this snapshot.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> &Endpoint {
        &self.policy.endpoints[id.index()]
    }

    /// Counts up from 1 with every snapshot that succeeds another.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What a rule may do.
    #[must_use]
    pub fn rule_mode(&self, rule: Rule) -> RuleMode {
        self.policy.rules.mode(rule, self.policy.mode)
    }

    /// The policy it was compiled from.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The most specific pattern: among suffixes the longest, found label by label, unless another
    /// pattern is still more so.
    fn by_pattern(&self, name: &str) -> Option<EndpointId> {
        let suffixes = name.match_indices('.').filter(|&(dot, _)| dot > 0);
        let below = suffixes.map(|(dot, _)| &name[dot + 1..]).find_map(|s| self.below.get(s));
        let rank = below.map_or(usize::MAX, |&(rank, _)| rank);
        let mut before = self.patterns.iter().take_while(|(_, other, _)| *other < rank);
        let other = before.find(|(pattern, ..)| pattern.matches(name));
        other.map(|&(.., id)| id).or(below.map(|&(_, id)| id))
    }
}

type Ranked = (HashMap<String, (usize, EndpointId)>, Vec<(HostPattern, usize, EndpointId)>);

/// Patterns in their order, the suffixes apart: they are looked up, not tried one by one.
fn ranked(patterns: Vec<(HostPattern, EndpointId)>) -> Ranked {
    let (mut below, mut others) = (HashMap::new(), Vec::new());
    for (rank, (pattern, id)) in patterns.into_iter().enumerate() {
        match pattern {
            HostPattern::Below(suffix) => {
                below.entry(suffix).or_insert((rank, id));
            }
            pattern
            @ (HostPattern::Exact(_) | HostPattern::Starts(_) | HostPattern::Around(..)) => {
                others.push((pattern, rank, id))
            }
        }
    }
    (below, others)
}

impl std::fmt::Display for PolicyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooManyEndpoints(n) => {
                write!(f, "{n} endpoints, expected at most {ENDPOINTS_MAX}; join some by patterns")
            }
            Self::DuplicateName(name) => {
                write!(f, "two endpoints are named `{name}`; names are unique")
            }
            Self::Value(path, expected) => write!(f, "{path}: expected {expected}"),
            Self::Catalogue(e) => write!(f, "the shipped catalogue cannot be read: {e}"),
        }
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot::compile(Policy::catalogue().unwrap()).unwrap()
    }

    fn name_of(host: &str) -> Option<String> {
        let snapshot = snapshot();
        snapshot.by_name(host).map(|id| snapshot.endpoint(id).name.clone())
    }

    #[test]
    fn the_catalogue_knows_the_providers() {
        for (host, endpoint) in [
            ("api.openai.com", "openai"),
            ("API.OpenAI.com.", "openai"),
            ("contoso.openai.azure.com", "azure-openai"),
            ("api.anthropic.com", "anthropic"),
            ("generativelanguage.googleapis.com", "google-gemini"),
            ("europe-west4-aiplatform.googleapis.com", "google-vertex"),
            ("bedrock-runtime.us-east-1.amazonaws.com", "aws-bedrock"),
            ("api.mistral.ai", "mistral"),
            ("api.cohere.com", "cohere"),
            ("api.groq.com", "groq"),
            ("api.together.xyz", "together"),
            ("api.fireworks.ai", "fireworks"),
            ("api.deepseek.com", "deepseek"),
            ("api.x.ai", "xai"),
            ("openrouter.ai", "openrouter"),
            ("api.perplexity.ai", "perplexity"),
            ("api-inference.huggingface.co", "huggingface"),
            ("api.replicate.com", "replicate"),
        ] {
            assert_eq!(name_of(host).as_deref(), Some(endpoint), "{host}");
        }
        assert_eq!(name_of("www.example.com"), None);
        assert_eq!(name_of("www.openai.com"), None);
        assert_eq!(name_of(&format!("{}.openai.azure.com", "a".repeat(300))), None);
    }

    #[test]
    fn the_most_specific_pattern_wins_whatever_its_kind() {
        let endpoint = |name: &str, host: &str| Endpoint {
            hosts: vec![host.parse().unwrap()],
            ..Endpoint::gone(name)
        };
        let hosts = ["*.test", "*.b.test", "llm.*", "llm-*.b.test", "*.b.test"];
        let endpoints = hosts.iter().enumerate().map(|(n, host)| endpoint(&n.to_string(), host));
        let policy = Policy { endpoints: endpoints.collect(), ..Policy::default() };
        let snapshot = Snapshot::compile(policy).unwrap();
        for (name, expected) in [
            ("a.test", Some(0)),
            ("a.b.test", Some(1)),
            ("x.a.b.test", Some(1)),
            ("llm.b.test", Some(1)),
            ("llm.x", Some(2)),
            ("llm-1.b.test", Some(3)),
            ("test", None),
            (".test", None),
        ] {
            assert_eq!(snapshot.by_name(name), expected.map(EndpointId), "{name}");
        }
    }

    #[test]
    fn a_fingerprint_finds_its_endpoint_while_the_policy_has_it() {
        let endpoint =
            Endpoint { fingerprints: vec!["t13d1516h2_*".parse().unwrap()], ..Endpoint::gone("a") };
        let policy = Policy { endpoints: vec![endpoint], ..Policy::default() };
        let first = Snapshot::compile(policy).unwrap();
        let ja4 = "t13d1516h2_8daaf6152771_e5627efa2ab1";
        assert_eq!(first.by_fingerprint(ja4), Some(EndpointId(0)));
        assert!(first.is_live(EndpointId(0)));
        let next = first.succeeded_by(Policy::default()).unwrap();
        assert_eq!(next.by_fingerprint(ja4), None);
        assert!(!next.is_live(EndpointId(0)));
    }

    #[test]
    fn the_longest_prefix_on_the_right_port_wins() {
        let endpoint = |name: &str, prefix: &str, ports: &[u16]| Endpoint {
            prefixes: vec![prefix.parse().unwrap()],
            ports: ports.to_vec(),
            ..Endpoint::gone(name)
        };
        let endpoints =
            vec![endpoint("wide", "10.0.0.0/8", &[]), endpoint("narrow", "10.1.0.0/16", &[8000])];
        let snapshot = Snapshot::compile(Policy { endpoints, ..Policy::default() }).unwrap();
        let at = |ip: &str, port| snapshot.by_address(ip.parse().unwrap(), port);
        assert_eq!(at("10.1.2.3", 8000), Some(EndpointId(1)));
        assert_eq!(at("10.1.2.3", 443), Some(EndpointId(0)));
        assert_eq!(at("192.0.2.1", 443), None);
    }

    #[test]
    fn ids_keep_their_meaning_from_one_snapshot_to_the_next() {
        let named = |name: &str, host: &str| -> Endpoint {
            serde_saphyr::from_str(&format!("{{ name: {name}, hosts: ['{host}'] }}")).unwrap()
        };
        let policy = |endpoints| Policy { endpoints, ..Policy::default() };
        let first =
            Snapshot::compile(policy(vec![named("a", "a.test"), named("b", "b.test")])).unwrap();
        let next =
            first.succeeded_by(policy(vec![named("c", "*.test"), named("b", "x.test")])).unwrap();
        assert_eq!(next.by_name("x.test"), first.by_name("b.test"));
        assert_eq!(next.by_name("a.test"), Some(EndpointId(2)), "c now, since a is gone");
        assert_eq!(next.endpoint(EndpointId(0)).name, "a", "what is gone can still be named");
        assert_eq!(next.revision(), 2);
        let twice = policy(vec![named("d", "d.test"), named("d", "e.test")]);
        assert!(matches!(next.succeeded_by(twice), Err(PolicyError::DuplicateName(_))));
    }

    #[test]
    fn values_that_cannot_be_are_refused_wherever_they_come_from() {
        let refused = |policy: Policy| {
            let first = Snapshot::compile(policy.clone()).unwrap_err();
            let later = Snapshot::compile(Policy::default()).unwrap().succeeded_by(policy);
            assert_eq!(Some(&first), later.as_ref().err());
            first.to_string()
        };
        let retry_budget = RetryBudget { percent: -5.0, ..RetryBudget::default() };
        let text = refused(Policy { retry_budget, ..Policy::default() });
        assert!(text.starts_with("retryBudget.percent"), "{text}");
        let limits = Limits { stall_ms: 0, ..Limits::default() };
        assert!(refused(Policy { limits, ..Policy::default() }).starts_with("limits.stallMs"));
        let text =
            "{ name: a, price: { outputPerMillion: [9, 1, 4], inputPerMillion: [0, 0, 0] } }";
        let endpoints = vec![serde_saphyr::from_str(text).unwrap()];
        assert!(refused(Policy { endpoints, ..Policy::default() }).contains("endpoint a: price"));
    }

    #[test]
    fn an_empty_policy_compiles_and_knows_nobody() {
        let snapshot = Snapshot::compile(Policy::default()).unwrap();
        assert_eq!(snapshot.by_name("api.openai.com"), None);
    }
}
