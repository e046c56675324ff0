//! A TCP connection that its requests can break: by RST, or by a FIN where none is due.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use socket2::Socket;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::plan::Cut;

/// The handle a request holds on its connection.
pub(crate) struct Connection {
    /// The client's end.
    pub(crate) client: SocketAddr,
    /// A second descriptor of the socket: the first belongs to hyper, and the last one closed
    /// decides how it ends.
    socket: Socket,
    cut: Mutex<Option<Cut>>,
    wake: Notify,
}

impl Connection {
    /// Takes a second descriptor of an accepted stream.
    pub(crate) fn new(stream: &TcpStream, client: SocketAddr) -> io::Result<Self> {
        let socket = socket2::SockRef::from(stream).try_clone()?;
        Ok(Self { client, socket, cut: Mutex::new(None), wake: Notify::new() })
    }

    /// Asks for the end of the connection; the task that serves it does the rest.
    pub(crate) fn cut(&self, by: Cut) {
        *self.cut.lock().expect("no holder of this lock panics") = Some(by);
        self.wake.notify_one();
    }

    /// Waits until a request asks for the end, and makes the coming close a RST if it wants one.
    pub(crate) async fn cut_asked(&self) {
        self.wake.notified().await;
        let by = self.cut.lock().expect("no holder of this lock panics").take();
        if by == Some(Cut::Rst) {
            // With no lingering, close throws away what is unsent and sends RST. If that fails a
            // FIN goes out instead, and `compare` shows it.
            let _ = self.socket.set_linger(Some(Duration::ZERO));
        }
    }
}

#[cfg(test)]
impl Connection {
    /// A connection to nowhere: enough for a body that only asks for the end.
    pub(crate) fn to_nowhere() -> Self {
        let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let client = SocketAddr::from(([198, 51, 100, 11], 4000));
        Self { client, socket, cut: Mutex::new(None), wake: Notify::new() }
    }
}
