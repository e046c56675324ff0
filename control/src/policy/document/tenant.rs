//! `kind: Tenant`: whose traffic it is, by the addresses of the clients.

use std::net::IpAddr;

use fastpath::policy::endpoint::Prefix;
use serde::{Deserialize, Serialize};

use super::Wrong;

/// A tenant: a name for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Unique name.
    pub name: String,
    /// Its clients.
    pub prefixes: Vec<Prefix>,
}

/// A tenant as typed.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TenantSpec {
    /// Addresses of its clients. Of several tenants the one with the longest prefix has a client.
    prefixes: Vec<Prefix>,
}

/// Tenants by their clients' addresses, the longest prefix first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenants(Vec<(Prefix, String)>);

/// A tenant's name and clients, for the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TenantEntry {
    /// Its name.
    pub name: String,
    /// Prefixes of its clients.
    pub prefixes: Vec<String>,
}

/// Checks a tenant against those before it.
pub(super) fn check(name: String, spec: TenantSpec, known: &[Tenant]) -> Result<Tenant, Wrong> {
    let TenantSpec { prefixes } = spec;
    if prefixes.is_empty() {
        let message = "nobody can be recognised as this tenant; expected at least one prefix";
        return Err(("spec.prefixes".into(), message.to_owned()));
    }
    if known.iter().any(|tenant| tenant.name == name) {
        let message = format!("a second Tenant named `{name}`; names are unique");
        return Err(("metadata.name".into(), message));
    }
    for (index, prefix) in prefixes.iter().enumerate() {
        if let Some(other) = known.iter().find(|tenant| tenant.prefixes.contains(prefix)) {
            let message = format!(
                "`{prefix}` is the tenant `{}` already; expected a prefix of its own, longer or shorter",
                other.name
            );
            return Err((format!("spec.prefixes[{index}]").into(), message));
        }
    }
    Ok(Tenant { name, prefixes })
}

impl Tenants {
    /// The tenants by their prefixes.
    #[must_use]
    pub fn new(tenants: &[Tenant]) -> Self {
        let of = |tenant: &Tenant| {
            let name = tenant.name.clone();
            tenant.prefixes.clone().into_iter().map(move |prefix| (prefix, name.clone()))
        };
        let mut prefixes: Vec<_> = tenants.iter().flat_map(of).collect();
        prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.bits()));
        Self(prefixes)
    }

    /// The tenant of a client's address.
    #[must_use]
    pub fn of(&self, client: &str) -> Option<&str> {
        let client: IpAddr = client.parse().ok()?;
        let found = self.0.iter().find(|(prefix, _)| prefix.contains(client));
        found.map(|(_, name)| name.as_str())
    }
}

impl From<&Tenant> for TenantEntry {
    fn from(tenant: &Tenant) -> Self {
        let prefixes = tenant.prefixes.iter().map(Prefix::to_string).collect();
        Self { name: tenant.name.clone(), prefixes }
    }
}
