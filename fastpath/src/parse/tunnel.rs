//! What IP and UDP carry that is a frame or a packet itself.
//!
//! Over IP: IPv4 and IPv6 (RFC 2003, 4213), GRE (RFC 2784, 2890; with PPP: RFC 2637; with ERSPAN),
//! EtherIP (RFC 3378), MPLS (RFC 4023). Over UDP: VXLAN (RFC 7348) and its GPE, Geneve (RFC 8926),
//! GTP-U (3GPP TS 29.281), Teredo (RFC 4380), L2TP (RFC 2661), MPLS (RFC 7510), CAPWAP (RFC 5415)
//! and TZSP. A port is no proof: each header must hold, and so must the packet inside; if not, the
//! frame stays an ordinary datagram.

use super::ip;
use super::layer::Layer;
use super::link::Carried;

/// Extension headers of a GTP-U packet, and tags of a TZSP one.
const EXTENSIONS_MAX: usize = 8;

/// Whether a fragment with this protocol may belong to a flow or to a tunnel.
pub(super) fn carries(protocol: u8) -> bool {
    // Those of IPv6 between which and the transport header other extension headers stand.
    let extension = matches!(protocol, 43 | 51 | 60);
    matches!(protocol, ip::TCP | ip::UDP | 4 | 41 | 47 | 97 | 137) || extension
}

/// What an IP protocol other than TCP and UDP carries, if it is a tunnel.
#[cold]
pub(super) fn over_ip(protocol: u8, layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    match protocol {
        4 => Some((Carried::V4, layer)),
        41 => Some((Carried::V6, layer)),
        47 => gre(layer),
        97 => match layer.first()? {
            [0x30, 0] => Some((Carried::Ethernet, layer.behind(2)?)),
            _ => None,
        },
        137 => Some((Carried::Mpls, layer)),
        _ => None,
    }
}

/// Whether a datagram between these ports may be one of a tunnel.
pub(super) fn is_port(source: u16, destination: u16) -> bool {
    let both_ways = |port| matches!(port, 1701 | 2152 | 3544 | 5247);
    let one_way = matches!(destination, 4789 | 4790 | 6081 | 6635 | 8472 | 37008);
    one_way || both_ways(destination) || both_ways(source)
}

/// What a datagram between these ports carries, if it is one of a tunnel.
#[cold]
pub(super) fn over_udp(
    source: u16,
    destination: u16,
    layer: Layer<'_>,
) -> Option<(Carried, Layer<'_>)> {
    match destination {
        4789 | 4790 | 8472 => vxlan(layer),
        6081 => geneve(layer),
        6635 => Some((Carried::Mpls, layer)),
        37008 => tzsp(layer),
        _ => [destination, source].into_iter().find_map(|port| match port {
            1701 => l2tp(layer),
            2152 => gtp(layer),
            3544 => teredo(layer),
            5247 => capwap(layer),
            _ => None,
        }),
    }
}

/// GRE: flags and version, an ethertype, and the optional fields that the flags tell of.
fn gre(layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    let &[flags, version, type0, type1] = layer.first()?;
    let flag = |bit: u8| if flags & bit != 0 { 4 } else { 0 };
    let (checksum, key, sequence) = (flag(0x80), flag(0x20), flag(0x10));
    let ethertype = u16::from_be_bytes([type0, type1]);
    let bytes = 4 + checksum + key + sequence;
    match (version & 7, ethertype) {
        // Source routes (RFC 1701) have been out of use for long.
        (0, _) if flags & 0x40 != 0 => None,
        // ERSPAN of type I has no header, and GRE no sequence number by which it is told.
        (0, 0x88be) if sequence == 0 => Some((Carried::Ethernet, layer.behind(bytes)?)),
        (0, 0x88be) => Some((Carried::Ethernet, layer.behind(bytes + 8)?)),
        (0, 0x22eb) => erspan_3(layer.behind(bytes)?),
        // WCCP redirects with four bytes of its own, or without.
        (0, 0x883e) => match layer.behind(bytes)?.bytes {
            [0x45..=0x4f, ..] => Some((Carried::V4, layer.behind(bytes)?)),
            _ => Some((Carried::V4, layer.behind(bytes + 4)?)),
        },
        (0, _) => Some((Carried::Ethertype(ethertype), layer.behind(bytes)?)),
        (1, 0x880b) => {
            let acknowledgment = if version & 0x80 != 0 { 4 } else { 0 };
            Some((Carried::Ppp, layer.behind(bytes + acknowledgment)?))
        }
        _ => None,
    }
}

/// ERSPAN of type III: twelve bytes, and eight more when the last bit of them says so.
fn erspan_3(layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    let &[.., last]: &[u8; 12] = layer.first()?;
    Some((Carried::Ethernet, layer.behind(if last & 1 == 1 { 20 } else { 12 })?))
}

/// VXLAN: a flag that there is an identifier. In GPE another tells of the protocol.
fn vxlan(layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    let &[flags, _, _, next, _, _, _, reserved] = layer.first()?;
    let carried = match (flags & 0x0c, next) {
        (0x08, _) => Carried::Ethernet,
        (0x0c, 1) => Carried::V4,
        (0x0c, 2) => Carried::V6,
        (0x0c, 3) => Carried::Ethernet,
        (0x0c, 4) => Carried::Nsh,
        (0x0c, 5) => Carried::Mpls,
        _ => return None,
    };
    if reserved == 0 { Some((carried, layer.behind(8)?)) } else { None }
}

fn geneve(layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    let &[version, _, type0, type1, _, _, _, reserved] = layer.first()?;
    if version >> 6 != 0 || reserved != 0 {
        return None;
    }
    let options = usize::from(version & 0x3f) * 4;
    Some((Carried::Ethertype(u16::from_be_bytes([type0, type1])), layer.behind(8 + options)?))
}

/// GTP-U: only a G-PDU carries a packet. Its length counts all but the first eight bytes.
fn gtp(layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    let &[flags, kind, len0, len1, ..]: &[u8; 8] = layer.first()?;
    let bytes = usize::from(u16::from_be_bytes([len0, len1]));
    let (version, is_gtp) = (flags >> 5, flags & 0x10 != 0);
    if version != 1 || !is_gtp || kind != 255 || bytes + 8 > layer.wire_bytes {
        return None;
    }
    let mut layer = layer.of_length(bytes + 8).behind(8)?;
    // One flag is enough for the fields of all three.
    if flags & 7 != 0 {
        let &[_, _, _, mut next] = layer.first()?;
        layer = layer.behind(4)?;
        let mut extensions = if flags & 4 == 0 { 0 } else { EXTENSIONS_MAX };
        while next != 0 && extensions > 0 {
            let bytes = usize::from(*layer.bytes.first()?) * 4;
            next = *layer.bytes.get(bytes.checked_sub(1)?)?;
            layer = layer.behind(bytes)?;
            extensions -= 1;
        }
    }
    Some((Carried::Ip, layer))
}

/// Teredo: an IPv6 packet, perhaps behind an authentication and an origin header. One of its
/// addresses has the prefix of Teredo, and its length is exact.
fn teredo(layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    let mut layer = layer;
    if let &[0, 1, client, value] = layer.first()? {
        layer = layer.behind(13 + usize::from(client) + usize::from(value))?;
    }
    if let [0, 0] = layer.first()? {
        layer = layer.behind(8)?;
    }
    let header: &[u8; 40] = layer.first()?;
    let is_teredo = |at: usize| header.get(at..).is_some_and(|a| a.starts_with(&[0x20, 1, 0, 0]));
    let exact = usize::from(layer.be_u16(4)?) + 40 == layer.wire_bytes;
    let sound = exact && (is_teredo(8) || is_teredo(24));
    if sound { Some((Carried::Ip, layer)) } else { None }
}

/// L2TP of version 2: a data message with PPP inside.
fn l2tp(layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    let &[flags, version] = layer.first()?;
    // The first bit tells of a control message, the others are reserved.
    if flags & 0b1011_0100 != 0 || version != 2 {
        return None;
    }
    let field = |bit: u8, bytes: usize| if flags & bit != 0 { bytes } else { 0 };
    let mut bytes = 2 + field(0x40, 2) + 4 + field(0x08, 4);
    if flags & 0x02 != 0 {
        bytes += 2 + usize::from(layer.be_u16(bytes)?);
    }
    Some((Carried::Ppp, layer.behind(bytes)?))
}

/// CAPWAP data: a header that tells its length, and an Ethernet or a radio frame.
fn capwap(layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    let &[preamble, length, binding, flags] = layer.first()?;
    let (fragment, keep_alive) = (flags & 0x80 != 0, flags & 0x08 != 0);
    let bytes = usize::from(length >> 3) * 4;
    if preamble != 0 || fragment || keep_alive || bytes < 8 {
        return None;
    }
    let carried = if binding & 1 == 1 { Carried::Ieee80211 } else { Carried::Ethernet };
    Some((carried, layer.behind(bytes)?))
}

/// TZSP: a received packet of Ethernet or 802.11, behind tags.
fn tzsp(layer: Layer<'_>) -> Option<(Carried, Layer<'_>)> {
    let carried = match layer.first()? {
        [1, 0, 0, 1] => Carried::Ethernet,
        [1, 0, 0, 18] => Carried::Ieee80211,
        _ => return None,
    };
    let mut layer = layer.behind(4)?;
    for _ in 0..EXTENSIONS_MAX {
        layer = match layer.bytes {
            [0, ..] => layer.behind(1)?,
            [1, ..] => return Some((carried, layer.behind(1)?)),
            [_, length, ..] => layer.behind(2 + usize::from(*length))?,
            _ => return None,
        };
    }
    None
}
