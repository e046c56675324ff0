//! The lab's certificate authority and a server certificate for each endpoint, made anew at every
//! start.
//!
//! Only `ca.pem` leaves the program (the clients trust nothing else); keys stay in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::LabError;

/// The authority of one run.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new authority.
    pub(crate) fn new() -> Result<Self, LabError> {
        let wrap = |source| LabError::Certificate { name: "the lab CA".to_owned(), source };
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "Fermata lab CA");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(wrap)?;
        let pem = parameters.self_signed(&key).map_err(wrap)?.pem();
        Ok(Self { issuer: Issuer::new(parameters, key), pem })
    }

    /// Writes `ca.pem` for the clients and says where.
    pub(crate) fn publish(&self, directory: &Path) -> Result<PathBuf, LabError> {
        let path = directory.join("ca.pem");
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&path, &self.pem))
            .map_err(|source| LabError::File { path: path.clone(), source })?;
        Ok(path)
    }

    /// TLS of an endpoint: its own certificate, HTTP/1.1 only.
    pub(crate) fn server(&self, name: &str) -> Result<Arc<ServerConfig>, LabError> {
        let wrap = |source| LabError::Certificate { name: name.to_owned(), source };
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).map_err(wrap)?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(wrap)?;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(wrap)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = |source| LabError::Tls { name: name.to_owned(), source };
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(tls)?;
        let builder = builder.with_no_client_auth();
        let mut config =
            builder.with_single_cert(vec![certificate.der().clone()], key).map_err(tls)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_offers_http_1_1_only() {
        let authority = Authority::new().unwrap();
        let config = authority.server("api.openai.test").unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1"]);
    }
}
