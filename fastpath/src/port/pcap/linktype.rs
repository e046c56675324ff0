//! The numbers of link types in captures (<https://www.tcpdump.org/linktypes.html>).

use crate::burst::Link;

/// Every link type that is read. Of several numbers the first is the one to write.
const LINKS: [(i32, Link); 17] = [
    (1, Link::Ethernet),
    (0, Link::Null),
    (108, Link::Loop),
    (101, Link::Ip),
    // What BSD and OpenBSD write for 101.
    (12, Link::Ip),
    (14, Link::Ip),
    (228, Link::Ip),
    (229, Link::Ip),
    (113, Link::LinuxSll),
    (276, Link::LinuxSll2),
    (9, Link::Ppp),
    (50, Link::PppSerial),
    (51, Link::PppEther),
    (104, Link::CiscoHdlc),
    (105, Link::Ieee80211),
    (127, Link::Radiotap),
    (239, Link::Nflog),
];

/// The link type with this number, or `None` when its frames are not read.
pub(super) fn link(number: i32) -> Option<Link> {
    LINKS.iter().find(|(known, _)| *known == number).map(|&(_, link)| link)
}

/// The number to write for a link type.
pub(super) fn number(link: Link) -> u32 {
    let known = LINKS.iter().find(|(_, known)| *known == link);
    known.map_or(0, |&(number, _)| number.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same_link() {
        for (_, expected) in LINKS {
            assert_eq!(link(number(expected).cast_signed()), Some(expected));
        }
        assert_eq!(link(147), None);
    }
}
