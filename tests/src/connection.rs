//! A TLS connection as frames: it keeps sequence numbers and time, and puts every segment into an
//! [`Arrival`].
//!
//! The client is at port 0 of the wire and the server at port 1.

use std::net::SocketAddr;

use fastpath::burst::{Direction, PortIndex};
use fastpath::time::Nanos;

use crate::frame::{self, ACK, FIN, RST, SYN, Segment};
use crate::tls;

/// A frame that will arrive: when, by which port, its bytes.
pub type Arrival = (Nanos, PortIndex, Vec<u8>);

/// A connection that is being made up.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Who opens it.
    pub client: SocketAddr,
    /// Who is called.
    pub server: SocketAddr,
    /// VLAN of its frames.
    pub vlan: Option<u16>,
    /// Payload bytes of a segment, at most.
    pub mss: usize,
    /// The time of the next frame.
    pub at: Nanos,
    /// Round trip between the wire and the server.
    pub rtt: Nanos,
    /// Next sequence number to the server and to the client.
    next: [u32; 2],
    arrivals: Vec<Arrival>,
}

impl Connection {
    /// A connection between two ends whose first frame comes `at`.
    #[must_use]
    pub fn new(client: SocketAddr, server: SocketAddr, at: Nanos) -> Self {
        Self {
            client,
            server,
            vlan: None,
            mss: 1448,
            at,
            rtt: Nanos::from_millis(20),
            // The client's wraps soon: that must not matter anywhere.
            next: [u32::MAX - 5_000, 1_000_000],
            arrivals: Vec::new(),
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Nanos) -> &mut Self {
        self.at += time;
        self
    }

    /// The TCP and TLS 1.3 handshakes: hellos, the server's flight, the client's Finished, two
    /// tickets.
    pub fn open(&mut self, sni: &str) -> &mut Self {
        self.open_offering(sni, &["http/1.1"])
    }

    /// The same with another ALPN offer.
    pub fn open_offering(&mut self, sni: &str, alpn: &[&str]) -> &mut Self {
        let rtt = self.rtt;
        self.open_up_to_finished(sni, alpn).wait(rtt).tickets()
    }

    /// The same up to the Finished: a client sends its request right behind that.
    pub fn open_up_to_finished(&mut self, sni: &str, alpn: &[&str]) -> &mut Self {
        let rtt = self.rtt;
        self.connect();
        let hello = tls::client_hello(sni, alpn, 0);
        self.send(Direction::ToServer, &hello).wait(rtt);
        self.answer_hello();
        self.send(Direction::ToServer, &[tls::change_cipher_spec(), tls::data(36, 1)].concat())
    }

    /// Two session tickets.
    pub fn tickets(&mut self) -> &mut Self {
        self.send(Direction::ToClient, &[tls::data(238, 2), tls::data(238, 2)].concat())
    }

    /// SYN, SYN and ACK, ACK.
    pub fn connect(&mut self) -> &mut Self {
        let rtt = self.rtt;
        self.flags(Direction::ToServer, SYN).wait(rtt);
        self.flags(Direction::ToClient, SYN | ACK);
        self.flags(Direction::ToServer, ACK)
    }

    /// ServerHello and the encrypted rest of the server's flight.
    pub fn answer_hello(&mut self) -> &mut Self {
        let flight = [tls::server_hello(), tls::change_cipher_spec(), tls::data(2_800, 2)];
        self.send(Direction::ToClient, &flight.concat())
    }

    /// Records of data with these many bytes of plaintext, one after the other.
    pub fn data(&mut self, direction: Direction, plaintext: &[usize]) -> &mut Self {
        let records: Vec<u8> = plaintext.iter().flat_map(|&n| tls::data(n, 0x55)).collect();
        self.send(direction, &records)
    }

    /// A request and its response, streamed: `records` of 300 bytes, 20 ms apart, and the chunk
    /// terminator.
    pub fn exchange(&mut self, request: usize, records: usize) -> &mut Self {
        self.data(Direction::ToServer, &[request]).wait(Nanos::from_millis(150));
        for _ in 0..records {
            self.data(Direction::ToClient, &[300]).wait(Nanos::from_millis(20));
        }
        self.data(Direction::ToClient, &[5])
    }

    /// Both sides close in peace, the client first.
    pub fn close(&mut self) -> &mut Self {
        self.flags(Direction::ToServer, FIN | ACK);
        self.flags(Direction::ToClient, FIN | ACK);
        self.flags(Direction::ToServer, ACK)
    }

    /// A reset from one side.
    pub fn reset(&mut self, direction: Direction) -> &mut Self {
        self.flags(direction, RST | ACK)
    }

    /// A segment without payload.
    pub fn flags(&mut self, direction: Direction, flags: u8) -> &mut Self {
        let frame = self.segment(direction, self.next[direction.index()], flags, &[]);
        self.arrive(direction, frame);
        let counts = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.next[direction.index()] = self.next[direction.index()].wrapping_add(counts);
        self
    }

    /// A keep-alive of TCP: no payload, one before what is sent next (RFC 9293, 3.8.4).
    pub fn keep_alive(&mut self, direction: Direction) -> &mut Self {
        let seq = self.next[direction.index()].wrapping_sub(1);
        let frame = self.segment(direction, seq, ACK, &[]);
        self.arrive(direction, frame)
    }

    /// Bytes, in segments, in order.
    pub fn send(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        for frame in self.segments(direction, bytes, self.mss) {
            self.arrive(direction, frame);
        }
        self
    }

    /// The frames of bytes that are sent, for the caller to have them arrive as it likes.
    pub fn segments(&mut self, direction: Direction, bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
        let mut seq = self.next[direction.index()];
        let mut frames = Vec::new();
        for part in bytes.chunks(size) {
            frames.push(self.segment(direction, seq, ACK, part));
            // A segment is far below 2^32 bytes.
            seq = seq.wrapping_add(u32::try_from(part.len()).unwrap_or(0));
        }
        self.next[direction.index()] = seq;
        frames
    }

    /// Has a frame arrive now, at the side of its sender.
    pub fn arrive(&mut self, direction: Direction, frame: Vec<u8>) -> &mut Self {
        let port = match direction {
            Direction::ToServer => PortIndex(0),
            Direction::ToClient => PortIndex(1),
        };
        self.arrivals.push((self.at, port, frame));
        self
    }

    /// The frames so far.
    #[must_use]
    pub fn take(&mut self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals)
    }

    fn segment(&self, direction: Direction, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let (source, destination) = match direction {
            Direction::ToServer => (self.client, self.server),
            Direction::ToClient => (self.server, self.client),
        };
        let ack = if flags & ACK == 0 { 0 } else { self.next[direction.reverse().index()] };
        let vlan = self.vlan;
        frame::tcp(&Segment { source, destination, vlan, seq, ack, flags, payload })
    }
}

/// `count` connections of different clients to one server, each with two exchanges, all at once.
#[must_use]
pub fn busy_hour(count: u8, sni: &str) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for n in 0..count {
        let client = SocketAddr::from(([198, 51, 100, n], 40_000 + u16::from(n)));
        let server = SocketAddr::from(([203, 0, 113, 9], 443));
        let at = Nanos::from_secs(1_700_000_000) + Nanos::from_millis(7 * u64::from(n));
        let mut connection = Connection::new(client, server, at);
        connection.open(sni).wait(Nanos::from_millis(5));
        connection.exchange(700 + usize::from(n), 12).wait(Nanos::from_millis(40));
        connection.exchange(5_000, 3).wait(Nanos::from_millis(30)).close();
        arrivals.extend(connection.take());
    }
    // Stable: frames of one time stay in order.
    arrivals.sort_by_key(|(at, ..)| *at);
    arrivals
}

/// One client that asks for the same thing again and again, each time on a connection of its own:
/// first it is answered four times, so that the length of its request is a template, then it is
/// refused `count` times.
#[must_use]
pub fn storm(count: u16, sni: &str) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for n in 0..4 + count {
        let client = SocketAddr::from(([198, 51, 100, 1], 30_000 + n));
        let server = SocketAddr::from(([203, 0, 113, 9], 443));
        let at = Nanos::from_secs(1_700_000_000) + Nanos::from_millis(600 * u64::from(n));
        let mut connection = Connection::new(client, server, at);
        connection.open(sni).wait(Nanos::from_millis(5));
        if n < 4 {
            connection.exchange(700, 12);
        } else {
            connection.data(Direction::ToServer, &[700]).wait(Nanos::from_millis(30));
            connection.data(Direction::ToClient, &[400]);
        }
        connection.wait(Nanos::from_millis(10)).close();
        arrivals.extend(connection.take());
    }
    arrivals
}

/// `count` HTTP/2 connections of different clients to one server, all at once. On each a request is
/// answered, three run together of which one fails, and that one is sent again.
#[must_use]
pub fn multiplexed_hour(count: u8, sni: &str) -> Vec<Arrival> {
    use Direction::{ToClient, ToServer};
    let ms = Nanos::from_millis;
    let mut arrivals = Vec::new();
    for n in 0..count {
        let client = SocketAddr::from(([198, 51, 100, n], 20_000 + u16::from(n)));
        let server = SocketAddr::from(([203, 0, 113, 9], 443));
        let at = Nanos::from_secs(1_700_000_000) + ms(7 * u64::from(n));
        let mut connection = Connection::new(client, server, at);
        let c = connection.open_offering(sni, &["h2"]).wait(ms(5));
        c.data(ToServer, &[82, 456, 1500, 9]).wait(ms(20));
        c.data(ToClient, &[40, 9]).wait(ms(150));
        c.data(ToClient, &[761, 969, 9]).wait(ms(50));
        c.data(ToServer, &[150]).wait(ms(1));
        c.data(ToServer, &[2000, 1700, 1800, 9, 9, 9]).wait(ms(60));
        c.data(ToClient, &[761, 170, 9]).wait(ms(60));
        c.data(ToClient, &[765, 1100, 9]).wait(ms(60));
        c.data(ToClient, &[764, 1200, 9]).wait(ms(400));
        c.data(ToServer, &[152, 1700, 9]).wait(ms(150));
        c.data(ToClient, &[764, 1300, 9]).wait(ms(30));
        c.close();
        arrivals.extend(connection.take());
    }
    arrivals.sort_by_key(|(at, ..)| *at);
    arrivals
}
