//! Rows for exporters: every exchange and event once, in order, as the data plane tells them.
//!
//! A thread asks the data plane and puts what comes into a bounded queue; another hands it to a
//! [`Sink`]. A sink that is slow or whose receiver is away fills its queue: what finds no room is
//! dropped and counted. When the data plane starts anew its rows are read from their beginning.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use fastpath::ipc::{Page, ROWS_MAX, Reply, Request};
use fastpath::telemetry::line::{EventLine, ExchangeLine};

use super::counts::Counts;
use super::snapshot;
use crate::link::{Link, LinkError, ask};

/// What came at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Exchanges that have ended.
    pub exchanges: Vec<ExchangeLine>,
    /// Signals, verdicts and amendments.
    pub events: Vec<EventLine>,
}

/// Where rows go.
pub trait Sink: Send {
    /// Hands over rows. Returns how many records they were.
    ///
    /// # Errors
    /// When the receiver cannot be reached, or does not take them in time; they are dropped.
    fn write(&mut self, rows: &Rows) -> io::Result<u64>;
}

/// Batches that wait for a sink at most: a batch has up to twice [`ROWS_MAX`] rows.
pub const QUEUE_MAX: usize = 16;

/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_millis(500);

impl Rows {
    /// How many they are.
    #[must_use]
    pub fn len(&self) -> u64 {
        (self.exchanges.len() + self.events.len()) as u64
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where reading has come to.
#[derive(Debug)]
pub struct Reader {
    socket: PathBuf,
    link: Option<Link>,
    pid: Option<u32>,
    exchanges: u64,
    events: u64,
    /// What was told before this reader came is passed over.
    skips: bool,
}

impl Reader {
    /// Reads what the data plane at `socket` tells from now on; with `backlog`, also what it still
    /// remembers.
    #[must_use]
    pub fn new(socket: &Path, backlog: bool) -> Self {
        let socket = socket.to_owned();
        Self { socket, link: None, pid: None, exchanges: 0, events: 0, skips: !backlog }
    }

    /// The next rows: none when there are none yet. Counts those that were missed.
    ///
    /// # Errors
    /// When the data plane gives no answer; the next call tries again.
    pub fn read(&mut self, counts: &Counts) -> Result<Rows, LinkError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::connect(&self.socket)?,
        };
        let rows = self.read_from(&mut link, counts)?;
        self.link = Some(link);
        Ok(rows)
    }

    fn read_from(&mut self, link: &mut Link, counts: &Counts) -> Result<Rows, LinkError> {
        let pid = snapshot::status(link)?.pid;
        if self.pid.replace(pid).is_some_and(|before| before != pid) {
            (self.exchanges, self.events) = (0, 0);
        }
        loop {
            let exchanges = page(
                link,
                &Request::Exchanges { after: self.exchanges, limit: ROWS_MAX },
                |reply| if let Reply::Exchanges(page) = reply { Some(page) } else { None },
            )?;
            let events =
                page(link, &Request::Events { after: self.events, limit: ROWS_MAX }, |reply| {
                    if let Reply::Events(page) = reply { Some(page) } else { None }
                })?;
            (self.exchanges, self.events) = (exchanges.next, events.next);
            if self.skips && (exchanges.rows.len() == ROWS_MAX || events.rows.len() == ROWS_MAX) {
                continue;
            }
            if std::mem::take(&mut self.skips) {
                return Ok(Rows::default());
            }
            counts.missed(exchanges.missed + events.missed);
            return Ok(Rows { exchanges: exchanges.rows, events: events.rows });
        }
    }
}

fn page<T>(
    link: &mut Link,
    request: &Request,
    pick: impl FnOnce(Reply) -> Option<Page<T>>,
) -> Result<Page<T>, LinkError> {
    ask(link, request, pick)
}

/// Reads until `stop` is told or gone, and queues what comes.
pub fn fill(reader: &mut Reader, queue: &SyncSender<Rows>, counts: &Counts, stop: &Receiver<()>) {
    loop {
        let mut more = false;
        match reader.read(counts) {
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => {
                more = rows.exchanges.len() == ROWS_MAX || rows.events.len() == ROWS_MAX;
                match queue.try_send(rows) {
                    Ok(()) => {}
                    Err(TrySendError::Full(rows)) => counts.dropped(rows.len()),
                    Err(TrySendError::Disconnected(_)) => return,
                }
            }
            Err(_) => counts.failed(),
        }
        let wait = if more { Duration::ZERO } else { ASK_EVERY };
        match stop.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Hands over what is queued, until nothing comes any more.
pub fn drain(sink: &mut dyn Sink, queue: &Receiver<Rows>, counts: &Arc<Counts>) {
    for rows in queue {
        match sink.write(&rows) {
            Ok(records) => counts.sent(records),
            Err(_) => {
                counts.failed();
                counts.dropped(rows.len());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::exchange;

    struct Dead;

    impl Sink for Dead {
        fn write(&mut self, _: &Rows) -> io::Result<u64> {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    fn rows() -> Rows {
        Rows { exchanges: vec![exchange("198.51.100.11", "openai", 0.0, 1.0)], events: vec![] }
    }

    #[test]
    fn what_a_dead_receiver_does_not_take_is_dropped_and_counted() {
        let (to, queue) = std::sync::mpsc::sync_channel(QUEUE_MAX);
        to.send(rows()).unwrap();
        to.send(rows()).unwrap();
        drop(to);
        let counts = Arc::default();
        drain(&mut Dead, &queue, &counts);
        assert_eq!(counts.all(), [0, 2, 2, 0]);
    }

    #[test]
    fn a_data_plane_that_is_away_is_a_failure_and_no_end() {
        let (to, _queue) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = std::sync::mpsc::channel();
        let counts = Counts::default();
        let mut reader = Reader::new(Path::new("/nonexistent/fermata.sock"), false);
        stop.send(()).unwrap();
        fill(&mut reader, &to, &counts, &stopped);
        assert_eq!(counts.all(), [0, 0, 1, 0]);
    }
}
