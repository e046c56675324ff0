//! The API over a network: TLS in which both sides show a certificate. Whoever has none, an expired
//! one, or one of another authority, does not get as far as a request.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::config;
use super::listen::PATIENCE;
use super::peer::{self, Peer};
use crate::failure::Failure;
use crate::store::sha256;

/// A port of TLS.
pub(super) struct Remote {
    pub(super) listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Remote {
    /// Listens as `config` says.
    pub(super) async fn bind(config: &config::Remote) -> Result<Self, Failure> {
        let acceptor = acceptor(config)?;
        let failed =
            |error: std::io::Error| Failure::Serve(config.address.to_string(), error.to_string());
        let listener = TcpListener::bind(config.address).await.map_err(failed)?;
        Ok(Self { listener, acceptor })
    }

    /// Shakes hands; the peer is the one that the certificate names.
    pub(super) async fn shake_hands(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, Peer), String> {
        let shaken = tokio::time::timeout(PATIENCE, self.acceptor.accept(stream)).await;
        let stream = shaken
            .map_err(|_| "timed_out".to_owned())?
            .map_err(|error| format!("no_certificate_accepted: {error}"))?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
        let certificate = certificate.ok_or("no_certificate")?;
        let fingerprint = sha256(certificate);
        let names = webpki::EndEntityCert::try_from(certificate)
            .map_err(|error| format!("unreadable_certificate: {error}"))?;
        let peer = peer::of_certificate(names.valid_uri_names(), &fingerprint, from.to_string());
        Ok((stream, peer))
    }
}

fn acceptor(config: &config::Remote) -> Result<TlsAcceptor, Failure> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::Serve(path.display().to_string(), error.to_string())
    };
    let certificates = |path: &Path| {
        let read = CertificateDer::pem_file_iter(path).map_err(|error| failed(path, &error))?;
        read.collect::<Result<Vec<_>, _>>().map_err(|error| failed(path, &error))
    };
    let mut authorities = RootCertStore::empty();
    for authority in certificates(&config.client_authority)? {
        authorities.add(authority).map_err(|error| failed(&config.client_authority, &error))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(authorities))
        .build()
        .map_err(|error| failed(&config.client_authority, &error))?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|e| failed(&config.key, &e))?;
    let server = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&config.certificate)?, key)
        .map_err(|error| failed(&config.certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(server)))
}
