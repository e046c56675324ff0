//! The data plane: is it there, is it of this version, does it live, does it lose anything?

use std::path::Path;

use fastpath::ipc::{Reply, Request, Status};

use super::Finding;
use crate::figures;
use crate::link::{Link, LinkError, ask};

/// A heartbeat older than this means a core that stands still.
const HEARTBEAT_LATE_MS: u64 = 1000;

/// Everything about the data plane behind `socket`.
pub(super) fn findings(socket: &Path) -> Vec<Finding> {
    match status(socket) {
        Err(error) => {
            let reply = error.reply();
            let message = format!("{}: {}", socket.display(), reply.message);
            let mend = reply.hint.unwrap_or_else(|| "see its log".to_owned());
            vec![Finding::fail("data plane", message, mend)]
        }
        Ok(status) => of_status(&status),
    }
}

fn status(socket: &Path) -> Result<Status, LinkError> {
    ask(&mut Link::connect(socket)?, &Request::Status, |reply| {
        if let Reply::Status(status) = reply { Some(*status) } else { None }
    })
}

fn of_status(status: &Status) -> Vec<Finding> {
    let running = format!(
        "running, {} mode, up {}, pid {}",
        status.mode,
        figures::duration(status.uptime_seconds),
        status.pid
    );
    let mut findings = vec![Finding::ok("data plane", running), version(&status.version)];
    findings.extend(spread(status));
    findings.extend(status.lcores.iter().map(|lcore| {
        let message =
            format!("lcore {}: last sign of life {} ms ago", lcore.lcore, lcore.heartbeat_age_ms);
        match (lcore.heartbeat_age_ms > HEARTBEAT_LATE_MS, lcore.core) {
            (true, _) => {
                Finding::fail("heartbeat", message, "the core stands still: see the log, restart")
            }
            (false, Some(core)) => Finding::ok("heartbeat", format!("{message}, on core {core}")),
            (false, None) => Finding::warn(
                "heartbeat",
                format!("{message}, not pinned to a core"),
                "allow it a core of its own (cgroup cpuset, taskset)",
            ),
        }
    }));
    findings.extend(status.ports.iter().map(|port| match port.link.as_deref() {
        Some("down") => Finding::fail(
            "port",
            format!("{}: link is down", port.name),
            "check cable, peer and that the interface is up",
        ),
        _ if port.rx_missed > 0 => Finding::warn(
            "port",
            format!("{}: {} frames came faster than they were taken", port.name, port.rx_missed),
            "give it more cores or larger receive rings",
        ),
        _ => Finding::ok(
            "port",
            format!("{}: {} frames in", port.name, figures::count(port.rx_frames)),
        ),
    }));
    findings.push(frames(status));
    if status.events_lost > 0 {
        findings.push(Finding::warn(
            "events",
            format!("{} lost: the ledger is incomplete", figures::count(status.events_lost)),
            "the supervisor gets too little time: give it a core of its own",
        ));
    }
    findings
}

/// How frames reach the lcores; nothing to say of one lcore.
fn spread(status: &Status) -> Option<Finding> {
    let lcores = status.lcores.len();
    let (text, mend) = match status.spread.as_str() {
        "rss_client_address" => ("by the devices, by client address", None),
        "rss_5_tuple" => (
            "by the devices, by addresses and ports",
            Some("a client's connections are on several lcores, and so is what its retries show"),
        ),
        "software" => (
            "in software, by client address",
            Some("the first lcore receives for all: a NIC that hashes one address spares that"),
        ),
        _ => return None,
    };
    let message = format!("{lcores} lcores; frames are spread {text}");
    Some(match mend {
        None => Finding::ok("spread", message),
        Some(mend) => Finding::warn("spread", message, mend),
    })
}

fn version(theirs: &str) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    if theirs == ours {
        Finding::ok("version", format!("{ours}, both"))
    } else {
        let message = format!("fermata is {ours}, the data plane {theirs}");
        Finding::warn("version", message, "install both from one release")
    }
}

/// Every frame that came in has one end.
fn frames(status: &Status) -> Finding {
    let frames = &status.frames;
    let dropped: u64 = frames.drops.values().sum();
    let ends = frames.tx_frames + frames.held_frames + dropped;
    let message = format!(
        "{} in, {} out, {} held, {} dropped",
        figures::count(frames.rx_frames),
        figures::count(frames.tx_frames),
        frames.held_frames,
        figures::count(dropped)
    );
    // Counters are read while frames move: a burst or so may be between two of them.
    let slack = 4096;
    if frames.rx_frames.abs_diff(ends) > slack {
        return Finding::fail("frames", message, "frames have no named end: please report this");
    }
    let lost = frames.drops.iter().find(|(name, count)| **count > 0 && *name != "mode.observed");
    match lost {
        Some((name, count)) => {
            let mend = "a slower peer or too small a ring: see `fermata top`";
            Finding::warn("frames", format!("{message} ({name} {count})"), mend)
        }
        None => Finding::ok("frames", message),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use fastpath::ipc::{LcoreStatus, PortStatus};

    fn level_of(findings: &[Finding], name: &str) -> Vec<Level> {
        findings
            .iter()
            .filter(|finding| finding.name == name)
            .map(|finding| finding.level)
            .collect()
    }

    #[test]
    fn no_data_plane_is_one_failure_with_a_mend() {
        let findings = findings(Path::new("/nonexistent/fermata.sock"));
        assert_eq!(level_of(&findings, "data plane"), [Level::Fail]);
        assert!(findings[0].mend.is_some());
    }

    #[test]
    fn a_late_heartbeat_a_dead_link_and_lost_events_are_found() {
        let mut status = Status { version: "9".to_owned(), events_lost: 1, ..Status::default() };
        status.lcores = vec![
            LcoreStatus { heartbeat_age_ms: 5000, core: Some(1), ..LcoreStatus::default() },
            LcoreStatus { heartbeat_age_ms: 5, core: Some(2), ..LcoreStatus::default() },
        ];
        status.ports = vec![PortStatus { link: Some("down".to_owned()), ..PortStatus::default() }];
        let findings = of_status(&status);
        assert_eq!(level_of(&findings, "heartbeat"), [Level::Fail, Level::Ok]);
        assert_eq!(level_of(&findings, "port"), [Level::Fail]);
        assert_eq!(level_of(&findings, "version"), [Level::Warn]);
        assert_eq!(level_of(&findings, "events"), [Level::Warn]);
    }

    #[test]
    fn what_spreads_frames_is_said_where_there_is_more_than_one_lcore() {
        let of = |spread: &str| {
            let lcores = vec![LcoreStatus::default(); 2];
            let status = Status { spread: spread.to_owned(), lcores, ..Status::default() };
            of_status(&status).into_iter().find(|finding| finding.name == "spread")
        };
        assert!(of("single").is_none() && of("").is_none());
        assert_eq!(of("rss_client_address").unwrap().level, Level::Ok);
        let software = of("software").unwrap();
        assert!(software.message.starts_with("2 lcores; frames are spread in software"));
        assert!(software.mend.is_some());
    }

    #[test]
    fn frames_without_an_end_are_a_failure_and_those_of_a_tap_are_not() {
        let mut status = Status::default();
        status.frames.rx_frames = 100_000;
        assert_eq!(frames(&status).level, Level::Fail);
        status.frames.drops.insert("mode.observed".to_owned(), 100_000);
        assert_eq!(frames(&status).level, Level::Ok);
        status.frames.drops.insert("port.tx_ring_full".to_owned(), 5);
        assert_eq!(frames(&status).level, Level::Warn);
    }
}
