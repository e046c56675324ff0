//! What the types of a scenario cannot say: values that fit together.

use super::{Fault, FaultKind, Group, Load, Pool, Scenario, Wire};

/// What a check found wrong: the path within the document, and the message.
type Wrong = (String, String);

/// Hosts that have addresses: 10.16.0.0 to 10.255.255.255.
const HOSTS_MAX: u32 = 240 << 16;
/// Replicas of a pool: the last byte of their addresses.
const REPLICAS_MAX: u32 = 254;
/// Pools: the third byte.
const POOLS_MAX: usize = 254;

pub(super) fn check(scenario: &Scenario) -> Result<(), Wrong> {
    let wrong = |path: &str, message: &str| Err((path.to_owned(), message.to_owned()));
    if scenario.duration.0 == 0 || scenario.warmup.0 >= scenario.duration.0 {
        return wrong("duration", "expected more than nothing, and more than `warmup`");
    }
    if scenario.pools.is_empty() || scenario.pools.len() > POOLS_MAX {
        return wrong("pools", "expected 1 to 254 pools");
    }
    if scenario.clients.is_empty() {
        return wrong("clients", "nobody calls; expected at least one group");
    }
    if scenario.columns.is_empty() {
        return wrong(
            "columns",
            "nothing is compared; expected one of none, fifo, budget, oracle, lcore",
        );
    }
    let Wire { lost, refused, exhausted } = scenario.wire;
    for (share, path) in
        [(lost, "wire.lost"), (refused, "wire.refused"), (exhausted, "wire.exhausted")]
    {
        if !(0.0..=1.0).contains(&share) {
            return wrong(path, "expected a share from 0 to 1");
        }
    }
    for (place, pool) in scenario.pools.iter().enumerate() {
        let twice = scenario.pools[..place].iter().any(|other| other.name == pool.name);
        check_pool(pool, twice).map_err(|(key, text)| (format!("pools[{place}].{key}"), text))?;
    }
    let mut hosts = 0_u32;
    for (place, group) in scenario.clients.iter().enumerate() {
        let path = |(key, text): (&str, String)| (format!("clients[{place}].{key}"), text);
        if scenario.pool(&group.pool).is_none() {
            return Err(path(("pool", format!("there is no pool `{}`", group.pool))));
        }
        check_group(group).map_err(path)?;
        hosts = hosts.saturating_add(group.hosts.div_ceil(1 << 16) << 16);
        if hosts > HOSTS_MAX {
            return Err(path(("hosts", format!("there are addresses for {HOSTS_MAX} hosts only"))));
        }
    }
    for (place, fault) in scenario.faults.iter().enumerate() {
        let checked = check_fault(fault, scenario);
        checked.map_err(|(key, text)| (format!("faults[{place}].{key}"), text))?;
    }
    Ok(())
}

fn check_pool(pool: &Pool, twice: bool) -> Result<(), (&'static str, String)> {
    let wrong = |key, expected: &str| Err((key, format!("expected {expected}")));
    if twice {
        return wrong("name", "a name that no other pool has");
    }
    if pool.slots == 0 {
        return wrong("slots", "at least 1");
    }
    if !(1..=REPLICAS_MAX).contains(&pool.replicas) {
        return wrong("replicas", "1 to 254");
    }
    if pool.prefill.0 == 0 || pool.record.0 == 0 {
        return wrong("prefill", "`prefill` and `record` above 0");
    }
    if ![pool.prefill_spread, pool.decode_spread].iter().all(|s| (0.0..=3.0).contains(s)) {
        return wrong("decodeSpread", "a sigma from 0 to 3");
    }
    if !(1.0..=1e3).contains(&pool.cold_prefill) {
        return wrong("coldPrefill", "a factor from 1 to 1000");
    }
    if pool.quota.is_some_and(|q| !(q.per_second > 0.0 && q.burst >= 1.0)) {
        return wrong("quota", "`perSecond` above 0 and `burst` of at least 1");
    }
    Ok(())
}

fn check_group(group: &Group) -> Result<(), (&'static str, String)> {
    let wrong = |key, expected: &str| Err((key, format!("expected {expected}")));
    if group.hosts == 0 {
        return wrong("hosts", "at least 1");
    }
    if group.attempts.len() > 4 || group.attempts.contains(&0) {
        return wrong("attempts", "one to four numbers of at least 1");
    }
    if group.children == 0 || group.steps == 0 {
        return wrong("children", "`children` and `steps` of at least 1");
    }
    if group.timeout.0 == 0 {
        return wrong("timeout", "more than nothing");
    }
    if !(0.0..=1.0).contains(&group.leave) {
        return wrong("leave", "a share from 0 to 1");
    }
    let [least, most] = group.request_bytes;
    if least < 100 || most < least || most > 1 << 20 {
        return wrong("requestBytes", "[from, to], rising, from 100 to 1048576");
    }
    match group.load {
        Load::PerSecond(rate) | Load::Utilisation(rate) if !(rate > 0.0 && rate < 1e7) => {
            wrong("load", "a rate above 0")
        }
        Load::Think(rest) if rest.0 == 0 => wrong("load", "a rest above 0"),
        Load::PerSecond(_) | Load::Utilisation(_) | Load::Think(_) => Ok(()),
    }
}

fn check_fault(fault: &Fault, scenario: &Scenario) -> Result<(), (&'static str, String)> {
    let pool = match &fault.pool {
        Some(name) => match scenario.pool(name) {
            Some(place) => Some(&scenario.pools[place]),
            None => return Err(("pool", format!("there is no pool `{name}`"))),
        },
        None => None,
    };
    let load = matches!(fault.kind, FaultKind::Load(_));
    if pool.is_none() && !load {
        return Err(("pool", "expected the pool where it happens".to_owned()));
    }
    let replicas = pool.map_or(0, |pool| pool.replicas);
    if fault.replica.is_some_and(|replica| load || replica >= replicas) {
        return Err(("replica", format!("expected one of {replicas}, from 0")));
    }
    let (right, expected) = match fault.kind {
        FaultKind::Cut(share) | FaultKind::FastFail(share) => {
            ((0.0..=1.0).contains(&share), "a share from 0 to 1")
        }
        FaultKind::Slow(factor) | FaultKind::Load(factor) => {
            (factor > 0.0 && factor < 1e4, "a factor above 0")
        }
        FaultKind::Blackhole | FaultKind::Reset | FaultKind::Stall | FaultKind::Throttle(_) => {
            (true, "")
        }
    };
    if right { Ok(()) } else { Err(("kind", format!("expected {expected}"))) }
}
