//! Exporters: what the data plane tells, in the words of other systems.
//!
//! Metrics come from a [`Snapshot`] (`metrics` names them, `text` and `otlp` write them); exchanges and
//! events come as rows from a [`feed`], to IPFIX collectors and as lines of JSON. An exporter runs on
//! a thread of its own with a connection of its own to the data plane. What it cannot hand over in
//! time is dropped and counted ([`Counts`]), so that neither the data plane nor another exporter
//! waits for it. Lengths leave as buckets only.

pub mod arguments;
mod counts;
#[cfg(test)]
mod documented;
pub mod feed;
pub mod http;
pub mod ipfix;
pub mod lines;
pub mod metrics;
pub mod otlp;
pub mod run;
pub mod snapshot;
pub mod text;

pub use counts::{Counts, Registry};
pub use run::{Exporter, Exporters, Target};
pub use snapshot::Snapshot;
