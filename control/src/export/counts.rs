//! What exporters count of themselves, for the metrics that they export.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::metrics::{Metric, Samples};

/// Counters of one exporter. Its threads write, whoever makes metrics reads; each is a number by
/// itself, so no order is needed between them.
#[derive(Debug, Default)]
pub struct Counts {
    records: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    missed: AtomicU64,
}

/// All exporters of a process, by name.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Vec<Named>>>);

/// An exporter's name and counters.
type Named = (String, Arc<Counts>);

impl Counts {
    /// So many records were handed over.
    pub fn sent(&self, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    /// So many records were dropped: the receiver is slow or away.
    pub fn dropped(&self, records: u64) {
        self.dropped.fetch_add(records, Ordering::Relaxed);
    }

    /// The receiver could not be reached, or refused.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// So many rows had left the data plane before they were read.
    pub fn missed(&self, rows: u64) {
        self.missed.fetch_add(rows, Ordering::Relaxed);
    }

    /// Records handed over, records dropped, failures, rows missed.
    #[must_use]
    pub fn all(&self) -> [u64; 4] {
        [&self.records, &self.dropped, &self.failures, &self.missed]
            .map(|count| count.load(Ordering::Relaxed))
    }
}

impl Registry {
    /// The counters of a new exporter, or of one that had this name before.
    #[must_use]
    pub fn counts(&self, name: &str) -> Arc<Counts> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counts)) = all.iter().find(|(known, _)| known == name) {
            return Arc::clone(counts);
        }
        let counts = Arc::<Counts>::default();
        all.push((name.to_owned(), Arc::clone(&counts)));
        counts
    }

    /// Adds what they count to the metrics.
    pub fn add_to(&self, samples: &mut Samples) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, counts) in all.iter() {
            let metrics = [
                Metric::ExportRecords,
                Metric::ExportDropped,
                Metric::ExportFailures,
                Metric::ExportMissed,
            ];
            for (metric, count) in metrics.into_iter().zip(counts.all()) {
                samples.add(metric, &[("exporter", name)], count as f64);
            }
        }
    }
}
