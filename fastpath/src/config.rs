//! What a data plane process is told: by a YAML file, by flags, or both; flags win.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::lcore::Mode;
use crate::policy::endpoint::Endpoint;
use crate::policy::snapshot::{Limits, Policy, RetryBudget, RuleMode};

/// The configuration file. Every key may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// `wire` or `observe`.
    pub mode: Mode,
    /// DPDK virtual devices, in order: the first two are one wire, the next two another.
    pub vdevs: Vec<String>,
    /// PCI addresses of NICs, after the virtual devices.
    pub pci: Vec<String>,
    /// Run without hugepages.
    pub no_huge: bool,
    /// Memory for DPDK in MiB; as much as the ports need when left out.
    pub memory_mb: Option<u32>,
    /// Longest payload of a frame, bytes.
    pub mtu: u16,
    /// A core for each lcore; one lcore, on the last core, when left out.
    pub lcores: Vec<usize>,
    /// How frames are spread over several lcores.
    pub spread: SpreadBy,
    /// Give the core away while nothing arrives.
    pub idle: bool,
    /// Flows at once, over all lcores.
    pub flows: usize,
    /// Where `fermata` finds the data plane.
    pub socket: PathBuf,
    /// Endpoints beside the catalogue; one of the same name replaces the shipped one.
    pub endpoints: Vec<Endpoint>,
    /// Whether rules are evaluated.
    pub rules: RuleMode,
    /// The retry budget of every endpoint.
    pub retry_budget: RetryBudget,
    /// The detectors' limits.
    pub limits: Limits,
}

/// Who spreads frames over lcores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpreadBy {
    /// The devices, where all of them can; otherwise one lcore for the others.
    #[default]
    Auto,
    /// One lcore for the others, though the devices could.
    Software,
}

/// Lcores of one data plane; DPDK has numbers for 128 threads.
const LCORES_MAX: usize = 64;

/// Why a configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read(PathBuf, std::io::Error),
    /// The file is not what is expected; the text says where.
    Parse(PathBuf, String),
    /// A value that cannot be.
    Value(&'static str, String),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Wire,
            vdevs: Vec::new(),
            pci: Vec::new(),
            no_huge: false,
            memory_mb: None,
            mtu: 1500,
            lcores: Vec::new(),
            spread: SpreadBy::default(),
            idle: false,
            flows: 65_536,
            socket: PathBuf::from(crate::ipc::SOCKET_DEFAULT),
            endpoints: Vec::new(),
            rules: RuleMode::default(),
            retry_budget: RetryBudget::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read, or is not a configuration.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|e| ConfigError::Read(path.to_owned(), e))?;
        serde_saphyr::from_str(&text)
            .map_err(|e| ConfigError::Parse(path.to_owned(), e.to_string()))
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the value, and what was expected.
    pub fn check(&self) -> Result<(), ConfigError> {
        let devices = self.vdevs.len() + self.pci.len();
        if devices == 0 {
            let expected = "no port is given; expected --vdev or --pci, two for a wire".to_owned();
            return Err(ConfigError::Value("vdevs", expected));
        }
        if self.mode == Mode::Wire && !devices.is_multiple_of(2) {
            let expected = format!(
                "{devices} ports; a wire has two ends: expected 2, 4, ... (or --mode observe)"
            );
            return Err(ConfigError::Value("vdevs", expected));
        }
        let distinct: BTreeSet<usize> = self.lcores.iter().copied().collect();
        if distinct.len() < self.lcores.len() || self.lcores.len() > LCORES_MAX {
            let expected = format!(
                "{:?}; expected at most {LCORES_MAX} cores, each of them once",
                self.lcores
            );
            return Err(ConfigError::Value("lcores", expected));
        }
        if !(1..=1 << 27).contains(&self.flows) {
            let expected = format!("{}; expected 1 to {}", self.flows, 1 << 27);
            return Err(ConfigError::Value("flows", expected));
        }
        if !(68..=9600).contains(&self.mtu) {
            return Err(ConfigError::Value("mtu", format!("{}; expected 68 to 9600", self.mtu)));
        }
        Ok(())
    }

    /// The policy it asks for: the catalogue, with its own endpoints before it.
    #[must_use]
    pub fn policy(&self, catalogue: Policy) -> Policy {
        let own = |e: &Endpoint| self.endpoints.iter().any(|mine| mine.name == e.name);
        let mut endpoints = self.endpoints.clone();
        endpoints.extend(catalogue.endpoints.into_iter().filter(|e| !own(e)));
        let (mode, retry_budget, limits) = (self.rules, self.retry_budget, self.limits);
        Policy { endpoints, mode, retry_budget, limits, ..Policy::default() }
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(path, e) => write!(f, "{}: cannot be read: {e}", path.display()),
            Self::Parse(path, e) => write!(f, "{}: {e}", path.display()),
            Self::Value(key, text) => write!(f, "{key}: {text}"),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = serde_saphyr::from_str::<Config>("mode: wire\nvdev: [a]\n").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("vdev") && text.contains("line 2"), "{text}");
    }

    #[test]
    fn the_example_in_the_docs_is_valid() {
        let text = include_str!("../../docs/examples/fastpath.yaml");
        let config: Config = serde_saphyr::from_str(text).unwrap();
        assert!(config.check().is_ok());
        let policy = config.policy(Policy::catalogue().unwrap());
        assert!(crate::policy::snapshot::Snapshot::compile(policy).is_ok());
        assert_eq!(config.retry_budget, RetryBudget::default(), "the example shows the defaults");
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn a_wire_needs_both_ends() {
        let one = Config { vdevs: vec!["net_null0".into()], ..Config::default() };
        assert!(one.check().unwrap_err().to_string().contains("two ends"));
        let tap = Config { mode: Mode::Observe, ..one };
        assert!(tap.check().is_ok());
    }

    #[test]
    fn a_core_runs_one_lcore() {
        let vdevs = vec!["net_null0".into(), "net_null1".into()];
        let two = Config { vdevs, lcores: vec![1, 2], ..Config::default() };
        assert!(two.check().is_ok());
        let twice = Config { lcores: vec![1, 1], ..two };
        assert!(twice.check().unwrap_err().to_string().contains("each of them once"));
    }

    #[test]
    fn an_endpoint_of_ones_own_replaces_the_shipped_one() {
        let text = "endpoints: [{ name: openai, hosts: [llm.example.com] }]";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let policy = config.policy(Policy::catalogue().unwrap());
        let named: Vec<_> = policy.endpoints.iter().filter(|e| e.name == "openai").collect();
        assert_eq!(named.len(), 1);
        assert_eq!(named[0].hosts[0].to_string(), "llm.example.com");
    }
}
