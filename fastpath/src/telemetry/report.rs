//! What an lcore puts on the desk for its supervisor, now and then: the latest report only.
//!
//! The lcore writes, the supervisor takes. A report that was not taken is replaced by the next;
//! that is all the synchronisation there is. A replay has no supervisor: its receiver declines, and
//! no report is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::queue::ArrayQueue;

use super::Totals;
use super::latency::{Latency, Quantiles};
use crate::decide::endpoint::EndpointStates;
use crate::policy::snapshot::ENDPOINTS_MAX;
use crate::port::DeviceReport;
use crate::time::{Nanos, Ticker};

/// How an lcore is doing.
#[derive(Clone, Debug)]
pub struct Report {
    /// When, by the lcore's own time.
    pub at: Nanos,
    /// Polls of the port so far, with or without frames.
    pub polls: u64,
    /// Everything counted.
    pub totals: Totals,
    /// How long bursts stay in the loop.
    pub latency: Quantiles,
    /// Exchanges that run, by endpoint.
    pub in_flight: [u32; ENDPOINTS_MAX],
}

/// The lcore's end.
#[derive(Debug)]
pub struct ReportSender {
    report: Arc<ArrayQueue<Report>>,
    devices: Arc<ArrayQueue<Vec<DeviceReport>>>,
    declined: Arc<AtomicBool>,
    slow: Ticker,
    latency: Quantiles,
}

/// The supervisor's end.
#[derive(Clone, Debug)]
pub struct ReportReceiver {
    report: Arc<ArrayQueue<Report>>,
    devices: Arc<ArrayQueue<Vec<DeviceReport>>>,
    declined: Arc<AtomicBool>,
}

/// Quantiles and devices cost more than a copy, so they are looked up less often.
const SLOW: Nanos = Nanos::from_secs(1);

/// Both ends.
#[must_use]
pub fn channel() -> (ReportSender, ReportReceiver) {
    let (report, devices) = (Arc::new(ArrayQueue::new(1)), Arc::new(ArrayQueue::new(1)));
    let declined = Arc::new(AtomicBool::new(false));
    let receiver = ReportReceiver {
        report: Arc::clone(&report),
        devices: Arc::clone(&devices),
        declined: Arc::clone(&declined),
    };
    let slow = Ticker::every(SLOW);
    (ReportSender { report, devices, declined, slow, latency: Quantiles::default() }, receiver)
}

impl ReportSender {
    /// Puts a report down, unless nobody will take it.
    pub fn publish(
        &mut self,
        at: Nanos,
        polls: u64,
        totals: Totals,
        latency: &Latency,
        endpoints: &EndpointStates,
        devices: impl FnOnce() -> Vec<DeviceReport>,
    ) {
        if self.declined.load(Ordering::Relaxed) {
            return;
        }
        if self.slow.due(at) {
            self.latency = latency.quantiles();
            drop(self.devices.force_push(devices()));
        }
        let mut in_flight = [0; ENDPOINTS_MAX];
        for (to, state) in in_flight.iter_mut().zip(endpoints.all()) {
            *to = state.in_flight;
        }
        let report = Report { at, polls, totals, latency: self.latency, in_flight };
        self.report.force_push(report);
    }

    /// Puts down what the devices count, out of turn: the last word of an lcore.
    pub fn publish_devices(&mut self, devices: Vec<DeviceReport>) {
        drop(self.devices.force_push(devices));
    }
}

impl ReportReceiver {
    /// The latest report, if there is one that was not taken yet.
    #[must_use]
    pub fn take(&self) -> Option<Report> {
        self.report.pop()
    }

    /// Nobody will take a report any more.
    pub fn decline(&self) {
        self.declined.store(true, Ordering::Relaxed);
    }

    /// The latest state of the devices, likewise.
    #[must_use]
    pub fn take_devices(&self) -> Option<Vec<DeviceReport>> {
        self.devices.pop()
    }
}
