//! How a failure spread, as streams: endpoints that failed, clients that met it, what these did
//! next.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Anchor, Svg, WIDTH, label};
use crate::figures;
use fastpath::telemetry::ledger::propagation::{Edge, Kind, PropagationView};

/// Nodes of each column; the rest are left out, and the table has them.
const NODES_MAX: usize = 10;

const TOP: f64 = 34.0;
const GAP: f64 = 14.0;
const TALL: f64 = 300.0;
const NODE: f64 = 12.0;
/// Left edges of the three columns.
const COLUMNS: [f64; 3] = [190.0, 474.0, 758.0];

/// A column's nodes: place and height, and how much of each side is taken.
#[derive(Debug, Default)]
struct Column {
    places: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    y: f64,
    tall: f64,
    into: f64,
    out: f64,
}

/// The chart, or nothing when no failure was seen.
pub(in crate::report) fn chart(view: &PropagationView) -> Option<String> {
    let failures = of_kind(view, |kind| kind == Kind::Failure);
    if failures.is_empty() {
        return None;
    }
    let next = of_kind(view, |kind| kind != Kind::Failure);
    let sources = widest(failures.iter().map(|e| (&e.from, e.exchanges)));
    let clients = widest(failures.iter().map(|e| (&e.to, e.exchanges)));
    let targets = widest(next.iter().map(|e| (&e.to, e.exchanges)));
    let caused = widest(next.iter().map(|e| (&e.from, e.exchanges)));
    // A client is as tall as the wider of what comes to it and what leaves it.
    let clients: Vec<(String, u64)> = clients
        .into_iter()
        .map(|(name, n)| {
            let out = caused.iter().find(|(other, _)| *other == name).map_or(0, |(_, n)| *n);
            (name, n.max(out))
        })
        .collect();
    let columns = [&sources, &clients, &targets];
    let sum = |nodes: &Vec<(String, u64)>| nodes.iter().map(|node| node.1).sum::<u64>();
    let scale = TALL / columns.iter().map(|nodes| sum(nodes)).max().unwrap_or(1).max(1) as f64;
    let mut placed = columns.map(|nodes| place(nodes, scale));
    let ends = placed.iter().flat_map(|column| column.places.values()).map(|p| p.y + p.tall);
    let height = ends.fold(TOP, f64::max) + 12.0;
    let mut svg = Svg::new(height, "How failures spread", &description(&failures, &next));
    headings(&mut svg, view.window_seconds);
    streams(&mut svg, &failures, (0, 1), scale, &mut placed);
    streams(&mut svg, &next, (1, 2), scale, &mut placed);
    for (i, column) in placed.iter().enumerate() {
        nodes(&mut svg, i, column);
    }
    Some(svg.finish())
}

fn of_kind(view: &PropagationView, wanted: fn(Kind) -> bool) -> Vec<&Edge> {
    view.edges.iter().filter(|edge| wanted(edge.kind)).collect()
}

/// Sums by name, the largest first.
fn widest<'a>(parts: impl Iterator<Item = (&'a String, u64)>) -> Vec<(String, u64)> {
    let mut sums: BTreeMap<&String, u64> = BTreeMap::new();
    for (name, n) in parts {
        *sums.entry(name).or_default() += n;
    }
    let mut sums: Vec<_> = sums.into_iter().map(|(name, n)| (name.clone(), n)).collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sums.truncate(NODES_MAX);
    sums
}

fn description(failures: &[&Edge], next: &[&Edge]) -> String {
    let sum = |edges: &[&Edge], kind| {
        edges.iter().filter(|e| e.kind == kind).map(|e| e.exchanges).sum::<u64>()
    };
    format!(
        "{} were followed by {} and {} elsewhere.",
        figures::counted(sum(failures, Kind::Failure), "failed attempt", "failed attempts"),
        figures::counted(sum(next, Kind::Retry), "retry", "retries"),
        figures::counted(sum(next, Kind::FollowedBy), "call", "calls"),
    )
}

fn headings(svg: &mut Svg, window_seconds: f64) {
    let within = figures::duration(window_seconds);
    for (x, text) in COLUMNS.into_iter().zip([
        "Attempts failed at".to_owned(),
        "of these clients".to_owned(),
        format!("which within {within} called"),
    ]) {
        svg.text("panel", (x + NODE / 2.0, 14.0), Anchor::Middle, &text);
    }
}

fn place(nodes: &[(String, u64)], scale: f64) -> Column {
    let mut y = TOP;
    let mut column = Column::default();
    for (name, n) in nodes {
        let tall = (*n as f64 * scale).max(1.5);
        column.places.insert(name.clone(), Place { y, tall, into: 0.0, out: 0.0 });
        y += tall + GAP;
    }
    column
}

/// The streams between two columns, in the order of their widths.
fn streams(
    svg: &mut Svg,
    edges: &[&Edge],
    (from, to): (usize, usize),
    scale: f64,
    columns: &mut [Column; 3],
) {
    let (x1, x2) = (COLUMNS[from] + NODE, COLUMNS[to]);
    for edge in edges {
        let wide = edge.exchanges as f64 * scale;
        let Some(start) = columns[from].places.get(&edge.from).map(|p| p.y + p.out) else {
            continue;
        };
        let Some(end) = columns[to].places.get(&edge.to).map(|p| p.y + p.into) else { continue };
        if let Some(place) = columns[from].places.get_mut(&edge.from) {
            place.out += wide;
        }
        if let Some(place) = columns[to].places.get_mut(&edge.to) {
            place.into += wide;
        }
        let (class, what) = match edge.kind {
            Kind::Failure => ("s-failure", "failed attempts"),
            Kind::Retry => ("s-retry", "retries"),
            Kind::FollowedBy => ("s-followed", "calls that followed a failure elsewhere"),
            Kind::Restart => ("s-followed", "calls made again after a failure"),
            Kind::Doomed => ("s-followed", "calls beside a branch that had failed"),
        };
        let middle = f64::midpoint(x1, x2);
        let mut d = String::new();
        let _ = write!(
            d,
            "M{x1:.1} {start:.1}C{middle:.1} {start:.1} {middle:.1} {end:.1} {x2:.1} {end:.1}\
             V{:.1}C{middle:.1} {:.1} {middle:.1} {:.1} {x1:.1} {:.1}Z",
            end + wide,
            end + wide,
            start + wide,
            start + wide
        );
        let (a, b) = (bare(&edge.from), bare(&edge.to));
        let hint = format!("{a} to {b}: {} {what}, {} failed", edge.exchanges, edge.failed);
        svg.path(class, &d, &hint);
    }
}

fn nodes(svg: &mut Svg, column: usize, placed: &Column) {
    let x = COLUMNS[column];
    for (name, place) in &placed.places {
        svg.rect("node", (x, place.y), (NODE, place.tall), bare(name));
        let at = place.y + place.tall / 2.0 + 4.0;
        let text = label(bare(name), 24);
        if column == 0 {
            svg.text("name", (x - 8.0, at), Anchor::End, &text);
        } else {
            svg.text("name halo", (x + NODE + 8.0, at), Anchor::Start, &text);
        }
    }
}

/// A node's name without its kind.
fn bare(id: &str) -> &str {
    id.split_once(':').map_or(id, |(_, name)| name)
}

/// Width of the drawing must hold the names of the last column.
const _: () = assert!(COLUMNS[2] + NODE + 8.0 < WIDTH - 150.0);
