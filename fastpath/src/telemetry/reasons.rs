//! Every reason for which a frame ends in the loop or passes unread: one list makes enum, counter
//! and text.

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $counter:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = $text] $variant,)*
        }

        impl $name {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name of its counter.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $counter,)* }
            }

            /// A sentence that says what happened.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Index of its counter.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

reasons! {
    /// Why a frame was freed instead of sent.
    DropReason {
        Observed = "mode.observed", "the port is a tap: the frame was looked at, its original goes its own way";
        TxRingFull = "port.tx_ring_full", "the device took fewer frames than were sent to it";
        FrameTooLong = "port.frame_too_long", "the frame is longer than the MTU of the port it has to leave by";
        HoldRepeated = "hold.repeated", "it repeats what is held of its flow: the original will be sent";
        Policed = "police.over_rate", "its flow sends faster than it may";
        PaceFull = "pace.queue_full", "its flow is paced, and has as much waiting as it may";
        HoldLeft = "hold.client_left", "its client left while it was held";
        LcoreRingFull = "port.lcore_ring_full", "the lcore whose client it is of has too many frames waiting";
        Fault = "port.fault", "the fault port was told to lose it";
    }
}

reasons! {
    /// Why a frame passes without being followed. It is forwarded all the same.
    PassReason {
        NotIp = "parse.not_ip", "neither IPv4 nor IPv6: ARP, LLDP or another ethertype";
        NotTransport = "parse.not_transport", "neither TCP nor UDP";
        Fragment = "parse.fragment", "a fragment of an IP datagram that is not whole yet, or never will be";
        NestedTooDeep = "parse.nested_too_deep", "more headers inside each other than are looked behind";
        TruncatedEthernet = "parse.truncated_ethernet", "the frame ends inside its link header";
        TruncatedIp = "parse.truncated_ip", "the frame ends inside the IP header";
        MalformedIp = "parse.malformed_ip", "the IP header contradicts itself";
        TruncatedTransport = "parse.truncated_transport", "the frame ends inside the TCP or UDP header";
        MalformedTransport = "parse.malformed_transport", "the TCP or UDP header contradicts itself";
        FlowTableFull = "flow.table_full", "no flow could be made for it: the table is full of live flows";
        FlowNotOurs = "flow.not_ours", "neither the start of a flow nor part of a known one";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let mut names: Vec<_> = DropReason::ALL.iter().map(|r| r.name()).collect();
        names.extend(PassReason::ALL.iter().map(|r| r.name()));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
