//! Which endpoint a flow calls, how sure that is, and how well the flow can be seen.
//!
//! In this order: the prefix and port that the policy names, when the flow opens; the name in its
//! ClientHello; and where there is no name, or perhaps only the outer one of an encrypted
//! ClientHello, what others who gave theirs have asked that address for ([`learnt`]).

pub mod learnt;

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::burst::{
    Alpn, Carrier, ClientHello, Direction, FlowId, HelloNames, Ja4, Packets, ServerHello,
    TlsVersion,
};
use crate::flow::entry::{Classified, Flow};
use crate::flow::table::FlowTable;
use crate::policy::snapshot::{EndpointId, Snapshot};
use crate::telemetry::event::{Call, Event, EventSender, Evidence, Hello, Peers, Visibility};
use crate::telemetry::names::{NameId, NameTable};
use crate::time::Nanos;
use learnt::{Learnt, LessonKey};

/// What classification needs beside the flows.
#[derive(Debug)]
pub struct Classifier {
    /// Host names seen.
    pub names: NameTable,
    /// What is known of each of them, by its id.
    asked: Vec<Asked>,
    /// What is called at a server's address and port.
    addresses: Learnt,
    /// What is called by an application of a client.
    applications: Learnt,
    hasher: RandomState,
}

/// What is known of a name that was asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// It was asked for without an encrypted ClientHello: a true name.
    in_clear: bool,
    /// The revision of the policy that was asked for its endpoint; 0 before any was.
    revision: u64,
    endpoint: Option<EndpointId>,
}

/// Addresses, and applications of clients, that are remembered.
const LESSONS: usize = 4096;

/// How sure a name is that may be the outer one of an encrypted ClientHello. As a rule the
/// extension is GREASE and the name true (RFC 9849, 6.2).
const OUTER_NAME: f32 = 0.8;
/// How sure the fingerprint of a policy is.
const FINGERPRINT: f32 = 0.6;
/// An address is shared when less than this part of the calls seen there is an endpoint's. What is
/// called there changes from one minute to the next, so that shares of it are no forecast.
const ADDRESS_MIN: f32 = 0.8;
/// Less sure than this is no classification.
const CONFIDENCE_MIN: f32 = 0.6;

impl Classifier {
    /// With room for `names` host names.
    #[must_use]
    pub fn new(names: u32) -> Self {
        Self {
            names: NameTable::with_capacity(names),
            asked: vec![Asked::default(); names as usize],
            addresses: Learnt::with_capacity(LESSONS),
            applications: Learnt::with_capacity(LESSONS),
            hasher: RandomState::default(),
        }
    }

    /// Addresses and applications that were forgotten to learn of newer ones.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.addresses.evicted + self.applications.evicted
    }
}

/// Classifies the flows that were opened in this burst and those that showed a hello.
pub fn endpoints(
    packets: &mut Packets,
    flows: &mut FlowTable,
    policy: &Snapshot,
    classifier: &mut Classifier,
    events: &mut EventSender,
) {
    for i in packets.marked.before(packets.len()) {
        let Some((flow, _)) = packets.flow[i] else { continue };
        // New flows have met no policy; the others may have met another one.
        if !flows.meet_policy(flow) {
            let call = classifier.call_again(&flows.flow(flow), policy);
            note_call(flow, call, flows);
        }
    }
    for n in 0..packets.client_hellos.len() {
        let hello = packets.client_hellos[n];
        if hello.direction == Direction::ToClient {
            let entry = flows.flow(hello.flow);
            // Who has sent the SYN, or a hello, is the client, whatever the other side sends.
            if entry.class.hello || entry.client_is_sure() {
                continue;
            }
            flows.turn(hello.flow);
            packets.turn(hello.flow);
        }
        let at = packets.at[usize::from(hello.packet)];
        let entry = flows.flow(hello.flow);
        let peers = entry.peers();
        let from_middle = hello.carrier == Carrier::Tcp && entry.from_middle();
        let Some(class) = flows.class_mut(hello.flow) else { continue };
        let met = Met { peers, from_middle, at };
        let told = classifier.meet(&hello, &packets.hello_names, &met, class, policy);
        events.send(Event::Hello(told));
    }
    for hello in &packets.server_hellos {
        if let Some(class) = flows.class_mut(hello.flow) {
            answer(hello, class);
        }
        let entry = flows.flow(hello.flow);
        if entry.class.call.is_none() && !entry.class.hello {
            let call = classifier.call_again(&entry, policy);
            note_call(hello.flow, call, flows);
        }
    }
}

/// Notes what a flow calls. One that calls nothing, and called nothing before, needs no room for it.
fn note_call(flow: FlowId, call: Option<Call>, flows: &mut FlowTable) {
    if (call.is_some() || flows.flow(flow).class.call.is_some())
        && let Some(class) = flows.class_mut(flow)
    {
        class.call = call;
    }
}

/// The flow of a ClientHello.
struct Met {
    peers: Peers,
    from_middle: bool,
    at: Nanos,
}

impl Classifier {
    /// Takes a ClientHello in, whose names are among these.
    fn meet(
        &mut self,
        hello: &ClientHello,
        names: &HelloNames,
        &Met { peers, from_middle, at }: &Met,
        class: &mut Classified,
        policy: &Snapshot,
    ) -> Hello {
        let first = !std::mem::replace(&mut class.hello, true);
        let sni = hello.sni.map(|name| names.get(name));
        let alpn = Alpn::new(names.get(hello.alpn));
        let name = sni.and_then(|name| std::str::from_utf8(name).ok());
        class.sni = sni.and_then(|name| self.names.intern(name));
        class.hidden = name.is_none() || (hello.ech && !self.is_in_clear(class.sni));
        class.application = self.hasher.hash_one(hello.ja4.ciphers());
        class.offers_h2 = alpn.offers(b"h2");
        class.visibility = visibility(hello.carrier, class.offers_h2, alpn.offers(b"http/1.1"));
        if class.visibility == Visibility::Mux {
            class.chose_h2 = Some(true);
        }
        let named = || self.named(class.sni, name?, policy);
        let known = known(&peers, named, class.hidden, policy);
        let client = Some((class.application, Some(&hello.ja4)));
        let inferred = || class.hidden.then(|| self.infer(&peers, client, policy, at))?;
        class.call = known.or_else(inferred);
        if first && (!class.hidden || known.is_some_and(|call| call.by == Evidence::Prefix)) {
            self.learn(&peers, class, known, at);
        }
        Hello {
            at,
            peers,
            carrier: hello.carrier,
            sni: class.sni,
            alpn: Some(alpn.as_bytes())
                .filter(|a| !a.is_empty())
                .and_then(|a| self.names.intern(a)),
            version: hello.version,
            ja4: hello.ja4,
            fingerprint: hello.fingerprint,
            ech: hello.ech,
            esni: hello.esni,
            call: class.call,
            visibility: class.visibility,
            from_middle,
        }
    }

    /// Remembers what a flow whose endpoint, or whose true name, is known has called. An address
    /// that the policy names needs no lesson.
    fn learn(&mut self, peers: &Peers, class: &Classified, known: Option<Call>, at: Nanos) {
        let endpoint = known.map(|call| call.endpoint);
        if known.is_none_or(|call| call.by == Evidence::Sni) {
            if let Some(asked) = class.sni.and_then(|id| self.asked.get_mut(id.index())) {
                asked.in_clear = true;
            }
            let key = self.addresses.key((peers.server, peers.server_port));
            self.addresses.teach(key, endpoint, at);
        }
        for key in [self.applications.key((peers.client, class.application)), self.everybody()] {
            self.applications.teach(key, endpoint, at);
        }
    }

    /// The endpoint of a flow that opens, or that meets another policy than it opened under.
    fn call_again(&self, entry: &Flow<'_>, policy: &Snapshot) -> Option<Call> {
        let Classified { call, sni, hidden, hello, application, .. } = *entry.class;
        let peers = entry.peers();
        let name = sni.and_then(|id| self.names.text(id));
        if let Some(call) = known(&peers, || policy.by_name(name?), hidden, policy) {
            return Some(call);
        }
        // A name that found no room cannot be asked again, nor can the fingerprint.
        let kept = call.filter(|call| match call.by {
            Evidence::Prefix => false,
            Evidence::Sni => name.is_none(),
            Evidence::Learnt | Evidence::Fingerprint => true,
        });
        let kept = kept.filter(|call| policy.is_live(call.endpoint));
        // Who has shown a SYN will show a hello, or a ServerHello when that was missed.
        let may_infer =
            if hello { hidden } else { entry.from_middle() || entry.class.version.is_some() };
        let client = hello.then_some((application, None));
        let inferred = || may_infer.then(|| self.infer(&peers, client, policy, entry.last_seen))?;
        kept.or_else(inferred)
    }

    /// The endpoint of a flow that gives no name, from what others have called at its address and
    /// from what this application of the client calls more, or less, than everybody does: taken as
    /// independent (naive Bayes). An application's habits alone say nothing; the fingerprint of a
    /// policy alone says a little.
    fn infer(
        &self,
        peers: &Peers,
        client: Option<(u64, Option<&Ja4>)>,
        policy: &Snapshot,
        at: Nanos,
    ) -> Option<Call> {
        let address = self.addresses.key((peers.server, peers.server_port));
        let ja4 = client.and_then(|(_, ja4)| ja4);
        let hinted = ja4.and_then(|ja4| policy.by_fingerprint(ja4.as_str()));
        let Some(here) = self.addresses.shares(address, at) else {
            let (by, confidence) = (Evidence::Fingerprint, FINGERPRINT);
            return hinted.map(|endpoint| Call { endpoint, by, confidence });
        };
        let habits = client.and_then(|(application, _)| {
            let key = self.applications.key((peers.client, application));
            self.applications.shares(key, at).zip(self.applications.shares(self.everybody(), at))
        });
        let speaks_for = |endpoint: Option<EndpointId>| {
            let habit = habits.map_or(1.0, |(own, everybody)| own.preference(endpoint, &everybody));
            let agrees =
                |hint| if Some(hint) == endpoint { FINGERPRINT } else { 1.0 - FINGERPRINT };
            habit * hinted.map_or(1.0, agrees)
        };
        let weighed = here.endpoints().map(|(id, share)| (id, share * speaks_for(Some(id))));
        let total = weighed.clone().map(|(_, weight)| weight).sum::<f32>()
            + here.other() * speaks_for(None);
        let (endpoint, weight) = weighed.max_by(|a, b| a.1.total_cmp(&b.1))?;
        let confidence = weight / total;
        let sure = confidence >= CONFIDENCE_MIN
            && here.seen(endpoint) >= ADDRESS_MIN
            && policy.is_live(endpoint);
        sure.then_some(Call { endpoint, by: Evidence::Learnt, confidence })
    }

    /// The lesson of what all clients call.
    fn everybody(&self) -> LessonKey {
        self.applications.key(())
    }

    /// The endpoint of a name, which the policy is asked for once.
    fn named(&mut self, id: Option<NameId>, name: &str, policy: &Snapshot) -> Option<EndpointId> {
        let Some(asked) = id.and_then(|id| self.asked.get_mut(id.index())) else {
            return policy.by_name(name);
        };
        if asked.revision != policy.revision() {
            asked.revision = policy.revision();
            asked.endpoint = policy.by_name(name);
        }
        asked.endpoint
    }

    fn is_in_clear(&self, name: Option<NameId>) -> bool {
        name.and_then(|id| self.asked.get(id.index())).is_some_and(|asked| asked.in_clear)
    }
}

/// The longest prefix and port first, then the name.
fn known(
    peers: &Peers,
    named: impl FnOnce() -> Option<EndpointId>,
    hidden: bool,
    policy: &Snapshot,
) -> Option<Call> {
    if let Some(endpoint) = policy.by_address(peers.server.ip(), peers.server_port) {
        return Some(Call { endpoint, by: Evidence::Prefix, confidence: 1.0 });
    }
    let endpoint = named()?;
    let confidence = if hidden { OUTER_NAME } else { 1.0 };
    Some(Call { endpoint, by: Evidence::Sni, confidence })
}

/// How well a flow can be seen, as far as its hello tells.
fn visibility(carrier: Carrier, h2: bool, h1: bool) -> Visibility {
    match carrier {
        Carrier::Quic => Visibility::Quic,
        Carrier::Dtls => Visibility::Opaque,
        Carrier::Tcp if h2 && h1 => Visibility::Both,
        Carrier::Tcp if h2 => Visibility::Mux,
        Carrier::Tcp => Visibility::H1,
    }
}

/// Takes a ServerHello in. The one after a HelloRetryRequest repeats its version and cipher
/// (RFC 8446, 4.1.4).
fn answer(hello: &ServerHello, class: &mut Classified) {
    class.version = Some(hello.version);
    class.cipher = hello.cipher;
    if hello.version > TlsVersion::V1_2 {
        return;
    }
    // In clear, and none chosen is HTTP/1.1.
    let h2 = hello.h2.unwrap_or(false);
    class.chose_h2 = Some(h2);
    if class.hello {
        class.visibility = if h2 { Visibility::Mux } else { Visibility::H1 };
    }
}
