//! Exchanges as flow records: IPFIX (RFC 7011), over UDP or TCP.
//!
//! A record is a bidirectional flow from client to server with the bounds of one request and its
//! response. What standard elements cannot say is said in elements of an enterprise, whose names and
//! types are sent beside the templates (RFC 5610). docs/metrics.md has them in a table. An exchange
//! that turns out to have been waste after its record was sent is told in a record of its own.

mod element;
mod message;
mod record;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

pub use element::{ENTERPRISE_DEFAULT, ENTERPRISE_ELEMENTS};
use message::{Exporting, Message};

use super::feed::{Rows, Sink};
use super::lines;

/// How records travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In datagrams; templates are sent again and again.
    Udp,
    /// Over a connection; templates are sent once.
    Tcp,
}

/// What an exporter is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Host and port of the collector.
    pub collector: String,
    /// How records travel.
    pub transport: Transport,
    /// Tells this exporter from others of the collector.
    pub observation_domain: u32,
    /// Over UDP templates are sent again after this.
    pub template_interval: Duration,
    /// The enterprise whose elements ours are.
    pub enterprise: u32,
}

/// Sends records to a collector.
#[derive(Debug)]
pub struct Ipfix {
    settings: Settings,
    exporting: Exporting,
    connection: Option<Connection>,
    /// When templates were sent last, by the time of rows or of the clock.
    templates_at: Option<u64>,
}

#[derive(Debug)]
enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// Bytes of a message at most: a datagram that fits whatever path there is (RFC 7011, 10.3.3).
const MESSAGE_MAX: usize = 1400;

impl Ipfix {
    /// For a collector, connected when there is something to say.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        let exporting = Exporting::new(settings.observation_domain, settings.enterprise);
        Self { settings, exporting, connection: None, templates_at: None }
    }

    /// Sends templates where they are due and the records of `rows`; `now` is in Unix seconds.
    ///
    /// # Errors
    /// When the collector cannot be reached or does not take them.
    pub fn send(&mut self, rows: &Rows, now: u64) -> io::Result<u64> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.templates_at = None;
                // Over TCP each connection is a transport session of its own.
                if self.settings.transport == Transport::Tcp {
                    self.exporting.restart();
                }
                Connection::open(&self.settings)?
            }
        };
        let interval = self.settings.template_interval.as_secs();
        let again = |at: u64| {
            self.settings.transport == Transport::Udp && now.saturating_sub(at) >= interval
        };
        if self.templates_at.is_none_or(again) {
            for message in self.exporting.templates(now, MESSAGE_MAX) {
                connection.send(&message)?;
            }
            self.templates_at = Some(now);
        }
        let mut records = 0;
        for message in self.exporting.records(rows, now, MESSAGE_MAX) {
            let Message { bytes, records: count } = message;
            connection.send(&bytes)?;
            records += u64::from(count);
        }
        // After an error nobody knows how much of a message has gone: the connection is opened anew.
        self.connection = Some(connection);
        Ok(records)
    }
}

impl Sink for Ipfix {
    fn write(&mut self, rows: &Rows) -> io::Result<u64> {
        self.send(rows, super::run::unix_seconds())
    }
}

impl Connection {
    fn open(settings: &Settings) -> io::Result<Self> {
        if settings.transport == Transport::Tcp {
            return lines::connect(&settings.collector).map(Self::Tcp);
        }
        let to = settings.collector.to_socket_addrs()?.next();
        let to = to.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let any: SocketAddr = any.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        // A full buffer loses datagrams, as a full network does; nobody waits for it.
        socket.set_nonblocking(true)?;
        Ok(Self::Udp(socket))
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).map(|_| ()),
            Self::Tcp(stream) => stream.write_all(message),
        }
    }
}

#[cfg(test)]
mod tests;
