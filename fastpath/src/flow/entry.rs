//! What is kept of a flow. O(1): no list of anything.

use super::key::FlowKey;
use super::rtt::RoundTrip;
use super::tcp::{Arrived, Progress};
use crate::burst::{Direction, Headers, Protocol, TlsVersion};
use crate::parse::handshake::Handshake;
use crate::parse::tls::Stream;
use crate::policy::snapshot::EndpointId;
use crate::telemetry::event::{Call, Peers, Visibility};
use crate::telemetry::names::NameId;
use crate::time::Nanos;

/// One flow, in whole cache lines. The first one is what a look-up reads; the others are the two
/// directions, and what is read when something begins or ends.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct FlowEntry {
    /// Its 5-tuple.
    pub key: FlowKey,
    /// Whether the lower end of the key is the client.
    pub client_is_low: bool,
    /// It has not ended.
    pub(super) is_live: bool,
    /// Latest frame.
    pub last_seen: Nanos,
    /// First frame.
    pub opened: Nanos,
    /// Its number, unique in the lcore's life.
    pub number: u64,
    /// To the server, to the client.
    pub halves: [Half; 2],
    /// What the ClientHello and the policy say.
    pub class: Classified,
    /// Handshake of a UDP flow.
    pub handshake: Handshake,
}

const _: () = assert!(std::mem::offset_of!(FlowEntry, halves) == 64);

/// One direction of a flow.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Half {
    /// TLS record walk.
    pub stream: Stream,
    /// TCP progress.
    pub tcp: Progress,
    /// Round trips from here to its receiver and back.
    pub rtt: RoundTrip,
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
    /// The endpoint called, if it is a known one.
    pub call: Option<Call>,
    /// The name asked for.
    pub sni: Option<NameId>,
    /// The ClientHello gives no name, or perhaps only the outer one of an encrypted ClientHello.
    pub hidden: bool,
    /// A hash of the client's cipher list: one application, also across resumed connections.
    pub application: u64,
    /// A ClientHello was read.
    pub hello: bool,
    /// The client offered HTTP/2.
    pub offers_h2: bool,
    /// The server's choice, where it is in clear or there was none to make.
    pub chose_h2: Option<bool>,
    /// TLS version of the ServerHello.
    pub version: Option<TlsVersion>,
    /// Cipher suite of the ServerHello.
    pub cipher: u16,
    /// How well it can be seen.
    pub visibility: Visibility,
}

impl Classified {
    /// The endpoint called, if it is a known one.
    #[must_use]
    pub fn endpoint(&self) -> Option<EndpointId> {
        self.call.map(|call| call.endpoint)
    }
}

impl FlowEntry {
    /// A flow whose first frame has just been seen. Streams are numbered from the flow's number.
    #[must_use]
    pub fn new(key: FlowKey, client_is_low: bool, number: u64, at: Nanos) -> Self {
        let half = |n| Half {
            stream: Stream::new(2 * number + n),
            tcp: Progress::default(),
            rtt: RoundTrip::default(),
            frames: 0,
            bytes: 0,
        };
        Self {
            key,
            client_is_low,
            is_live: true,
            number,
            opened: at,
            last_seen: at,
            halves: [half(0), half(1)],
            handshake: Handshake::new(number),
            class: Classified::default(),
        }
    }

    /// The sender of this hello is the client, whatever the ports had suggested.
    pub fn turn(&mut self) {
        self.client_is_low = !self.client_is_low;
        self.halves.swap(0, 1);
    }

    /// Takes a TCP segment in.
    #[inline]
    pub fn segment(&mut self, headers: &Headers, direction: Direction, at: Nanos) -> Arrived {
        let Headers { tcp, payload_wire_bytes, .. } = headers;
        let [half, other] = direction.first_of(&mut self.halves);
        let arrived = half.tcp.advance(tcp, *payload_wire_bytes);
        if arrived.in_order || arrived.repeated {
            // Data on a SYN may be refused; the SYN itself is answered in any case.
            let data = if tcp.flags.syn() { 1 } else { *payload_wire_bytes };
            let end = tcp.seq.wrapping_add(data).wrapping_add(u32::from(tcp.flags.fin()));
            half.rtt.sent(tcp, end, arrived, at);
        }
        if tcp.flags.ack() {
            other.tcp.acknowledged(tcp.ack);
        }
        if tcp.flags.ack() && !tcp.flags.rst() {
            if tcp.flags.syn() {
                other.tcp.answered(tcp.ack);
            }
            other.rtt.acknowledged(tcp, at);
        }
        arrived
    }

    /// The shortest round trip from here to the server and back.
    #[must_use]
    pub fn rtt(&self) -> Option<Nanos> {
        self.halves[Direction::ToServer.index()].rtt.minimum()
    }

    /// Its beginning was not seen: no SYN of either side, or of UDP no ClientHello.
    #[must_use]
    pub fn from_middle(&self) -> bool {
        match self.key.protocol {
            Protocol::Tcp => self.halves.iter().all(|half| half.tcp.syn().is_none()),
            Protocol::Udp => !self.class.hello,
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
            && self.halves[0].tcp.syn().is_some()
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
