//! A client's connection.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::LabError;

/// Connects from the calling thread's namespace, and from an address if one is given. `timeout` is for connecting and for
/// every read and write.
pub(super) fn connect(
    to: SocketAddr,
    from: Option<IpAddr>,
    timeout: Duration,
) -> Result<TcpStream, LabError> {
    let connect = || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        socket.connect_timeout(&to.into(), timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        Ok(TcpStream::from(socket))
    };
    connect().map_err(LabError::at(format!("connect to {to}")))
}
