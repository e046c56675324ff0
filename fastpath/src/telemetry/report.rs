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
use crate::decide::Decider;
use crate::decide::view::View;
use crate::policy::learnt::Learnt;
use crate::policy::snapshot::{ENDPOINTS_MAX, EndpointId};
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
    views: Arc<ArrayQueue<View>>,
    declined: Arc<AtomicBool>,
    learnt: Arc<ArrayQueue<Vec<(EndpointId, Learnt)>>>,
    learnt_wanted: Arc<AtomicBool>,
    slow: Ticker,
    latency: Quantiles,
}

/// The supervisor's end.
#[derive(Clone, Debug)]
pub struct ReportReceiver {
    report: Arc<ArrayQueue<Report>>,
    devices: Arc<ArrayQueue<Vec<DeviceReport>>>,
    views: Arc<ArrayQueue<View>>,
    declined: Arc<AtomicBool>,
    learnt: Arc<ArrayQueue<Vec<(EndpointId, Learnt)>>>,
    learnt_wanted: Arc<AtomicBool>,
}

/// Quantiles, devices and backends cost more than a copy, so they are looked up less often.
const SLOW: Nanos = Nanos::from_secs(1);

/// Both ends.
#[must_use]
pub fn channel() -> (ReportSender, ReportReceiver) {
    let (report, devices) = (Arc::new(ArrayQueue::new(1)), Arc::new(ArrayQueue::new(1)));
    let views = Arc::new(ArrayQueue::new(1));
    let declined = Arc::new(AtomicBool::new(false));
    let (learnt, learnt_wanted) = (Arc::new(ArrayQueue::new(1)), Arc::new(AtomicBool::new(false)));
    let receiver = ReportReceiver {
        report: Arc::clone(&report),
        devices: Arc::clone(&devices),
        views: Arc::clone(&views),
        declined: Arc::clone(&declined),
        learnt: Arc::clone(&learnt),
        learnt_wanted: Arc::clone(&learnt_wanted),
    };
    let (slow, latency) = (Ticker::every(SLOW), Quantiles::default());
    let sender =
        ReportSender { report, devices, views, declined, learnt, learnt_wanted, slow, latency };
    (sender, receiver)
}

impl ReportSender {
    /// Puts a report down, unless nobody will take it.
    pub fn publish(
        &mut self,
        at: Nanos,
        polls: u64,
        totals: Totals,
        latency: &Latency,
        decider: &Decider,
        devices: impl FnOnce() -> Vec<DeviceReport>,
    ) {
        if self.declined.load(Ordering::Relaxed) {
            return;
        }
        if self.slow.due(at) {
            self.latency = latency.quantiles();
            drop(self.devices.force_push(devices()));
            drop(self.views.force_push(decider.view(at)));
        }
        let mut in_flight = [0; ENDPOINTS_MAX];
        for (to, state) in in_flight.iter_mut().zip(decider.endpoints().all()) {
            *to = state.in_flight;
        }
        let report = Report { at, polls, totals, latency: self.latency, in_flight };
        self.report.force_push(report);
    }

    /// Puts down what was learnt, if somebody has asked: only then is it gathered.
    pub fn publish_learnt(&self, learnt: impl FnOnce() -> Vec<(EndpointId, Learnt)>) {
        // A word that says nothing about other memory.
        if self.learnt_wanted.load(Ordering::Relaxed) {
            self.learnt_wanted.store(false, Ordering::Relaxed);
            drop(self.learnt.force_push(learnt()));
        }
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

    /// What was learnt, once the lcore has put it down after this was called before.
    #[must_use]
    pub fn take_learnt(&self) -> Option<Vec<(EndpointId, Learnt)>> {
        let learnt = self.learnt.pop();
        if learnt.is_none() {
            self.learnt_wanted.store(true, Ordering::Relaxed);
        }
        learnt
    }

    /// How backends and endpoints stood last, likewise.
    #[must_use]
    pub fn take_view(&self) -> Option<View> {
        self.views.pop()
    }

    /// The latest state of the devices, likewise.
    #[must_use]
    pub fn take_devices(&self) -> Option<Vec<DeviceReport>> {
        self.devices.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::Seed;

    #[test]
    fn no_report_is_made_once_it_is_declined() {
        let (mut sender, receiver) = channel();
        let decider = Decider::for_slots(1, 1, Seed::Fixed(1));
        let mut publish = |at| {
            let (latency, totals) = (Latency::default(), Totals::default());
            sender.publish(at, 1, totals, &latency, &decider, Vec::new);
        };
        publish(Nanos(1));
        assert_eq!(receiver.take().map(|report| report.at), Some(Nanos(1)));
        receiver.decline();
        publish(Nanos(2));
        assert!(receiver.take().is_none());
    }
}
