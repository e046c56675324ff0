//! Exchanges and events as lines of JSON: the lines of `fermata exchanges` and `fermata events`. An
//! event has a field `event`, an exchange has none.
//!
//! To a file that is rotated before it grows beyond its bound, to standard output, or over TCP.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::feed::{Rows, Sink};

/// Lines in a file: `PATH`, and the older ones in `PATH.1`, `PATH.2` and so on.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
}

/// Where bytes of whole lines go.
pub trait Receiver: Send {
    /// Takes them, all or none.
    ///
    /// # Errors
    /// When it cannot.
    fn take(&mut self, lines: &[u8]) -> io::Result<()>;
}

/// A file that is rotated.
#[derive(Debug)]
pub struct Rotated {
    path: PathBuf,
    bytes_max: u64,
    files_max: u32,
    open: Option<(File, u64)>,
}

/// A TCP receiver, connected when there is something to say.
#[derive(Debug)]
pub struct Remote {
    to: String,
    stream: Option<TcpStream>,
}

/// Standard output.
#[derive(Debug)]
pub struct Stdout;

/// How long a receiver may take to accept a connection, or bytes.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

impl<W: Receiver> Lines<W> {
    /// Lines to `out`.
    pub const fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Receiver> Sink for Lines<W> {
    fn write(&mut self, rows: &Rows) -> io::Result<u64> {
        let mut lines = Vec::new();
        rows.exchanges.iter().try_for_each(|row| line(&mut lines, row))?;
        rows.events.iter().try_for_each(|row| line(&mut lines, row))?;
        self.out.take(&lines)?;
        Ok(rows.len())
    }
}

fn line<T: Serialize>(lines: &mut Vec<u8>, row: &T) -> io::Result<()> {
    serde_json::to_writer(&mut *lines, row)?;
    lines.push(b'\n');
    Ok(())
}

impl Rotated {
    /// A file at `path` of at most `bytes_max`, with `files_max` older ones.
    #[must_use]
    pub fn new(path: &Path, bytes_max: u64, files_max: u32) -> Self {
        Self { path: path.to_owned(), bytes_max, files_max, open: None }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        if self.files_max == 0 {
            return std::fs::remove_file(&self.path);
        }
        for number in (1..self.files_max).rev() {
            match std::fs::rename(self.older(number), self.older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        std::fs::rename(&self.path, self.older(1))
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn opened(&mut self) -> io::Result<&mut (File, u64)> {
        if self.open.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            let size = file.metadata()?.len();
            self.open = Some((file, size));
        }
        self.open.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Receiver for Rotated {
    fn take(&mut self, lines: &[u8]) -> io::Result<()> {
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let (bytes_max, size) = (self.bytes_max, self.opened()?.1);
            if size > 0 && size + line.len() as u64 > bytes_max {
                self.rotate()?;
            }
            let (file, size) = self.opened()?;
            let before = *size;
            if let Err(error) = file.write_all(line) {
                // Half a line, on a disk that is full, would spoil the next one.
                let _ = file.set_len(before);
                self.open = None;
                return Err(error);
            }
            *size += line.len() as u64;
        }
        Ok(())
    }
}

impl Remote {
    /// A receiver at `to`: a host and a port.
    #[must_use]
    pub fn new(to: &str) -> Self {
        Self { to: to.to_owned(), stream: None }
    }
}

/// A connection to one of the addresses that `to` has.
pub(super) fn connect(to: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in to.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Receiver for Remote {
    fn take(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.to)?,
        };
        // After an error nobody knows how much of a line has gone: the connection is not used again.
        stream.write_all(lines)?;
        self.stream = Some(stream);
        Ok(())
    }
}

impl Receiver for Stdout {
    fn take(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(lines).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            done => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::exchange;
    use fastpath::telemetry::line::ExchangeLine;
    use std::io::BufRead;

    fn rows(count: usize) -> Rows {
        let exchanges = vec![exchange("198.51.100.11", "openai", 0.0, 1.0); count];
        Rows { exchanges, events: Vec::new() }
    }

    fn directory(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("fermata-lines-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_file_is_rotated_between_lines_and_only_so_many_are_kept() {
        let (directory, mut line) = (directory("rotated"), Vec::new());
        super::line(&mut line, &rows(1).exchanges[0]).unwrap();
        let path = directory.join("x.jsonl");
        let mut sink = Lines::new(Rotated::new(&path, 3 * line.len() as u64, 2));
        assert_eq!(sink.write(&rows(20)).unwrap(), 20);
        let count = |name: &str| {
            let text = std::fs::read_to_string(directory.join(name)).unwrap();
            let parsed = text.lines().map(serde_json::from_str::<ExchangeLine>);
            parsed.map(Result::unwrap).count()
        };
        assert_eq!(["x.jsonl", "x.jsonl.1", "x.jsonl.2"].map(count), [2, 3, 3]);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 3);
        let mut again = Lines::new(Rotated::new(&path, 3 * line.len() as u64, 2));
        again.write(&rows(1)).unwrap();
        assert_eq!(count("x.jsonl"), 3, "what was there before is appended to");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn over_tcp_lines_come_whole_and_a_receiver_that_has_gone_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let mut sink = Lines::new(Remote::new(&to));
        sink.write(&rows(3)).unwrap();
        sink.write(&rows(1)).unwrap();
        drop(sink);
        let (stream, _) = listener.accept().unwrap();
        let lines = io::BufReader::new(stream).lines().map(Result::unwrap);
        let read: Vec<ExchangeLine> =
            lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
        assert_eq!(read, rows(4).exchanges);
        drop(listener);
        assert!(Lines::new(Remote::new(&to)).write(&rows(1)).is_err());
    }
}
