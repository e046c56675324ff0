//! The Fermata data plane.
//!
//! Frames come in bursts from a [`port`], pass through the stages that one core owns, and leave
//! through the same port. Read [`lcore`] next: the whole pipeline is one function there, and each
//! stage is a folder.

pub mod act;
pub mod burst;
pub mod classify;
pub mod config;
pub mod decide;
pub mod detect;
pub mod exchange;
pub mod flow;
pub mod hw;
pub mod ipc;
pub mod keyed;
pub mod lcore;
pub mod lru;
pub mod parse;
pub mod policy;
pub mod port;
pub mod replay;
pub mod supervisor;
pub mod telemetry;
pub mod time;
