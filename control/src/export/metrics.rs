//! The metrics: one list makes names, kinds and help; docs/metrics.md says what each means.
//!
//! Names are those of the ecosystem: base units, a unit as suffix, `_total` on counters (added when a
//! counter is written). Values of a label are bounded by [`Labels`].

use std::collections::{BTreeMap, HashMap, HashSet};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until what counts starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Says something in its labels; its value is 1.
    Info,
    /// Quantiles.
    Summary,
}

macro_rules! metrics {
    ($($variant:ident = $name:literal, $kind:ident, $help:literal;)*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// All of them, in the order in which they are written.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name, without the suffix that the samples of its kind have.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it is.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)* }
            }

            /// A sentence without its full stop.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

metrics! {
    Up = "fermata_up", Gauge, "Whether the data plane answers";
    Build = "fermata_build", Info, "Version and mode of the data plane, and how frames are spread over cores";
    Uptime = "fermata_uptime_seconds", Gauge, "Time since the data plane started";
    PolicyRevision = "fermata_policy_revision", Gauge, "Number of the policy in force";
    PolicyMode = "fermata_policy_mode", Gauge, "1 for the mode of the policy in force: off, shadow or enforce";
    PolicyEndpoints = "fermata_policy_endpoints", Gauge, "Endpoints that the policy in force knows";
    Bypassed = "fermata_bypassed", Gauge, "Whether the bypass is on: nothing acts on traffic";

    ReceivedFrames = "fermata_received_frames", Counter, "Frames received";
    ReceivedBytes = "fermata_received_bytes", Counter, "Bytes of the frames received";
    SentFrames = "fermata_sent_frames", Counter, "Frames sent";
    SentBytes = "fermata_sent_bytes", Counter, "Bytes of the frames sent";
    HeldFrames = "fermata_held_frames", Gauge, "Frames inside the data plane: received, and neither sent nor dropped";
    DroppedFrames = "fermata_dropped_frames", Counter, "Frames dropped, by reason";
    UnfollowedFrames = "fermata_unfollowed_frames", Counter, "Frames that passed without being followed, by reason";
    PortUp = "fermata_port_up", Gauge, "Whether the link of a port is up";
    PortReceivedFrames = "fermata_port_received_frames", Counter, "Frames that a device has received";
    PortSentFrames = "fermata_port_sent_frames", Counter, "Frames that a device has sent";
    PortMissedFrames = "fermata_port_missed_frames", Counter, "Frames that a device dropped because nobody took them in time";
    PortErrors = "fermata_port_errors", Counter, "Frames that a device could not receive or send, by direction";
    LcoreHeartbeatAge = "fermata_lcore_heartbeat_age_seconds", Gauge, "Time since an lcore's last sign of life";
    LcoreBusy = "fermata_lcore_busy_ratio", Gauge, "Share of an lcore's time with frames in hand, since its start";
    LcoreFrames = "fermata_lcore_frames", Counter, "Frames that went through an lcore's loop";
    LcoreBurstDuration = "fermata_lcore_burst_duration_seconds", Summary, "Time from a burst's arrival to its departure; quantile 1 is the longest";

    Flows = "fermata_flows", Gauge, "Flows in the tables";
    FlowsOpened = "fermata_flows_opened", Counter, "Flows made";
    FlowsEvicted = "fermata_flows_evicted", Counter, "Flows pushed out by newer ones before their time";
    FlowsByProtocol = "fermata_flows_by_protocol", Counter, "Flows that turned out to be h1 (HTTP/1.1), mux (HTTP/2), quic, or both (it cannot be told)";
    RepeatedSegments = "fermata_repeated_segments", Counter, "TCP segments that repeated what had passed before";
    RepeatedBytes = "fermata_repeated_bytes", Counter, "Payload bytes in them that had passed before";
    LimitsReached = "fermata_limits_reached", Counter, "How often something bounded was full and let something go";
    EventsLost = "fermata_events_lost", Counter, "Exchanges, signals and hellos that were lost because nobody read them in time";

    Holds = "fermata_holds", Counter, "Flows that were held";
    HoldsRefused = "fermata_holds_refused", Counter, "Holds that met a bound: the flow passed";
    HeldFlows = "fermata_held_flows", Gauge, "Flows that are held or paced";
    Shaped = "fermata_shaped_flows", Counter, "Flows that were paced, policed, marked or sent to another replica";
    ShapedRefused = "fermata_shaped_flows_refused", Counter, "Orders to do so that met a bound: the flow passed";
    Resets = "fermata_resets", Counter, "RSTs sent to servers whose client had left";
    ResetsRefused = "fermata_resets_refused", Counter, "RSTs that were not made";

    Exchanges = "fermata_exchanges", Counter, "Requests that have ended, by endpoint and outcome";
    FirstAttempts = "fermata_first_attempts", Counter, "Requests that were the first at their work";
    Tokens = "fermata_tokens", Counter, "Output tokens of all responses, the likely figure";
    Cost = "fermata_cost_usd", Counter, "Their cost in US dollars, the likely figure";
    WastedExchanges = "fermata_wasted_exchanges", Counter, "Requests that were waste, by class";
    WastedTime = "fermata_wasted_seconds", Counter, "First to last byte of wasted requests, added up";
    WastedBytes = "fermata_wasted_bytes", Counter, "Bytes of wasted requests and their responses, each rounded up to its bucket";
    WastedTokens = "fermata_wasted_tokens", Counter, "Output tokens of wasted requests, the likely figure";
    WastedCost = "fermata_wasted_cost_usd", Counter, "Their cost in US dollars, the likely figure";
    Decisions = "fermata_decisions", Counter, "Requests that a law decided not to let pass at once, in shadow or in force";
    FirstByte = "fermata_first_byte_seconds", Summary, "Time from a request's first byte to the first of its response";
    InFlight = "fermata_in_flight", Gauge, "Requests that run";
    InFlightMax = "fermata_in_flight_max", Gauge, "Requests that may be in flight at once at an endpoint's backends";
    Waiting = "fermata_waiting", Gauge, "Requests forwarded whose first byte is still to come";
    WaitingMax = "fermata_waiting_max", Gauge, "Requests that may wait so, where the usual time to first byte is known";
    Held = "fermata_held", Gauge, "Requests held back";
    HeldLongest = "fermata_held_longest_seconds", Gauge, "For how long the longest of them has been held";
    Backends = "fermata_backends", Gauge, "Backend addresses called lately, by the state of their breaker";
    EndpointBreaker = "fermata_endpoint_breaker", Gauge, "1 for the state of an endpoint's own breaker";
    Overloaded = "fermata_overloaded", Gauge, "Whether an endpoint can do hardly more than it is asked";
    Disarmed = "fermata_disarmed", Gauge, "Whether rules act no more on an endpoint's clients, because acting did harm";

    TenantExchanges = "fermata_tenant_exchanges", Counter, "Requests that have ended, by tenant";
    TenantFirstAttempts = "fermata_tenant_first_attempts", Counter, "Of those, the first at their work";
    TenantWastedExchanges = "fermata_tenant_wasted_exchanges", Counter, "Of those, the ones that were waste";
    TenantTokens = "fermata_tenant_tokens", Counter, "Output tokens of a tenant's responses, the likely figure";
    TenantWastedTokens = "fermata_tenant_wasted_tokens", Counter, "Of those, the ones that were waste";
    ClientExchanges = "fermata_client_exchanges", Counter, "Requests that have ended, by client address; only where asked for";
    ClientWastedExchanges = "fermata_client_wasted_exchanges", Counter, "Of those, the ones that were waste";

    PreventableExchanges = "fermata_preventable_exchanges", Counter, "Requests that a law in force would have spared, by law and estimate (low, likely, high)";
    PreventableTime = "fermata_preventable_seconds", Counter, "Time of connections that it would have spared";
    PreventableTokens = "fermata_preventable_tokens", Counter, "Output tokens that it would have spared";
    PreventableCost = "fermata_preventable_cost_usd", Counter, "Their cost in US dollars";

    ExportRecords = "fermata_export_records", Counter, "Records that an exporter has handed over";
    ExportDropped = "fermata_export_dropped_records", Counter, "Records dropped because an exporter's receiver was slow or away";
    ExportFailures = "fermata_export_failures", Counter, "Times that an exporter's receiver could not be reached or refused";
    ExportMissed = "fermata_export_missed_rows", Counter, "Rows that had left the data plane before they were read";
}

impl Metric {
    /// The name of its samples.
    #[must_use]
    pub fn sample_name(self) -> String {
        match self.kind() {
            Kind::Counter => format!("{}_total", self.name()),
            Kind::Info => format!("{}_info", self.name()),
            Kind::Gauge | Kind::Summary => self.name().to_owned(),
        }
    }

    /// Its unit, where it has one.
    #[must_use]
    pub fn unit(self) -> Option<&'static str> {
        let units = ["seconds", "bytes", "ratio"];
        units.into_iter().find(|unit| self.name().ends_with(&format!("_{unit}")))
    }

    /// Whether the samples of several names can be added up.
    const fn adds_up(self) -> bool {
        match self.kind() {
            Kind::Counter => true,
            Kind::Gauge => !matches!(
                self,
                Self::HeldLongest | Self::EndpointBreaker | Self::Overloaded | Self::Disarmed
            ),
            Kind::Info | Kind::Summary => false,
        }
    }
}

/// Values that a label may have, [`OTHER`] among them.
pub const LABEL_VALUES_MAX: usize = 1000;

/// What stands for all names beyond the bound.
pub const OTHER: &str = "other";

/// Which names have a label value of their own: the first that come keep it, so that no counter moves
/// from one series to another.
#[derive(Debug, Default)]
pub struct Labels(HashMap<&'static str, HashSet<String>>);

/// A name as a label's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    text: String,
    folded: bool,
}

impl Labels {
    /// The value of the label `key` for `name`.
    pub fn value(&mut self, key: &'static str, name: &str) -> Value {
        let known = self.0.entry(key).or_default();
        let own = known.contains(name) || known.len() < LABEL_VALUES_MAX - 1;
        if own && name != OTHER {
            if !known.contains(name) {
                known.insert(name.to_owned());
            }
            return Value { text: name.to_owned(), folded: false };
        }
        Value { text: OTHER.to_owned(), folded: true }
    }
}

/// Labels of a sample, in order.
pub type Set = Vec<(&'static str, String)>;

/// All samples of one look at the data plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(BTreeMap<Metric, BTreeMap<Set, f64>>);

impl Samples {
    /// Adds a sample. One with the labels of another is added to it.
    pub fn add(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: f64) {
        let set = labels.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        *self.0.entry(metric).or_default().entry(set).or_default() += value;
    }

    /// Adds a sample of a name; left out where the name is one of many and cannot be added up.
    pub fn add_of(
        &mut self,
        metric: Metric,
        (key, name): (&'static str, &Value),
        more: &[(&'static str, &str)],
        value: f64,
    ) {
        if name.folded && !metric.adds_up() {
            return;
        }
        let mut labels = vec![(key, name.text.as_str())];
        labels.extend_from_slice(more);
        self.add(metric, &labels, value);
    }

    /// Metric by metric, each with its samples.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, &BTreeMap<Set, f64>)> {
        self.0.iter().map(|(metric, samples)| (*metric, samples))
    }

    /// One sample.
    #[must_use]
    pub fn value(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Option<f64> {
        let set: Set = labels.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        self.0.get(&metric)?.get(&set).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_unit_last() {
        let names: HashSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), Metric::ALL.len());
        for metric in Metric::ALL {
            let name = metric.name();
            assert!(name.starts_with("fermata_") && !name.ends_with("_total"), "{name}");
            assert!(!metric.help().ends_with('.'), "{name}");
        }
        assert_eq!(Metric::WastedTime.sample_name(), "fermata_wasted_seconds_total");
        assert_eq!(Metric::WastedTime.unit(), Some("seconds"));
    }

    #[test]
    fn a_label_has_a_thousand_values_at_most_and_the_rest_is_other() {
        let (mut labels, mut samples) = (Labels::default(), Samples::default());
        for n in 0..1500 {
            let name = labels.value("endpoint", &format!("e{n}"));
            samples.add_of(Metric::FirstAttempts, ("endpoint", &name), &[], 2.0);
            samples.add_of(Metric::Disarmed, ("endpoint", &name), &[], 1.0);
        }
        let own = |metric| samples.0[&metric].len();
        assert_eq!((own(Metric::FirstAttempts), own(Metric::Disarmed)), (1000, 999));
        let other = samples.value(Metric::FirstAttempts, &[("endpoint", OTHER)]);
        assert_eq!(other, Some(1002.0));
        assert!(!labels.value("endpoint", "e7").folded, "the first keep their series");
        assert!(!labels.value("client", "e1499").folded, "each label has its own bound");
    }
}
