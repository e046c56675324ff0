//! What may stand before an IP header besides Ethernet and its tags: MPLS (RFC 3032), PPPoE (RFC
//! 2516), PPP (RFC 1661), 802.3 LLC and SNAP (RFC 1042), provider backbone bridges (IEEE 802.1ah),
//! NSH (RFC 8300), and Ethernet again.
//!
//! Captures and tunnels lead here as well: what they carry is one of [`Carried`]. The walk is
//! bounded, and none of it runs for an ordinary frame.

use super::ip::Network;
use super::layer::Layer;
use super::wifi;
use crate::burst::Link;
use crate::telemetry::reasons::PassReason;

/// Headers between the start of a frame and an IP header, or between two IP headers.
const STEPS_MAX: usize = 16;

/// Labels of one MPLS stack.
const LABELS_MAX: usize = 16;

/// What stands at the start of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    V4,
    V6,
    /// IPv4 or IPv6, as the first four bits tell.
    Ip,
    /// Two MAC addresses and an ethertype.
    Ethernet,
    /// What this ethertype announces.
    Ethertype(u16),
    /// A logical link control header (IEEE 802.2).
    Llc,
    Mpls,
    PppoeSession,
    Ppp,
    CiscoHdlc,
    Nsh,
    Ieee80211,
}

/// A step of the walk: what comes next, and where.
pub(super) type Step<'a> = Result<(Carried, Layer<'a>), PassReason>;

/// The network protocol of a captured frame, and its header with what is behind.
#[cold]
pub(super) fn captured(link: Link, frame: Layer<'_>) -> Result<(Network, Layer<'_>), PassReason> {
    let carried = match link {
        Link::Ethernet => Carried::Ethernet,
        Link::Ip => Carried::Ip,
        Link::Ppp => Carried::Ppp,
        Link::PppEther => Carried::PppoeSession,
        Link::CiscoHdlc => Carried::CiscoHdlc,
        Link::Ieee80211 => Carried::Ieee80211,
        Link::PppSerial => match frame.bytes {
            // The addresses of Cisco HDLC: unicast and multicast. PPP has none of them.
            [0x0f | 0x8f, 0, ..] => Carried::CiscoHdlc,
            _ => Carried::Ppp,
        },
        Link::Null | Link::Loop => {
            let (carried, layer) = null(frame)?;
            return network(carried, layer);
        }
        Link::LinuxSll => return cooked(frame, 14, 16),
        Link::LinuxSll2 => return cooked(frame, 0, 20),
        Link::Radiotap => {
            let (carried, layer) = wifi::radiotap(frame)?;
            return network(carried, layer);
        }
        Link::Nflog => {
            let (carried, layer) = nflog(frame)?;
            return network(carried, layer);
        }
    };
    network(carried, frame)
}

/// Walks on to the network protocol: its number, and its header with what is behind.
#[cold]
pub(super) fn network(
    carried: Carried,
    layer: Layer<'_>,
) -> Result<(Network, Layer<'_>), PassReason> {
    let (mut carried, mut layer) = (carried, layer);
    for _ in 0..STEPS_MAX {
        (carried, layer) = match carried {
            Carried::V4 => return Ok((Network::V4, layer)),
            Carried::V6 => return Ok((Network::V6, layer)),
            Carried::Ip => (by_version(layer)?, layer),
            Carried::Ethernet => (Carried::Ethertype(be_u16(layer, 12)?), behind(layer, 14)?),
            Carried::Ethertype(number) => ethertype(number, layer)?,
            Carried::Llc => llc(layer)?,
            Carried::Mpls => mpls(layer)?,
            Carried::PppoeSession => pppoe(layer)?,
            Carried::Ppp => ppp(layer)?,
            Carried::CiscoHdlc => (Carried::Ethertype(be_u16(layer, 2)?), behind(layer, 4)?),
            Carried::Nsh => nsh(layer)?,
            Carried::Ieee80211 => wifi::data(layer)?,
        };
    }
    Err(PassReason::NestedTooDeep)
}

/// What is behind `bytes` of a link header.
pub(super) fn behind(layer: Layer<'_>, bytes: usize) -> Result<Layer<'_>, PassReason> {
    layer.behind(bytes).ok_or(PassReason::TruncatedEthernet)
}

/// Two bytes of a link header.
fn be_u16(layer: Layer<'_>, offset: usize) -> Result<u16, PassReason> {
    layer.be_u16(offset).ok_or(PassReason::TruncatedEthernet)
}

fn by_version(layer: Layer<'_>) -> Result<Carried, PassReason> {
    match layer.bytes {
        [] => Err(PassReason::TruncatedIp),
        [0x40..=0x4f, ..] => Ok(Carried::V4),
        [0x60..=0x6f, ..] => Ok(Carried::V6),
        _ => Err(PassReason::NotIp),
    }
}

fn ethertype(number: u16, layer: Layer<'_>) -> Step<'_> {
    Ok(match number {
        0..=1500 => (Carried::Llc, layer),
        0x0800 => (Carried::V4, layer),
        0x86dd => (Carried::V6, layer),
        // Tags of two bytes and the next ethertype: VLANs, as in `ethernet`.
        0x8100 | 0x88a8 | 0x9100 => (Carried::Ethertype(be_u16(layer, 2)?), behind(layer, 4)?),
        0x6558 => (Carried::Ethernet, layer),
        0x8847 | 0x8848 => (Carried::Mpls, layer),
        0x8864 => (Carried::PppoeSession, layer),
        0x880b => (Carried::Ppp, layer),
        // The service instance tag of a provider backbone bridge, and the customer's frame.
        0x88e7 => (Carried::Ethernet, behind(layer, 4)?),
        // Cisco: the tag of a virtual interface, and a security group tag.
        0x8926 => (Carried::Ethertype(be_u16(layer, 4)?), behind(layer, 6)?),
        0x8909 => (Carried::Ethertype(be_u16(layer, 6)?), behind(layer, 8)?),
        0x894f => (Carried::Nsh, layer),
        _ => return Err(PassReason::NotIp),
    })
}

fn llc(layer: Layer<'_>) -> Step<'_> {
    Ok(match layer.bytes {
        // SNAP with an ethertype: RFC 1042, and what bridges make of it (IEEE 802.1H).
        [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, ..] => {
            (Carried::Ethertype(be_u16(layer, 6)?), behind(layer, 8)?)
        }
        [6, 6, 3, ..] => (Carried::V4, behind(layer, 3)?),
        _ => return Err(PassReason::NotIp),
    })
}

/// Looks behind a label stack. Its last label does not say what it carries (RFC 4928): IP is told
/// by its version, provided that the header holds, and all else may be an Ethernet pseudowire with
/// or without a control word (RFC 4448).
fn mpls(layer: Layer<'_>) -> Step<'_> {
    let mut layer = layer;
    for _ in 0..LABELS_MAX {
        let &[_, _, entry, _] = layer.first().ok_or(PassReason::TruncatedEthernet)?;
        layer = behind(layer, 4)?;
        if entry & 1 == 1 {
            return bottom(layer);
        }
    }
    Err(PassReason::NestedTooDeep)
}

fn bottom(layer: Layer<'_>) -> Step<'_> {
    let promised = |at: usize, more: usize| layer.be_u16(at).map_or(0, |n| usize::from(n) + more);
    match layer.bytes {
        [0x45..=0x4f, ..] if promised(2, 0) <= layer.wire_bytes => Ok((Carried::V4, layer)),
        [0x60..=0x6f, ..] if promised(4, 40) <= layer.wire_bytes => Ok((Carried::V6, layer)),
        [0x00..=0x0f, ..] if is_ethernet(behind(layer, 4)?) => {
            Ok((Carried::Ethernet, behind(layer, 4)?))
        }
        _ if is_ethernet(layer) => Ok((Carried::Ethernet, layer)),
        _ => Err(PassReason::NotIp),
    }
}

/// Whether there is an ethertype that we look behind where one should be.
fn is_ethernet(layer: Layer<'_>) -> bool {
    let known = [0x0800, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x8847, 0x8848, 0x8864];
    layer.be_u16(12).is_some_and(|ethertype| known.contains(&ethertype))
}

fn pppoe(layer: Layer<'_>) -> Step<'_> {
    let &[version, code, _, _, len0, len1] = layer.first().ok_or(PassReason::TruncatedEthernet)?;
    if version != 0x11 || code != 0 {
        return Err(PassReason::NotIp);
    }
    let session = behind(layer, 6)?;
    let bytes = usize::from(u16::from_be_bytes([len0, len1]));
    Ok((Carried::Ppp, session.of_length(bytes.min(session.wire_bytes))))
}

/// PPP, with the address and control bytes of HDLC framing or without, its protocol in two bytes or
/// compressed into one (RFC 1661, 6.5).
fn ppp(layer: Layer<'_>) -> Step<'_> {
    let layer = if layer.bytes.starts_with(&[0xff, 3]) { behind(layer, 2)? } else { layer };
    let (protocol, bytes) = match layer.bytes {
        [] => return Err(PassReason::TruncatedEthernet),
        [low, ..] if low & 1 == 1 => (u16::from(*low), 1),
        _ => (be_u16(layer, 0)?, 2),
    };
    let carried = match protocol {
        0x0021 => Carried::V4,
        0x0057 => Carried::V6,
        0x0281 | 0x0283 => Carried::Mpls,
        _ => return Err(PassReason::NotIp),
    };
    Ok((carried, behind(layer, bytes)?))
}

fn nsh(layer: Layer<'_>) -> Step<'_> {
    let &[_, length, _, next] = layer.first().ok_or(PassReason::TruncatedEthernet)?;
    let carried = match next {
        1 => Carried::V4,
        2 => Carried::V6,
        3 => Carried::Ethernet,
        5 => Carried::Mpls,
        _ => return Err(PassReason::NotIp),
    };
    // A length below the base header would stand still.
    match usize::from(length & 0x3f) * 4 {
        0..8 => Err(PassReason::NotIp),
        bytes => Ok((carried, behind(layer, bytes)?)),
    }
}

/// The loopback header: the capturing host's number of an address family, in its byte order.
fn null(frame: Layer<'_>) -> Step<'_> {
    let &[a, b, c, d] = frame.first().ok_or(PassReason::TruncatedEthernet)?;
    let family = match [a, b, c, d] {
        [low, 0, 0, 0] | [0, 0, 0, low] => low,
        _ => return Err(PassReason::NotIp),
    };
    let carried = match family {
        2 => Carried::V4,
        // Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin.
        10 | 23 | 24 | 28 | 30 => Carried::V6,
        _ => return Err(PassReason::NotIp),
    };
    Ok((carried, behind(frame, 4)?))
}

/// A cooked header: the ethertype stands at a place of it.
fn cooked(
    frame: Layer<'_>,
    ethertype_offset: usize,
    header_bytes: usize,
) -> Result<(Network, Layer<'_>), PassReason> {
    let ethertype = be_u16(frame, ethertype_offset)?;
    network(Carried::Ethertype(ethertype), behind(frame, header_bytes)?)
}

/// A logged packet: attributes in the byte order of the host, of which one is the packet itself.
fn nflog(frame: Layer<'_>) -> Step<'_> {
    const PAYLOAD: u16 = 9;
    let mut layer = behind(frame, 4)?;
    for _ in 0..STEPS_MAX {
        let &[len0, len1, kind0, kind1] = layer.first().ok_or(PassReason::TruncatedEthernet)?;
        // The attributes before the packet are short: what would be long is in the other order.
        let swapped = len0 == 0 && len1 != 0;
        let number = if swapped { u16::from_be_bytes } else { u16::from_le_bytes };
        let bytes = usize::from(number([len0, len1]));
        if number([kind0, kind1]) & 0x7fff == PAYLOAD {
            return Ok((Carried::Ip, behind(layer, 4)?));
        }
        if bytes < 4 {
            return Err(PassReason::NotIp);
        }
        layer = behind(layer, bytes.next_multiple_of(4))?;
    }
    Err(PassReason::NestedTooDeep)
}
