//! `fermata-lab frames`: every frame that came in went out, is held, or was dropped for a named
//! reason.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{LabError, read};

/// The counters `fermata-fastpath --stats-out` leaves behind.
#[derive(Debug, Deserialize)]
struct Stats {
    rx: u64,
    tx: u64,
    held: u64,
    drops: BTreeMap<String, u64>,
    #[serde(default)]
    ports: Vec<Port>,
}

/// What a port itself counted.
#[derive(Debug, Deserialize)]
struct Port {
    name: String,
    /// Frames lost before the data plane saw them.
    #[serde(default)]
    missed: u64,
    #[serde(default)]
    errors: u64,
}

/// Checks the counters of a run; true when the frames add up and, if `lossless`, none was lost.
pub(crate) fn run(path: &Path, lossless: bool) -> Result<bool, LabError> {
    let text = read(path)?;
    let stats: Stats = serde_json::from_str(&text).map_err(|source| LabError::Json {
        path: path.into(),
        line: source.line(),
        source,
    })?;
    let (fine, line) = stats.judge(lossless);
    println!("{line}");
    Ok(fine)
}

impl Stats {
    fn judge(&self, lossless: bool) -> (bool, String) {
        let Self { rx, tx, held, .. } = self;
        let dropped: u64 = self.drops.values().sum();
        let adds_up = *rx == tx + held + dropped;
        let mut line = format!("frames: {rx} in = {tx} out + {held} held + {dropped} dropped");
        for (reason, count) in self.drops.iter().filter(|(_, count)| **count > 0) {
            line += &format!("; {reason} {count}");
        }
        let mut lost = dropped;
        for Port { name, missed, errors } in &self.ports {
            lost += missed + errors;
            if missed + errors > 0 {
                line += &format!("; port {name}: {missed} missed, {errors} errors");
            }
        }
        if !adds_up {
            line += " -- THEY DO NOT ADD UP";
        }
        if lossless && lost > 0 {
            line += &format!(" -- {lost} LOST, expected none");
        }
        (adds_up && !(lossless && lost > 0), line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str, lossless: bool) -> (bool, String) {
        serde_json::from_str::<Stats>(text).unwrap().judge(lossless)
    }

    #[test]
    fn named_drops_add_up() {
        let text = r#"{"rx": 10, "tx": 7, "held": 1, "drops": {"act.over_meter": 2}}"#;
        let (fine, line) = judge(text, false);
        assert!(fine);
        assert_eq!(line, "frames: 10 in = 7 out + 1 held + 2 dropped; act.over_meter 2");
    }

    #[test]
    fn a_frame_without_an_end_does_not() {
        assert!(!judge(r#"{"rx": 10, "tx": 9, "held": 0, "drops": {}}"#, false).0);
    }

    #[test]
    fn a_frame_the_port_missed_is_lost() {
        let text = r#"{"rx": 9, "tx": 9, "held": 0, "drops": {},
                       "ports": [{"name": "net_af_packet0", "rx": 9, "tx": 9, "missed": 1, "errors": 0}]}"#;
        assert!(judge(text, false).0);
        assert!(!judge(text, true).0);
    }
}
