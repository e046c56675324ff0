//! What the daemon is told: a file in YAML, and flags, which win.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::peer::Grant;
use crate::cli::ServeArgs;
use crate::failure::Failure;
use crate::policy::document::DocumentError;
use crate::store::Store;
use crate::store::etcd::{EtcdConfig, EtcdStore};
use crate::store::file::{DIRECTORY_DEFAULT, FileStore};

/// Where the daemon listens unless it is told otherwise.
pub const SOCKET_DEFAULT: &str = "/run/fermata/api.sock";

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The Unix socket of the API.
    #[serde(default = "socket")]
    pub socket: PathBuf,
    /// Who of this machine has which role, besides root and the daemon's own user.
    #[serde(default)]
    pub roles: Vec<Grant>,
    /// The API over a network.
    #[serde(default)]
    pub listen: Option<Remote>,
    /// The audit log; standard error where there is none.
    #[serde(default)]
    pub audit: Option<PathBuf>,
    /// Where policies are.
    #[serde(default)]
    pub store: StoreConfig,
}

/// Where policies are: one of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreConfig {
    /// A directory of this appliance.
    Directory(PathBuf),
    /// etcd, for a fleet.
    Etcd(EtcdConfig),
}

/// The API over a network: mutual TLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Remote {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificates of this daemon, PEM, its own first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Authorities whose client certificates are believed, PEM.
    pub client_authority: PathBuf,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self::Directory(DIRECTORY_DEFAULT.into())
    }
}

fn socket() -> PathBuf {
    SOCKET_DEFAULT.into()
}

impl Config {
    /// The configuration of the file, if there is one, and the flags.
    ///
    /// # Errors
    /// When the file cannot be read or is wrong.
    pub fn read(args: &ServeArgs) -> Result<Self, Failure> {
        let text = match &args.config {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| Failure::from(DocumentError::Unreadable(file.clone(), error)))?,
            None => String::new(),
        };
        let file = args.config.as_deref().unwrap_or(Path::new("(defaults)"));
        let mut config = Self::parse(file, &text)?;
        if let Some(socket) = &args.api {
            config.socket.clone_from(socket);
        }
        if let Some(directory) = &args.store {
            config.store = StoreConfig::Directory(directory.clone());
        }
        Ok(config)
    }

    /// The configuration in `text`; `file` is for errors.
    ///
    /// # Errors
    /// When it is wrong: with line, path, what was expected and the nearest name.
    pub fn parse(file: &Path, text: &str) -> Result<Self, DocumentError> {
        let blank = text.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
        let text = if blank { "{}" } else { text };
        let mut path = None;
        let parsed = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
            serde_path_to_error::deserialize(deserializer).map_err(|error| {
                path = Some(error.path().to_string());
                error.into_inner()
            })
        });
        parsed.map_err(|error| DocumentError::syntax(file, path, &error))
    }

    /// The store.
    ///
    /// # Errors
    /// When the configuration of etcd is wrong.
    pub(crate) fn store(&self) -> Result<Box<dyn Store>, Failure> {
        Ok(match &self.store {
            StoreConfig::Directory(directory) => Box::new(FileStore::new(directory)),
            StoreConfig::Etcd(etcd) => Box::new(EtcdStore::new(etcd.clone())?),
        })
    }

    /// Users who are admins without being named: root, and whoever runs the daemon.
    pub(crate) fn admins(&self) -> Vec<u32> {
        let own = std::fs::metadata("/proc/self").map(|process| process.uid());
        [0].into_iter().chain(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("serve.yaml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_word_the_defaults_hold() {
        let config = parse("# nothing\n").unwrap();
        assert_eq!(config.socket, Path::new(SOCKET_DEFAULT));
        assert!(config.listen.is_none() && config.roles.is_empty());
    }

    #[test]
    fn a_wrong_field_is_told_with_its_line_and_the_nearest_name() {
        let error = parse("socket: /tmp/a\nrole: []\n").unwrap_err();
        assert!(error.contains("serve.yaml:2: role: unknown field `role`"), "{error}");
        assert!(error.contains("did you mean `roles`?"), "{error}");
        let error = parse("roles:\n  - { user: ada, role: king }\n").unwrap_err();
        assert!(error.contains("serve.yaml:2: roles[0].role: unknown value `king`"), "{error}");
    }

    #[test]
    fn the_example_is_valid() {
        let text = include_str!("../../../docs/examples/serve.yaml");
        let config = parse(text).unwrap();
        assert_eq!(config.roles.len(), 2);
        assert!(config.listen.is_some());
    }
}
