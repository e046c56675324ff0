//! Frames from DPDK devices: the only module that knows DPDK exists.
//!
//! [`DpdkPort::open`] takes a [`DpdkConfig`] and gives a [`Port`](super::Port). Below it, one noun
//! a file: [`Eal`] (the environment, once a process), the mempool, [`Mbuf`], a device and its two
//! queues, the clock that turns ticks into time, and `vdev` and `host`, which find out beforehand
//! what EAL would only say in riddles. Every failure is a [`DpdkError`].
//!
//! Invariants: an mbuf has one owner, and never outlives its mempool; a queue is used by whoever
//! owns its device, one thread at a time; nothing here allocates, locks or calls the kernel per
//! burst (a driver may: `net_af_packet` does).

#![allow(
    unsafe_code,
    reason = "the safe wrapper of libdpdk, one of three places for unsafe (docs/architecture.md)"
)]

mod clock;
mod config;
mod device;
mod eal;
mod error;
mod host;
mod mbuf;
mod mempool;
mod queue;
mod spread;
mod vdev;
mod wires;

pub use config::DpdkConfig;
pub use eal::{Eal, EalArgs};
pub use error::{DpdkError, Errno};
pub use host::HostError;
pub use mbuf::Mbuf;
pub use wires::DpdkPort;
