//! Carries out one order on each new TCP connection, by the port that it calls: what
//! `scripts/lab-actions` asks kernels about.
//!
//! `orders VDEV VDEV PORT=ORDER..`, as in `net_af_packet0,iface=eth1 net_af_packet1,iface=eth2
//! 5001=hold:600`. Orders: `hold:MS` (its first data), `pace:BYTES_PER_SEC`, `police:BYTES_PER_SEC`,
//! `dscp:CODEPOINT`, `ce`, `reset:server` and `reset:both` (with the first data of the server),
//! `reroute:ADDRESS=PORT` (from its SYN on). Ends on SIGTERM and prints what was done as JSON.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastpath::burst::{Burst, Direction, FlowId, Frame};
use fastpath::decide::order::{Mark, Order, Toward};
use fastpath::flow::table::FlowTable;
use fastpath::port::dpdk::{DpdkConfig, DpdkPort};
use fastpath::port::{Port, Rx};
use fastpath::telemetry::reasons::DropReason;
use fastpath::time::Nanos;

mod stages;

/// No hold lasts longer.
const HOLD_MAX: Nanos = Nanos::from_secs(30);
/// As an idle lcore sleeps: the kernels at both ends need the core.
const IDLE_SLEEP: Duration = Duration::from_micros(50);

/// What is done to the connections of a port.
#[derive(Clone, Copy, Debug)]
enum What {
    Hold(Nanos),
    Pace(u64),
    Police(u64),
    Mark(Mark),
    Reset(Toward),
    Reroute(IpAddr, u16),
}

impl What {
    fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        Some(match name {
            "hold" => Self::Hold(Nanos::from_millis(value.parse().ok()?)),
            "pace" => Self::Pace(value.parse().ok()?),
            "police" => Self::Police(value.parse().ok()?),
            "dscp" => Self::Mark(Mark::Dscp(value.parse().ok()?)),
            "ce" => Self::Mark(Mark::CongestionExperienced),
            "reset" if value == "both" => Self::Reset(Toward::Both),
            "reset" if value == "server" => Self::Reset(Toward::Server),
            "reroute" => {
                let (address, port) = value.split_once('=')?;
                Self::Reroute(address.parse().ok()?, port.parse().ok()?)
            }
            _ => return None,
        })
    }

    /// The orders for a flow of which this frame is the first of its kind, if it is the moment.
    fn orders(self, flow: FlowId, seen: Seen, now: Nanos, list: &mut Vec<Order>) -> bool {
        let data = seen.bytes > 0;
        let (up, from) = (seen.direction == Direction::ToServer, seen.frame);
        match self {
            Self::Hold(time) if up && data => {
                list.push(Order::Hold { flow, from, until: now + HOLD_MAX });
                list.push(Order::Release { flow, at: now + time });
            }
            Self::Pace(bytes_per_sec) if up && data => {
                list.push(Order::Pace { flow, bytes_per_sec });
            }
            Self::Police(bytes_per_sec) if up && data => {
                list.push(Order::Police { flow, bytes_per_sec });
            }
            Self::Mark(mark) if up && data => list.push(Order::Mark { flow, mark }),
            Self::Reset(toward) if !up && data => list.push(Order::Reset { flow, toward }),
            Self::Reroute(address, port) if up => {
                list.push(Order::Reroute { flow, to: (address.into(), port) });
            }
            _ => return false,
        }
        true
    }
}

/// A frame as orders look at it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    frame: u16,
    direction: Direction,
    bytes: u32,
}

/// What is asked for, and the flows that have it.
struct Desk {
    by_port: HashMap<u16, What>,
    done: HashSet<FlowId>,
}

impl Desk {
    fn look<F: Frame>(&mut self, burst: &Burst<F>, flows: &FlowTable, list: &mut Vec<Order>) {
        let packets = &burst.packets;
        for flow in flows.fresh() {
            self.done.remove(flow);
        }
        for (frame, (headers, flow)) in (0..).zip(packets.headers.iter().zip(&packets.flow)) {
            let (Some(headers), Some((flow, direction))) = (headers, *flow) else { continue };
            let Some(what) = self.by_port.get(&flows.entry(flow).peers().server_port) else {
                continue;
            };
            let seen = Seen { frame, direction, bytes: headers.payload_wire_bytes };
            if !self.done.contains(&flow) && what.orders(flow, seen, packets.now, list) {
                self.done.insert(flow);
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let vdevs: Vec<String> = arguments.by_ref().take(2).collect();
    let by_port = arguments.map(|text| {
        let order = text
            .split_once('=')
            .and_then(|(port, what)| Some((port.parse::<u16>().ok()?, What::parse(what)?)));
        order.ok_or_else(|| format!("{text}: expected PORT=ORDER, as in 5001=hold:600"))
    });
    let mut desk = Desk { by_port: by_port.collect::<Result<_, _>>()?, done: HashSet::new() };
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))?;
    let config = DpdkConfig {
        vdevs,
        no_huge: true,
        file_prefix: format!("fermata-orders-{}", std::process::id()),
        ..DpdkConfig::default()
    };
    let mut stages = stages::Stages::new(DpdkPort::open(&config)?);
    let before = stages.port.mbufs_in_use();
    println!("ready");
    let mut list = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let rx = stages.run_once(&mut list, |burst, flows, list| desk.look(burst, flows, list));
        if rx == Rx::Idle {
            std::thread::sleep(IDLE_SLEEP);
        }
    }
    let counters = stages.shapers.complete(stages.port.counters());
    let drops = DropReason::ALL.iter().map(|&r| (r.name(), counters.drops.count(r)));
    let drops: HashMap<_, _> = drops.filter(|&(_, n)| n > 0).collect();
    let acts = stages.shapers.counts();
    let said = serde_json::json!({
        "balanced": counters.balanced(), "drops": drops, "holds": acts.holds, "shaped": acts.shaped,
        "resets": acts.resets, "refused": acts.holds_refused + acts.shaped_refused + acts.resets_refused,
        "held_frames": acts.held_frames, "mbufs": stages.port.mbufs_in_use() - before,
    });
    println!("{said}");
    Ok(())
}
