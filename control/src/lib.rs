//! The Fermata control plane: what people and other programs use to ask, judge and tell the data
//! plane.
//!
//! `cli` names the commands; each command is a module. What a command prints goes through `output`,
//! what goes wrong through `failure`. Captures are read by `capture`, a running data plane is asked
//! by `link`.

#![forbid(unsafe_code)]

pub mod api;
pub mod assess;
#[cfg(test)]
mod blessed;
pub mod bypass;
pub mod capture;
pub mod change;
pub mod check;
pub mod cli;
pub mod clock;
pub mod explain;
pub mod export;
pub mod failure;
pub mod figures;
pub mod learnt;
pub mod link;
pub mod live;
pub mod output;
pub mod policy;
pub mod report;
pub mod rows;
pub mod serve;
pub mod simulate;
pub mod store;
pub mod top;
pub mod transaction;
pub mod watch;
