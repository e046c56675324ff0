//! What is known of one exchange and around it.
//!
//! A capture is read twice: once to find the exchange, once to gather what belongs to it, so that
//! memory does not grow with the capture. The data plane is asked for the rows it still has.

use std::path::Path;
use std::sync::Arc;

use fastpath::ipc::{Page, ROWS_MAX, Reply, Request};
use fastpath::lcore::Outlets;
use fastpath::policy::snapshot::Policy;
use fastpath::replay;
use fastpath::telemetry::event::{Event, ExchangeId, Reason, Verdict};
use fastpath::telemetry::line::{EventLine, ExchangeLine, FlowLine};
use serde::Serialize;

use crate::cli::ExplainArgs;
use crate::failure::{Done, Failure};
use crate::link::{Link, ask};
use crate::{capture, policy};

/// Signals of one exchange that are kept.
const SIGNALS_MAX: usize = 16;

/// One exchange and its surroundings.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) exchange: ExchangeLine,
    /// The ClientHello of its connection, if it was seen.
    pub(super) hello: Option<FlowLine>,
    /// What the detectors and rules said of it.
    pub(super) signals: Vec<EventLine>,
    /// The attempt that it is the retry of.
    pub(super) before: Option<ExchangeLine>,
    /// The attempt that is the retry of it.
    pub(super) after: Option<ExchangeLine>,
    /// What its endpoint had had before it.
    pub(super) load: Load,
    /// The policy it was judged under.
    pub(super) policy: Policy,
}

/// Attempts at one endpoint that began before an exchange and were put to the retry budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Load {
    pub(super) first_attempts: u64,
    pub(super) retries: u64,
    pub(super) held: u64,
}

/// The exchange of `capture` that is asked for.
///
/// # Errors
/// When the capture or the policy cannot be read, or there is no such exchange.
pub(super) fn of_capture(capture: &Path, args: &ExplainArgs) -> Result<(Case, Done), Failure> {
    let snapshot = policy::snapshot(args.policy.as_deref())?;
    let json = args.output == crate::output::Format::Json;
    let mut search = Search::new(args.exchange);
    let (_, done) = capture::read(&[capture.to_owned()], &snapshot, json, |_, event, outlets| {
        if let Event::Exchange(exchange) = event
            && search.is_it(exchange.id)
        {
            search.found = Some(ExchangeLine::new(exchange, &outlets.names, &snapshot));
        }
    })?;
    let mut case = Case::new(search.result()?, snapshot.policy().clone());
    let add = |event: &Event, outlets: &Outlets| match event {
        Event::Hello(hello) => {
            let Outlets { names, fingerprints, .. } = outlets;
            case.add_hello(FlowLine::new(hello, names, fingerprints, &snapshot));
        }
        Event::Exchange(exchange) => {
            case.add_exchange(&ExchangeLine::new(exchange, &outlets.names, &snapshot));
        }
        Event::Signal(signal) => case.add_signal(EventLine::new(signal, &snapshot)),
        Event::Amendment(_) => {}
    };
    // What is wrong with the file has been said the first time.
    replay::replay(capture, Arc::clone(&snapshot), add, |_| ())
        .map_err(|error| Failure::Capture(capture.to_owned(), error))?;
    Ok((case, done))
}

/// The exchange of the data plane that listens at `socket`, while it remembers it.
///
/// # Errors
/// When the data plane cannot be asked, or remembers no such exchange.
pub(super) fn of_data_plane(socket: &Path, id: ExchangeId) -> Result<Case, Failure> {
    let mut link = Link::connect(socket)?;
    let policy = ask(&mut link, &Request::Policy, |reply| {
        if let Reply::Policy(policy) = reply { Some(policy) } else { None }
    })?;
    let exchanges = all(
        &mut link,
        |after, limit| Request::Exchanges { after, limit },
        |reply| if let Reply::Exchanges(page) = reply { Some(page) } else { None },
    )?;
    let mut search = Search::new(id);
    for line in &exchanges {
        let number = line.id.strip_prefix('x').and_then(|number| number.parse().ok());
        if number.is_some_and(|number| search.is_it(ExchangeId(number))) {
            search.found = Some(line.clone());
        }
    }
    let mut case = Case::new(search.result()?, *policy);
    exchanges.iter().for_each(|line| case.add_exchange(line));
    let events = all(
        &mut link,
        |after, limit| Request::Events { after, limit },
        |reply| if let Reply::Events(page) = reply { Some(page) } else { None },
    )?;
    events.into_iter().for_each(|line| case.add_signal(line));
    let flows = ask(&mut link, &Request::Flows { limit: ROWS_MAX }, |reply| {
        if let Reply::Flows(flows) = reply { Some(flows) } else { None }
    })?;
    // They come newest first.
    flows.into_iter().rev().for_each(|line| case.add_hello(line));
    Ok(case)
}

/// All rows of a sequence that the data plane still has.
fn all<T>(
    link: &mut Link,
    request: impl Fn(u64, usize) -> Request,
    pick: impl Fn(Reply) -> Option<Page<T>>,
) -> Result<Vec<T>, Failure> {
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let page = ask(link, &request(after, ROWS_MAX), &pick)?;
        let ended = page.rows.len() < ROWS_MAX;
        after = page.next;
        rows.extend(page.rows);
        if ended {
            return Ok(rows);
        }
    }
}

/// Looks for one number and notes which there are.
struct Search {
    wanted: ExchangeId,
    found: Option<ExchangeLine>,
    range: Option<(ExchangeId, ExchangeId)>,
    count: u64,
}

impl Search {
    fn new(wanted: ExchangeId) -> Self {
        Self { wanted, found: None, range: None, count: 0 }
    }

    fn is_it(&mut self, id: ExchangeId) -> bool {
        let (first, last) = self.range.unwrap_or((id, id));
        self.range = Some((first.min(id), last.max(id)));
        self.count += 1;
        id == self.wanted
    }

    fn result(self) -> Result<ExchangeLine, Failure> {
        self.found.ok_or(Failure::NoExchange(self.wanted, self.range, self.count))
    }
}

impl Case {
    pub(super) fn new(exchange: ExchangeLine, policy: Policy) -> Self {
        let (hello, signals, load) = (None, Vec::new(), Load::default());
        Self { exchange, hello, signals, before: None, after: None, load, policy }
    }

    /// The latest ClientHello of its connection before it counts: ports are used again.
    fn add_hello(&mut self, line: FlowLine) {
        let x = &self.exchange;
        let own = (&line.src, line.sport, &line.dst, line.dport)
            == (&x.client, x.client_port, &x.server, x.server_port);
        if own && line.time <= x.start {
            self.hello = Some(line);
        }
    }

    fn add_exchange(&mut self, line: &ExchangeLine) {
        let x = &self.exchange;
        if x.retry_of.as_ref() == Some(&line.id) {
            self.before = Some(line.clone());
        }
        if line.retry_of.as_ref() == Some(&x.id) {
            self.after = Some(line.clone());
        }
        let rivals = x.endpoint.is_some() && line.endpoint == x.endpoint && line.start < x.start;
        if rivals && line.reason != Reason::NoRule {
            let first = line.attempt <= 1;
            self.load.first_attempts += u64::from(first);
            self.load.retries += u64::from(!first);
            self.load.held += u64::from(line.verdict != Verdict::Pass);
        }
    }

    fn add_signal(&mut self, line: EventLine) {
        if line.exchange == self.exchange.id && self.signals.len() < SIGNALS_MAX {
            self.signals.push(line);
        }
    }
}
