//! Scenarios that are right, and what is said of those that are not.

use super::*;
use crate::failure::for_people;

const RIGHT: &str = "\
name: small
duration: 30s
pools:
  - { name: llm, slots: 4, prefill: 300ms, decode: 1700ms, decodeSpread: 0.8 }
clients:
  - { name: sdk, pool: llm, hosts: 10, load: { utilisation: 0.5 } }
faults:
  - { pool: llm, at: 10s, for: 5s, kind: { cut: 0.1 } }
";

fn parse(text: &str) -> Result<Scenario, String> {
    Scenario::parse(Path::new("s.yaml"), text).map_err(|error| for_people(&error.reply()))
}

#[test]
fn a_scenario_is_read_with_its_defaults() {
    let scenario = parse(RIGHT).unwrap();
    assert_eq!(scenario.recovery_from(), Some(Nanos::from_secs(15)));
    assert_eq!(scenario.pools[0].capacity(), 2.0);
    assert_eq!(scenario.pools[0].disconnect, Disconnect::Finish);
    assert_eq!(scenario.clients[0].tenant(), "sdk");
    assert_eq!(scenario.columns, [Column::None, Column::Oracle, Column::Lcore]);
}

#[test]
fn an_unknown_field_is_told_with_its_place_and_the_nearest_name() {
    let error = parse(&RIGHT.replace("decodeSpread", "decode_spread")).unwrap_err();
    for part in ["s.yaml:4", "pools[0]", "`decode_spread`", "did you mean `decodeSpread`?"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn values_that_do_not_fit_together_are_told_with_their_place() {
    for (right, wrong, path) in [
        ("pool: llm, hosts", "pool: lm, hosts", "clients[0].pool"),
        ("slots: 4", "slots: 0", "pools[0].slots"),
        ("cut: 0.1", "cut: 1.1", "faults[0].kind"),
        ("at: 10s", "replica: 1, at: 10s", "faults[0].replica"),
        ("duration: 30s", "duration: 0s", "duration"),
    ] {
        let error = parse(&RIGHT.replace(right, wrong)).unwrap_err();
        assert!(error.contains(path), "{path} in {error}");
    }
}
