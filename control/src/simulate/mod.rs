//! `fermata simulate`: a closed loop in virtual time, with the real data plane in its middle.
//!
//! A [`Scenario`] says which clients call which servers and what goes wrong. Clients and servers
//! exchange real frames over a simulated wire; where the data plane stands, the `Lcore` of the
//! binary sees them, decides and acts. The same work meets other controls in further columns, so
//! that a policy can be tried before it is enforced.
//!
//! Everything is drawn from a seed. There is no clock, no thread and no network here.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use fastpath::policy::snapshot::Snapshot;

use crate::cli::SimulateArgs;
use crate::failure::{Done, Failure};
use crate::output::{self, Format};
use crate::policy;

mod admission;
mod chance;
mod client;
mod connection;
mod frame;
mod ledger;
mod network;
mod page;
mod port;
mod profile;
pub mod result;
pub mod scenario;
mod schedule;
mod server;
mod slab;
mod stream;
pub mod summary;
mod table;
mod tcp;
mod tls;
mod world;

use result::{ColumnResult, Run};
use scenario::{Column, Scenario};
use summary::Summary;
use world::World;

/// Runs a scenario and prints what came of it.
///
/// # Errors
/// When the scenario or the policy cannot be read, or the result not be written.
pub fn run(args: &SimulateArgs) -> Result<Done, Failure> {
    let scenario =
        Scenario::read(&args.scenario).map_err(|error| Failure::Scenario(Box::new(error)))?;
    let snapshot = policy::snapshot(args.policy.as_deref())?;
    if let Some(count) = args.seeds {
        let summary = summarise(&scenario, &snapshot, args.seed..args.seed.saturating_add(count));
        match args.output {
            Format::Json => output::print_json(&summary)?,
            Format::Table => output::print_text(&summary.text())?,
        }
        return Ok(Done::Wholly);
    }
    let result = simulate(&scenario, &snapshot, args.seed);
    if let Some(directory) = &args.out {
        let text = serde_json::to_string_pretty(&result).map_err(|e| Failure::Output(e.into()))?;
        write(directory, "simulation.json", &(text + "\n"))?;
        write(directory, "simulation.html", &page::page(&result))?;
    }
    match args.output {
        Format::Json => output::print_json(&result)?,
        Format::Table => output::print_text(&table::text(&result))?,
    }
    Ok(Done::Wholly)
}

/// Runs every column of a scenario.
#[must_use]
pub fn simulate(scenario: &Scenario, snapshot: &Arc<Snapshot>, seed: u64) -> Run {
    let mut run = Run::new(scenario, seed);
    for &column in &scenario.columns {
        run.columns.push(simulate_column(scenario, column, snapshot, seed));
    }
    run.compare();
    run
}

/// Runs a scenario with each of these seeds.
#[must_use]
pub fn summarise(scenario: &Scenario, snapshot: &Arc<Snapshot>, seeds: Range<u64>) -> Summary {
    let runs: Vec<Run> = seeds.map(|seed| simulate(scenario, snapshot, seed)).collect();
    Summary::of(&runs)
}

fn simulate_column(
    scenario: &Scenario,
    column: Column,
    snapshot: &Arc<Snapshot>,
    seed: u64,
) -> ColumnResult {
    let mut world = World::new(scenario, column, snapshot, seed);
    world.run();
    ColumnResult::new(column, &world)
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = directory.join(name);
    let failed = |error| Failure::Write(path.clone(), error);
    std::fs::create_dir_all(directory).map_err(failed)?;
    std::fs::write(&path, text).map_err(failed)
}
