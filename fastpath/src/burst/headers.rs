//! What the link, network and transport headers of a frame say: copies and offsets, never borrows.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// An IP address in 16 bytes; IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Address([u8; 16]);

impl Address {
    /// From the four bytes of an IPv4 header.
    #[must_use]
    pub const fn v4(b: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, b[0], b[1], b[2], b[3]])
    }

    /// From the sixteen bytes of an IPv6 header.
    #[must_use]
    pub const fn v6(b: [u8; 16]) -> Self {
        Self(b)
    }

    /// The sixteen bytes, IPv4 mapped.
    #[must_use]
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }

    /// The address as the standard library has it.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        let v6 = Ipv6Addr::from(self.0);
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    }
}

impl Hash for Address {
    /// As one number: the derived implementation would hash a length and a slice.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.0));
    }
}

impl Ord for Address {
    /// As one number: in the order of its bytes, without a loop over them.
    fn cmp(&self, other: &Self) -> Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Self {
        Self::v4(ip.octets())
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

/// The transport protocol, as far as we go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

/// What a frame begins with. All but Ethernet are found in captures only
/// (<https://www.tcpdump.org/linktypes.html>), and are never rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Two MAC addresses and an ethertype.
    #[default]
    Ethernet,
    /// The loopback of BSD: an address family of four bytes in the byte order of the host.
    Null,
    /// The loopback of OpenBSD: an address family of four bytes in network order.
    Loop,
    /// An IP header.
    Ip,
    /// The cooked header of Linux, 16 bytes.
    LinuxSll,
    /// The cooked header of Linux with an interface index, 20 bytes.
    LinuxSll2,
    /// PPP (RFC 1661), with address and control bytes or without.
    Ppp,
    /// PPP in HDLC-like framing (RFC 1662), or Cisco HDLC.
    PppSerial,
    /// A PPPoE session (RFC 2516) without its Ethernet header.
    PppEther,
    /// Cisco HDLC.
    CiscoHdlc,
    /// IEEE 802.11.
    Ieee80211,
    /// IEEE 802.11 behind a radiotap header.
    Radiotap,
    /// The log of netfilter.
    Nflog,
}

/// What the first bytes of a UDP payload look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Datagram {
    /// Neither of the others, or no UDP.
    #[default]
    Other,
    /// A QUIC packet with a long header (RFC 8999): a connection is being opened.
    Quic,
    /// A DTLS handshake record (RFC 9147).
    Dtls,
}

/// TCP control bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    #[must_use]
    pub const fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }
    /// SYN.
    #[must_use]
    pub const fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }
    /// RST.
    #[must_use]
    pub const fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }
    /// ACK.
    #[must_use]
    pub const fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// The timestamps option of a TCP segment (RFC 7323, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval, in ticks of the sender's clock.
    pub value: u32,
    /// TSecr: the latest TSval that the sender has received.
    pub echo: u32,
}

/// The fields of a TCP header that the stages need. All zero for UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Window as in the header, unscaled.
    pub window: u16,
    /// Control bits.
    pub flags: TcpFlags,
    /// The timestamps option, if it is there and whole.
    pub timestamps: Option<Timestamps>,
    /// Shift count of the window scale option (RFC 7323, 2.2); only a SYN has it.
    pub window_scale: Option<u8>,
}

/// What a frame is that holds a fragment of an IP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// The datagram is not whole. Its first fragment has told the ports; nothing else is known, and
    /// the frame only counts.
    Part,
    /// The datagram is whole by this frame, and is kept in `parse` under this index: the headers
    /// are those of the datagram, and the ranges count from its first byte.
    Joined(u16),
}

/// The headers of one TCP or UDP frame, the innermost ones of a tunnel. Right by construction:
/// ranges lie within the frame, or within the datagram that the frame completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Network source address.
    pub source: Address,
    /// Network destination address.
    pub destination: Address,
    /// Transport source port.
    pub source_port: u16,
    /// Transport destination port.
    pub destination_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// TCP fields.
    pub tcp: Tcp,
    /// What a UDP payload looks like.
    pub datagram: Datagram,
    /// What part of its datagram the frame is; `None` when it holds the whole of it.
    pub fragment: Option<Fragment>,
    /// Offset of the IP header in the frame, bytes.
    pub network_offset: u16,
    /// Offset of the transport header in the frame, bytes.
    pub transport_offset: u16,
    /// Where the payload starts in the frame, bytes.
    pub payload_offset: u32,
    /// Payload bytes that the frame holds.
    pub payload_bytes: u32,
    /// Payload bytes that the IP header promises. More than `payload_bytes` when a capture cut the
    /// frame.
    pub payload_wire_bytes: u32,
}

impl Headers {
    /// Whether the frame only counts: no payload and no TCP field of it is known.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.fragment == Some(Fragment::Part)
    }

    /// The payload's place in the frame, or in the joined datagram.
    #[must_use]
    pub fn payload(&self) -> Range<usize> {
        let start = self.payload_offset as usize;
        start..start + self.payload_bytes as usize
    }
}

/// The index of a flow in its lcore's flow table. Valid until the flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u32);

/// Which way a frame goes, seen from the connection's initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From client to server: upstream.
    ToServer = 0,
    /// From server to client: downstream.
    ToClient = 1,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }

    /// Of a pair with a part for each direction: the part of this one, then that of the other.
    pub const fn first_of<T>(self, pair: &mut [T; 2]) -> [&mut T; 2] {
        let [up, down] = pair;
        match self {
            Self::ToServer => [up, down],
            Self::ToClient => [down, up],
        }
    }

    /// 0 to the server, 1 to the client; for indexing a pair.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_prints_as_ipv4() {
        assert_eq!(Address::v4([198, 51, 100, 11]).to_string(), "198.51.100.11");
        assert_eq!(
            Address::from("2001:db8::1".parse::<IpAddr>().unwrap()).to_string(),
            "2001:db8::1"
        );
    }
}
