//! Which endpoint a flow talks to: by prefix and port when it opens, by the name in its ClientHello
//! after that.

use std::hash::BuildHasher;

use crate::burst::{Direction, Packets};
use crate::flow::entry::FlowEntry;
use crate::flow::table::FlowTable;
use crate::policy::snapshot::{EndpointId, Snapshot};
use crate::telemetry::event::{Event, EventSender, Hello, Visibility};
use crate::telemetry::names::NameTable;

/// What classification needs beside the flows.
#[derive(Debug)]
pub struct Classifier {
    /// Host names seen.
    pub names: NameTable,
    hasher: std::hash::RandomState,
}

impl Classifier {
    /// With room for `names` host names.
    #[must_use]
    pub fn new(names: u32) -> Self {
        Self { names: NameTable::with_capacity(names), hasher: std::hash::RandomState::new() }
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
    for &(flow, _) in packets.flow.iter().flatten() {
        let entry = flows.entry_mut(flow);
        // New flows have revision 0; the others met another policy.
        if entry.class.revision != policy.revision() {
            let name = entry.class.sni.and_then(|id| classifier.names.text(id));
            // A hello whose name found no room, or had none, leaves the endpoint as it was.
            let kept = entry.class.endpoint.filter(|_| entry.class.hello && name.is_none());
            entry.class.endpoint = endpoint_of(entry, name, policy).or(kept);
            entry.class.revision = policy.revision();
        }
    }
    // Hellos are large: they are lent out, not copied.
    let hellos = std::mem::take(&mut packets.client_hellos);
    for hello in &hellos {
        let entry = flows.entry_mut(hello.flow);
        if hello.direction == Direction::ToClient {
            // Who has sent the SYN, or a hello, is the client, whatever the other side sends.
            if entry.class.hello || entry.halves[0].tcp.syn.is_some() {
                continue;
            }
            entry.turn();
            packets.turn(hello.flow);
        }
        let peers = entry.peers();
        let class = &mut entry.class;
        class.hello = true;
        class.sni = hello.sni.as_ref().and_then(|name| classifier.names.intern(name));
        class.application = classifier.hasher.hash_one(hello.ja4.ciphers());
        class.offers_h2 = hello.alpn.offers(b"h2");
        class.visibility = Visibility::H1;
        let name = hello.sni.as_ref().and_then(|name| std::str::from_utf8(name.as_bytes()).ok());
        let endpoint = endpoint_of(entry, name, policy);
        let class = &mut entry.class;
        class.endpoint = endpoint;
        events.send(Event::Hello(Hello {
            at: packets.at[usize::from(hello.packet)],
            peers,
            carrier: hello.carrier,
            sni: class.sni,
            alpn: hello.alpn,
            version: hello.version,
            ja4: hello.ja4,
            fingerprint: hello.fingerprint,
            ech: hello.ech,
            esni: hello.esni,
            endpoint: class.endpoint,
        }));
    }
    packets.client_hellos = hellos;
    for hello in &packets.server_hellos {
        let class = &mut flows.entry_mut(hello.flow).class;
        class.version = Some(hello.version);
        class.cipher = hello.cipher;
        class.chose_h2 = hello.h2;
    }
}

/// The longest prefix and port first, then the name.
fn endpoint_of(entry: &FlowEntry, name: Option<&str>, policy: &Snapshot) -> Option<EndpointId> {
    let peers = entry.peers();
    let by_address = policy.by_address(peers.server.ip(), peers.server_port);
    by_address.or_else(|| policy.by_name(name?))
}
