//! The way to a running data plane: one JSON object a line over its Unix socket, with a limit on
//! every wait.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastpath::ipc::{ErrorReply, LINE_BYTES_MAX, Reply, Request};

/// How long a reply may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection to the data plane.
#[derive(Debug)]
pub struct Link {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

/// Why the data plane gave no answer.
#[derive(Debug)]
pub enum LinkError {
    /// Nobody listens at the socket.
    NotConnected(PathBuf, io::Error),
    /// The socket may not be used by this user.
    NotAllowed(PathBuf),
    /// It listens, but does not answer in time.
    TimedOut(PathBuf),
    /// The connection broke.
    Broken(PathBuf, io::Error),
    /// The answer cannot be understood: another version.
    NotUnderstood(PathBuf, String),
    /// It answered that it cannot do this.
    Refused(ErrorReply),
}

impl Link {
    /// Connects to the data plane that listens at `socket`.
    ///
    /// # Errors
    /// When nobody listens there or this user may not connect.
    pub fn connect(socket: &Path) -> Result<Self, LinkError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => LinkError::NotAllowed(socket.to_owned()),
            _ => LinkError::NotConnected(socket.to_owned(), error),
        };
        // A connect to a Unix socket does not wait, unless the listener's queue is full.
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream
            .set_read_timeout(Some(REPLY_TIMEOUT))
            .and_then(|()| stream.set_write_timeout(Some(REPLY_TIMEOUT)))
            .map_err(failed)?;
        Ok(Self { socket: socket.to_owned(), stream: BufReader::new(stream) })
    }

    /// Sends `request` and waits for its reply.
    ///
    /// # Errors
    /// When there is none in time, or it is an error.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, LinkError> {
        let not_understood = |error: serde_json::Error| {
            LinkError::NotUnderstood(self.socket.clone(), error.to_string())
        };
        let mut line = serde_json::to_vec(request).map_err(not_understood)?;
        line.push(b'\n');
        let broken = |error| failed(&self.socket, error);
        self.stream.get_mut().write_all(&line).map_err(broken)?;
        line.clear();
        let mut limited = (&mut self.stream).take(LINE_BYTES_MAX as u64);
        limited.read_until(b'\n', &mut line).map_err(|error| failed(&self.socket, error))?;
        if line.is_empty() {
            let error = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(LinkError::Broken(self.socket.clone(), error));
        }
        match serde_json::from_slice(&line).map_err(not_understood)? {
            Reply::Error(error) => Err(LinkError::Refused(error)),
            reply => Ok(reply),
        }
    }

    /// The error for a reply to something else than was asked.
    #[must_use]
    pub fn unexpected(&self) -> LinkError {
        let text = "the reply is to another request".to_owned();
        LinkError::NotUnderstood(self.socket.clone(), text)
    }
}

/// Sends `request`, and takes what `pick` finds in the reply.
///
/// # Errors
/// When there is no reply in time, it is an error, or `pick` finds nothing.
pub fn ask<T>(
    link: &mut Link,
    request: &Request,
    pick: impl FnOnce(Reply) -> Option<T>,
) -> Result<T, LinkError> {
    let reply = link.ask(request)?;
    pick(reply).ok_or_else(|| link.unexpected())
}

impl LinkError {
    /// The exit code of the contract.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotConnected(..) | Self::NotAllowed(_) | Self::TimedOut(_) | Self::Broken(..) => {
                5
            }
            Self::NotUnderstood(..) | Self::Refused(_) => 1,
        }
    }

    /// The error object of the contract.
    #[must_use]
    pub fn reply(&self) -> ErrorReply {
        let (code, message, hint) = match self {
            Self::NotConnected(_, error) => (
                "not_connected",
                format!("no data plane listens here ({})", reason(error)),
                "start it: `fermata-fastpath --help` shows how; or name its socket with --socket PATH; \
                 `fermata check` looks at the whole deployment; for a capture add `--read FILE`",
            ),
            Self::NotAllowed(_) => (
                "not_allowed",
                "this user may not talk to the data plane".to_owned(),
                "run it as root or as a member of the group that owns the socket",
            ),
            Self::TimedOut(_) => (
                "timed_out",
                format!("the data plane did not answer within {} s", REPLY_TIMEOUT.as_secs()),
                "it may be stopped or overloaded: `fermata check` shows its last sign of life",
            ),
            Self::Broken(_, error) => (
                "not_connected",
                format!("the data plane closed the connection ({})", reason(error)),
                "it has probably ended: see its log, then start it again",
            ),
            Self::NotUnderstood(_, text) => (
                "not_understood",
                format!("the data plane's answer cannot be understood: {text}"),
                "`fermata` and `fermata-fastpath` must be of one version: `fermata check` compares them",
            ),
            Self::Refused(error) => return error.clone(),
        };
        ErrorReply {
            code: code.to_owned(),
            message,
            path: self.socket().map(|path| path.display().to_string()),
            hint: Some(hint.to_owned()),
        }
    }

    fn socket(&self) -> Option<&Path> {
        match self {
            Self::NotConnected(path, _)
            | Self::NotAllowed(path)
            | Self::TimedOut(path)
            | Self::Broken(path, _)
            | Self::NotUnderstood(path, _) => Some(path),
            Self::Refused(_) => None,
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reply().message)
    }
}

impl std::error::Error for LinkError {}

fn failed(socket: &Path, error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            LinkError::TimedOut(socket.to_owned())
        }
        _ => LinkError::Broken(socket.to_owned(), error),
    }
}

fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket",
        io::ErrorKind::ConnectionRefused => "the socket is left over from a process that has ended",
        io::ErrorKind::UnexpectedEof => "without an answer",
        _ => "the connection failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn socket(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("fermata-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    /// A data plane that reads one line and answers with `reply`.
    fn with_reply(name: &str, reply: &'static str) -> Result<Reply, LinkError> {
        let path = socket(name);
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (&stream).write_all(reply.as_bytes()).unwrap();
            line
        });
        let reply = Link::connect(&path).unwrap().ask(&Request::Clients);
        assert_eq!(server.join().unwrap(), "{\"request\":\"clients\"}\n");
        std::fs::remove_file(&path).unwrap();
        reply
    }

    #[test]
    fn a_missing_socket_is_exit_code_5_and_says_how_to_start() {
        let error = Link::connect(&socket("missing")).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.reply().hint.unwrap().contains("fermata-fastpath"));
    }

    #[test]
    fn a_reply_is_read_and_an_error_is_refused() {
        assert_eq!(with_reply("ok", "{\"clients\":[]}\n").unwrap(), Reply::Clients(Vec::new()));
        let refused = with_reply(
            "no",
            "{\"error\":{\"code\":\"busy\",\"message\":\"m\",\"path\":null,\"hint\":null}}\n",
        );
        assert_eq!(refused.unwrap_err().reply().code, "busy");
    }

    #[test]
    fn nonsense_is_not_understood_and_silence_is_broken() {
        assert_eq!(with_reply("nonsense", "hello\n").unwrap_err().exit_code(), 1);
        assert!(matches!(with_reply("silent", ""), Err(LinkError::Broken(..))));
    }
}
