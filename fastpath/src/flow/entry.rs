//! What is kept of a flow. O(1): no list of anything.

use super::key::FlowKey;
use super::tcp::Progress;
use crate::burst::{Direction, Protocol, Tcp, TlsVersion};
use crate::parse::handshake::Handshake;
use crate::parse::tls::Stream;
use crate::policy::snapshot::EndpointId;
use crate::telemetry::event::{Peers, Visibility};
use crate::telemetry::names::NameId;
use crate::time::Nanos;

/// One flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowEntry {
    /// Its 5-tuple.
    pub key: FlowKey,
    /// Whether the lower end of the key is the client.
    pub client_is_low: bool,
    /// Its number, unique in the lcore's life.
    pub number: u64,
    /// First frame.
    pub opened: Nanos,
    /// Latest frame.
    pub last_seen: Nanos,
    /// To the server, to the client.
    pub halves: [Half; 2],
    /// Handshake of a UDP flow.
    pub handshake: Handshake,
    /// The client's SYN, while the answer is awaited.
    syn_at: Option<Nanos>,
    /// Round trip from here to the server and back, from the handshake.
    pub rtt: Option<Nanos>,
    /// What the ClientHello and the policy say.
    pub class: Classified,
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Half {
    /// TLS record walk.
    pub stream: Stream,
    /// TCP progress.
    pub tcp: Progress,
    /// Frames.
    pub frames: u64,
    /// Bytes of frames on the wire.
    pub bytes: u64,
}

/// What is known of a flow's ends beyond addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Classified {
    /// Revision of the policy that the endpoint is by.
    pub revision: u64,
    /// The endpoint called.
    pub endpoint: Option<EndpointId>,
    /// The name asked for.
    pub sni: Option<NameId>,
    /// A hash of the client's cipher list: one application, also across resumed connections.
    pub application: u64,
    /// A ClientHello was read.
    pub hello: bool,
    /// The client offered HTTP/2.
    pub offers_h2: bool,
    /// The server's choice, where it is in clear.
    pub chose_h2: Option<bool>,
    /// TLS version of the ServerHello.
    pub version: Option<TlsVersion>,
    /// Cipher suite of the ServerHello.
    pub cipher: u16,
    /// How well it can be seen.
    pub visibility: Visibility,
}

impl FlowEntry {
    /// A flow whose first frame has just been seen. Streams are numbered from the flow's number.
    #[must_use]
    pub fn new(key: FlowKey, client_is_low: bool, number: u64, at: Nanos) -> Self {
        let half = |n| Half {
            stream: Stream::new(2 * number + n),
            tcp: Progress::default(),
            frames: 0,
            bytes: 0,
        };
        Self {
            key,
            client_is_low,
            number,
            opened: at,
            last_seen: at,
            halves: [half(0), half(1)],
            handshake: Handshake::new(number),
            syn_at: None,
            rtt: None,
            class: Classified::default(),
        }
    }

    /// The sender of this hello is the client, whatever the ports had suggested.
    pub fn turn(&mut self) {
        self.client_is_low = !self.client_is_low;
        self.halves.swap(0, 1);
    }

    /// Takes one round trip from the handshake, never from a repeated SYN (RFC 6298, 3).
    pub fn measure_rtt(&mut self, tcp: &Tcp, direction: Direction, at: Nanos) {
        if !tcp.flags.syn() {
            return;
        }
        match direction {
            Direction::ToServer => {
                let repeated = self.halves[0].frames > 1;
                self.syn_at = (!repeated).then_some(at);
            }
            Direction::ToClient => {
                self.rtt = self.rtt.or_else(|| self.syn_at.take().map(|syn_at| at.since(syn_at)));
            }
        }
    }

    /// Which way a frame goes whose source is, or is not, the lower end of the key.
    #[must_use]
    pub fn direction(&self, source_is_low: bool) -> Direction {
        if source_is_low == self.client_is_low { Direction::ToServer } else { Direction::ToClient }
    }

    /// Both ends have closed, or one has reset.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let [up, down] = [&self.halves[0].tcp, &self.halves[1].tcp];
        up.rst || down.rst || (up.fin && down.fin)
    }

    /// Nothing came back from the server yet.
    #[must_use]
    pub fn is_half_open(&self) -> bool {
        self.key.protocol == Protocol::Tcp
            && self.halves[1].frames == 0
            && self.halves[0].tcp.syn.is_some()
    }

    /// Client and server.
    #[must_use]
    pub fn peers(&self) -> Peers {
        let FlowKey { low, high, protocol } = self.key;
        let (client, server) = if self.client_is_low { (low, high) } else { (high, low) };
        Peers {
            client: client.0,
            client_port: client.1,
            server: server.0,
            server_port: server.1,
            protocol,
        }
    }
}
