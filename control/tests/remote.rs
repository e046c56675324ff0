//! The API over a network: only who shows a certificate of the right authority, in its time, with a role, gets
//! in; and everybody else is in the audit log.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use control::api::client::send;
use hyper::{Method, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// What a client shows.
type Shown = Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate with these names, valid until `last_year`.
fn certificate(
    authority: &Authority,
    names: &[&str],
    last_year: i32,
) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
    let name = |name: &&str| match name.strip_prefix("dns:") {
        Some(name) => SanType::DnsName(name.try_into().unwrap()),
        None => SanType::URI((*name).try_into().unwrap()),
    };
    params.subject_alt_names = names.iter().map(name).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate, key)
}

fn shown(authority: &Authority, names: &[&str], last_year: i32) -> Shown {
    let (certificate, key) = certificate(authority, names, last_year);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Some((certificate.der().clone(), key))
}

struct Daemon {
    directory: PathBuf,
    address: SocketAddr,
    authority: Authority,
    process: Child,
}

impl Daemon {
    fn start(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("fermata-tls-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let authority = authority();
        let (own, key) = certificate(&authority, &["dns:fermata.test"], 4000);
        let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
        write("own.pem", own.pem());
        write("own.key", key.serialize_pem());
        write("clients.pem", authority.pem());
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let d = directory.display();
        write(
            "serve.yaml",
            format!(
                "socket: {d}/api.sock\naudit: {d}/audit.jsonl\nstore: {{ directory: {d}/store }}\nlisten:\n  \
                 address: {address}\n  certificate: {d}/own.pem\n  key: {d}/own.key\n  clientAuthority: {d}/clients.pem\n"
            ),
        );
        let process = start(&directory);
        while std::net::TcpStream::connect(address).is_err() {
            std::thread::yield_now();
        }
        Self { directory, address, authority, process }
    }

    /// Asks over TLS.
    fn ask(
        &self,
        shown: Shown,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match shown {
            Some((certificate, key)) => {
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
            let name = ServerName::try_from("fermata.test").unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
            let (status, bytes) = send(stream, method, path, body).await?;
            Ok((status, serde_json::from_slice(&bytes).map_err(|e| e.to_string())?))
        })
    }

    fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.join("audit.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn start(directory: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_fermata"))
        .arg("--socket")
        .arg(directory.join("plane.sock"))
        .args(["serve", "--config"])
        .arg(directory.join("serve.yaml"))
        .spawn()
        .unwrap()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

const READER: &[&str] = &["urn:fermata:name:ada", "urn:fermata:role:read"];
const ADMIN: &[&str] = &["urn:fermata:name:eve", "urn:fermata:role:admin"];

fn policy() -> Value {
    json!({
        "text": "apiVersion: fermata.dev/v1alpha1\nkind: CoordinationPolicy\nmetadata: { name: a }\nspec: { mode: off }\n",
        "why": "tested",
    })
}

#[test]
fn a_certificate_gives_its_role_and_no_more_and_its_name_is_in_the_history() {
    let daemon = Daemon::start("roles");
    let apply = |names| {
        let shown = shown(&daemon.authority, names, 4000);
        daemon.ask(shown, Method::POST, "/v1/policy/apply", Some(&policy())).unwrap()
    };
    let read = shown(&daemon.authority, READER, 4000);
    assert_eq!(daemon.ask(read, Method::GET, "/v1/health", None).unwrap().0, StatusCode::OK);
    let (status, error) = apply(READER);
    assert_eq!((status, &error["error"]["code"]), (StatusCode::FORBIDDEN, &json!("role_too_low")));
    let (status, error) = apply(&["urn:fermata:name:mallory"]);
    assert_eq!((status, &error["error"]["code"]), (StatusCode::FORBIDDEN, &json!("no_role")));
    let (status, applied) = apply(ADMIN);
    assert_eq!((status, &applied["current"]["entry"]["who"]), (StatusCode::OK, &json!("eve")));
    let lines: Vec<(Value, Value)> = daemon
        .audit()
        .into_iter()
        // Whoever looks whether the port is open shows nothing.
        .filter(|line| line["what"] != "tls")
        .map(|line| (line["who"].clone(), line["outcome"].clone()))
        .collect();
    assert_eq!(
        lines,
        [("ada", "role_too_low"), ("mallory", "no_role"), ("eve", "done")]
            .map(|(who, outcome)| (json!(who), json!(outcome)))
    );
}

#[test]
fn without_a_certificate_of_ours_in_its_time_nobody_gets_in_and_all_are_written_down() {
    let daemon = Daemon::start("refused");
    for (what, shown) in [
        ("none", None),
        ("expired", shown(&daemon.authority, ADMIN, 2021)),
        ("foreign", shown(&authority(), ADMIN, 4000)),
    ] {
        let answer = daemon.ask(shown, Method::POST, "/v1/policy/apply", Some(&policy()));
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    let admin = shown(&daemon.authority, ADMIN, 4000);
    let (_, current) = daemon.ask(admin, Method::GET, "/v1/policy", None).unwrap();
    assert_eq!(current["revision"], 0, "nothing was applied");
    let refused: Vec<Value> = daemon.audit();
    let of_tls: Vec<&str> = refused
        .iter()
        .filter(|line| line["what"] == "tls")
        .filter_map(|line| line["outcome"].as_str())
        // Whoever looks whether the port is open shows nothing either.
        .filter(|outcome| !outcome.contains("eof"))
        .collect();
    assert_eq!(of_tls.len(), 3, "{refused:?}");
    assert!(of_tls.iter().any(|outcome| outcome.contains("expired")), "{of_tls:?}");
    assert!(refused.iter().all(|line| line["from"].as_str().unwrap().starts_with("127.0.0.1:")));
}
