//! Information elements: those of IANA, and those of the enterprise.

/// How a value is encoded (RFC 7011, section 6), with the number of its type (RFC 5610, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// One byte.
    Unsigned8,
    /// Two.
    Unsigned16,
    /// Four.
    Unsigned32,
    /// Eight.
    Unsigned64,
    /// 1 is true, 2 is false.
    Boolean,
    /// UTF-8, with its length before it.
    String,
    /// Milliseconds since 1970, in eight bytes.
    DateTimeMilliseconds,
    /// Four bytes.
    Ipv4Address,
    /// Sixteen bytes.
    Ipv6Address,
}

/// An element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its number: of IANA's, or of the enterprise's.
    pub id: u16,
    /// It is of the enterprise.
    pub enterprise: bool,
    /// Its name.
    pub name: &'static str,
    /// How it is encoded.
    pub kind: Type,
}

/// The number that RFC 5612 sets aside for documentation: a placeholder until there is one of our own.
pub const ENTERPRISE_DEFAULT: u32 = 32_473;

const fn iana(id: u16, name: &'static str, kind: Type) -> Element {
    Element { id, enterprise: false, name, kind }
}

const fn own(id: u16, name: &'static str, kind: Type) -> Element {
    Element { id, enterprise: true, name, kind }
}

pub(super) const FLOW_START: Element =
    iana(152, "flowStartMilliseconds", Type::DateTimeMilliseconds);
pub(super) const FLOW_END: Element = iana(153, "flowEndMilliseconds", Type::DateTimeMilliseconds);
pub(super) const OBSERVED: Element =
    iana(323, "observationTimeMilliseconds", Type::DateTimeMilliseconds);
pub(super) const SOURCE_V4: Element = iana(8, "sourceIPv4Address", Type::Ipv4Address);
pub(super) const DESTINATION_V4: Element = iana(12, "destinationIPv4Address", Type::Ipv4Address);
pub(super) const SOURCE_V6: Element = iana(27, "sourceIPv6Address", Type::Ipv6Address);
pub(super) const DESTINATION_V6: Element = iana(28, "destinationIPv6Address", Type::Ipv6Address);
pub(super) const SOURCE_PORT: Element = iana(7, "sourceTransportPort", Type::Unsigned16);
pub(super) const DESTINATION_PORT: Element = iana(11, "destinationTransportPort", Type::Unsigned16);
pub(super) const PROTOCOL: Element = iana(4, "protocolIdentifier", Type::Unsigned8);
pub(super) const OCTETS: Element = iana(85, "octetTotalCount", Type::Unsigned64);
pub(super) const INITIATOR_OCTETS: Element = iana(231, "initiatorOctets", Type::Unsigned64);
pub(super) const RESPONDER_OCTETS: Element = iana(232, "responderOctets", Type::Unsigned64);

pub(super) const EXCHANGE: Element = own(1, "exchangeId", Type::Unsigned64);
pub(super) const RETRY_OF: Element = own(2, "retryOfExchangeId", Type::Unsigned64);
pub(super) const ATTEMPT: Element = own(3, "attempt", Type::Unsigned16);
pub(super) const OUTCOME: Element = own(4, "outcome", Type::Unsigned8);
pub(super) const OUTCOME_CONFIDENCE: Element = own(5, "outcomeConfidencePercent", Type::Unsigned8);
pub(super) const WASTE: Element = own(6, "waste", Type::Unsigned8);
pub(super) const VERDICT: Element = own(7, "verdict", Type::Unsigned8);
pub(super) const REASON: Element = own(8, "reason", Type::Unsigned8);
pub(super) const ENFORCED: Element = own(9, "enforced", Type::Boolean);
pub(super) const HOLD: Element = own(10, "holdMilliseconds", Type::Unsigned32);
pub(super) const FIRST_BYTE: Element = own(11, "firstByteMilliseconds", Type::Unsigned32);
pub(super) const TOKENS: Element = own(12, "outputTokensLikely", Type::Unsigned32);
pub(super) const HEDGE: Element = own(13, "hedge", Type::Boolean);
pub(super) const RESTART: Element = own(14, "restart", Type::Boolean);
pub(super) const VISIBILITY: Element = own(15, "visibility", Type::Unsigned8);
pub(super) const ENDPOINT: Element = own(16, "endpointName", Type::String);
pub(super) const TENANT: Element = own(17, "tenantName", Type::String);

/// The elements of the enterprise, in the order in which the records of exchanges have them.
pub const ENTERPRISE_ELEMENTS: [Element; 17] = [
    EXCHANGE,
    RETRY_OF,
    ATTEMPT,
    OUTCOME,
    OUTCOME_CONFIDENCE,
    WASTE,
    VERDICT,
    REASON,
    ENFORCED,
    HOLD,
    FIRST_BYTE,
    TOKENS,
    HEDGE,
    RESTART,
    VISIBILITY,
    ENDPOINT,
    TENANT,
];

/// What describes an element (RFC 5610, section 3).
pub(super) const DESCRIPTION: [Element; 4] = [
    iana(346, "privateEnterpriseNumber", Type::Unsigned32),
    iana(303, "informationElementId", Type::Unsigned16),
    iana(339, "informationElementDataType", Type::Unsigned8),
    iana(341, "informationElementName", Type::String),
];

impl Type {
    /// Its length in a template: 65535 is variable.
    #[must_use]
    pub const fn length(self) -> u16 {
        match self {
            Self::Unsigned8 | Self::Boolean => 1,
            Self::Unsigned16 => 2,
            Self::Unsigned32 | Self::Ipv4Address => 4,
            Self::Unsigned64 | Self::DateTimeMilliseconds => 8,
            Self::Ipv6Address => 16,
            Self::String => u16::MAX,
        }
    }

    /// Its number in IANA's registry of data types.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Unsigned8 => 1,
            Self::Unsigned16 => 2,
            Self::Unsigned32 => 3,
            Self::Unsigned64 => 4,
            Self::Boolean => 11,
            Self::String => 13,
            Self::DateTimeMilliseconds => 15,
            Self::Ipv4Address => 18,
            Self::Ipv6Address => 19,
        }
    }
}
