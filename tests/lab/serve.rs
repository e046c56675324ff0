//! `fermata-lab endpoints`: listens, speaks TLS, serves, until it is told to stop.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use clap::Args;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

use crate::certs::Authority;
use crate::config::{Config, Endpoint};
use crate::connection::Connection;
use crate::error::LabError;
use crate::plan::Plan;
use crate::respond::{Service, respond};
use crate::slots::Slots;
use crate::truth::Log;

/// Arguments of `fermata-lab endpoints`.
#[derive(Args)]
pub(crate) struct EndpointsArguments {
    /// Endpoint file: names, addresses, APIs, slots and speeds (`tests/lab/endpoints.json`).
    #[arg(long, value_name = "FILE")]
    listen_config: PathBuf,
    /// Where the truth goes, one JSON line a request.
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// Directory that receives `ca.pem`, which the clients have to trust.
    #[arg(long, value_name = "DIR")]
    certs: PathBuf,
    /// Which call fails at which attempt, and how; without it nothing fails.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// File that is made once every endpoint listens.
    #[arg(long, value_name = "FILE")]
    ready: Option<PathBuf>,
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(arguments: &EndpointsArguments) -> Result<(), LabError> {
    let config = Config::load(&arguments.listen_config)?;
    let plan = Arc::new(Plan::load(arguments.plan.as_deref())?);
    if !plan.scenario.is_empty() {
        eprintln!("fermata-lab: scenario {}, seed {}", plan.scenario, plan.seed);
    }
    let log = Arc::new(Log::create(&arguments.truth)?);
    let authority = Authority::new()?;
    authority.publish(&arguments.certs)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for endpoint in config.endpoints {
            start(endpoint, &authority, &plan, &log).await?;
        }
        if let Some(ready) = &arguments.ready {
            announce(ready)?;
        }
        until_told_to_stop().await
    })
    // Dropping the runtime drops every running request, and each writes its truth as it goes.
}

/// Listens on one endpoint's address and serves it in the background.
async fn start(
    endpoint: Endpoint,
    authority: &Authority,
    plan: &Arc<Plan>,
    log: &Arc<Log>,
) -> Result<(), LabError> {
    let address = endpoint.address;
    let listener =
        TcpListener::bind(address).await.map_err(|source| LabError::Listen { address, source })?;
    let acceptor = TlsAcceptor::from(authority.server(&endpoint.sni)?);
    let total = plan.slots.get(&endpoint.name).copied().unwrap_or(endpoint.slots);
    eprintln!("fermata-lab: {} on {address}, {total} slots", endpoint.sni);
    let (slots, plan, log) = (Slots::new(total), Arc::clone(plan), Arc::clone(log));
    let service = Arc::new(Service { endpoint, slots, plan, log });
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, client)) => {
                    let (acceptor, service) = (acceptor.clone(), Arc::clone(&service));
                    tokio::spawn(serve(stream, client, acceptor, service));
                }
                Err(error) => eprintln!("fermata-lab: accept on {address}: {error}"),
            }
        }
    });
    Ok(())
}

/// Serves one connection to its end. Its errors are faults or departures, and the truth has them
/// already.
async fn serve(
    stream: TcpStream,
    client: std::net::SocketAddr,
    acceptor: TlsAcceptor,
    service: Arc<Service>,
) {
    let opened = stream.set_nodelay(true).and_then(|()| Connection::new(&stream, client));
    let connection = match opened {
        Ok(connection) => Arc::new(connection),
        Err(error) => return eprintln!("fermata-lab: {client}: {error}"),
    };
    let Ok(tls) = acceptor.accept(stream).await else {
        return; // it left in the middle of the handshake
    };
    let requests = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| respond(Arc::clone(&service), Arc::clone(&connection), request))
    };
    let mut serving = pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(tls), requests)
    );
    tokio::select! {
        biased;
        () = connection.cut_asked() => {}
        _ended = serving.as_mut() => {}
    }
    // Both descriptors close here, hyper's first: as the cut wants it, or as hyper left it.
}

/// Makes the file that says every endpoint listens.
fn announce(path: &Path) -> Result<(), LabError> {
    std::fs::write(path, "ready\n").map_err(|source| LabError::File { path: path.into(), source })
}

async fn until_told_to_stop() -> Result<(), LabError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
