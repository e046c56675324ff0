//! Any bytes as a policy.

use std::path::Path;

use control::policy::document;
use fastpath::policy::endpoint::HostPattern;
use fastpath::policy::snapshot::{Policy, Snapshot};

/// Reads an input as policy documents and, as the data plane does, as a policy in JSON; compiles
/// what is accepted and looks its names up.
///
/// # Panics
/// When an error says nothing, an accepted policy cannot be used, or a name in it is not found.
pub fn policy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match document::parse(Path::new("policy.yaml"), &text) {
        Ok(policy) => compile(policy),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(policy) = serde_json::from_slice::<Policy>(data) {
        compile(policy);
    }
}

fn compile(policy: Policy) {
    let snapshot = match Snapshot::compile(policy.clone()) {
        Ok(snapshot) => snapshot,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let json = serde_json::to_string(&policy).expect("what was accepted can be sent on");
    let read = serde_json::from_str::<Policy>(&json);
    assert_eq!(read.ok().as_ref(), Some(&policy), "as sent: {json}");
    look_up(&snapshot);
    // Reloading the same changes nothing, and one endpoint less leaves the ids of the others.
    if let Ok(next) = snapshot.succeeded_by(policy.clone()) {
        assert_eq!(next.policy(), snapshot.policy());
        assert_eq!(next.revision(), snapshot.revision() + 1);
        look_up(&next);
    }
    let less = Policy { endpoints: policy.endpoints.into_iter().skip(1).collect(), ..policy };
    if let Ok(next) = snapshot.succeeded_by(less) {
        for (old, new) in snapshot.policy().endpoints.iter().zip(&next.policy().endpoints) {
            assert_eq!(old.name, new.name, "an id means the same in both");
        }
        look_up(&next);
    }
}

/// Every name and prefix leads to an endpoint of the snapshot.
fn look_up(snapshot: &Snapshot) {
    for endpoint in &snapshot.policy().endpoints {
        for host in &endpoint.hosts {
            let name = match host {
                HostPattern::Exact(name) => name.clone(),
                HostPattern::Below(suffix) => format!("a.{suffix}"),
                HostPattern::Starts(prefix) => format!("{prefix}.a"),
                HostPattern::Around(prefix, suffix) => format!("{prefix}a{suffix}"),
            };
            let found = snapshot.by_name(&name);
            // Longer ones cannot be asked for (RFC 1035, 2.3.4).
            assert!(found.is_some() || name.len() > 255, "`{name}` of `{host}` is not found");
            found.iter().for_each(|&id| assert!(!snapshot.endpoint(id).hosts.is_empty()));
            assert_eq!(snapshot.by_name(&name.to_ascii_uppercase()), found, "case does not matter");
        }
        for prefix in &endpoint.prefixes {
            let text = prefix.to_string();
            let address = text.split('/').next().and_then(|address| address.parse().ok());
            let address = address.expect("a prefix is written with its address");
            let port = endpoint.ports.first().copied().unwrap_or(443);
            assert!(snapshot.by_address(address, port).is_some(), "{prefix} is not found");
        }
    }
}
