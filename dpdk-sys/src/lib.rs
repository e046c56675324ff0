//! Raw libdpdk: what bindgen makes of the allow-list in `build.rs`, and the shim of `src/shim.c`.
//!
//! Nothing is added: no type, no check, no default. The safe wrapper is `fastpath/src/port/dpdk`,
//! the only place that names this crate.

#![allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    reason = "generated: names and documents are those of DPDK"
)]
#![allow(unsafe_code, reason = "raw declarations; each caller states why its call is sound")]
#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::cast_possible_truncation,
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    reason = "generated: its shape is bindgen's"
)]

include!(concat!(env!("OUT_DIR"), "/dpdk.rs"));
