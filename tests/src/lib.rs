//! Whole-system tests of Fermata.
//!
//! This library makes the traffic that the tests beside it and the benches play through the loop:
//! frames ([`frame`]), TLS records and hellos ([`tls`]), QUIC packets ([`quic`]), whole connections
//! ([`connection`]), captures of any length ([`capture`]), scenarios written as text ([`scenario`]) and
//! work with its truth ([`workload`]). [`play`] runs it through an `Lcore`; [`tap`], [`split`] and [`cycle`]
//! are ports for looking on, for splitting bursts and for playing the same frames for ever. [`fuzz`] is what the fuzz targets
//! do with an input. The lab (`lab/`, binary `fermata-lab`) is the same with real endpoints and real
//! SDK clients.

pub mod capture;
pub mod connection;
pub mod cycle;
pub mod frame;
pub mod fuzz;
pub mod initial;
pub mod mangle;
pub mod play;
pub mod quic;
pub mod scenario;
pub mod split;
pub mod tap;
pub mod tls;
pub mod workload;
