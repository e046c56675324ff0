//! Whole-system tests of Fermata.
//!
//! This library makes the traffic that the tests beside it and the benches play through the loop:
//! frames ([`frame`]), TLS records and hellos ([`tls`]), whole connections ([`connection`]), and
//! scenarios written as text ([`scenario`]). [`play`] runs it through an `Lcore`; [`tap`] and
//! [`cycle`] are ports for looking on and for playing the same frames for ever. The lab (`lab/`,
//! binary `fermata-lab`) is the same with real endpoints and real SDK clients.

pub mod connection;
pub mod cycle;
pub mod frame;
pub mod mangle;
pub mod play;
pub mod scenario;
pub mod tap;
pub mod tls;
