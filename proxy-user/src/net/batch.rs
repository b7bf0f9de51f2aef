//! Many look-ups in one system call: ten thousand new backends must not cost ten thousand round trips.
//!
//! The kernel works through all messages of a send before it returns, so every answer is there when it does.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::netlink::NetlinkError;

/// A socket for look-ups. Belongs to the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Batch {
    socket: Socket,
    sequence: u32,
}

/// The kernel's answer to one request: an object, none if there is nothing to say, or its errno.
pub(super) type Answer = Result<Option<RouteNetlinkMessage>, io::Error>;

impl Batch {
    /// Opens a socket in the current thread's network namespace.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        Ok(Self { socket: open().map_err(NetlinkError::Open)?, sequence: 0 })
    }

    /// Sends requests that have one answer each: look-ups, or changes with `NLM_F_ACK` among the `flags` (`NLM_F_*` beside
    /// `NLM_F_REQUEST`). Answers are in the order of the requests. Other tasks may run in between.
    ///
    /// # Errors
    /// [`NetlinkError::Lost`]: open another socket then.
    pub(super) async fn ask(
        &mut self,
        what: &str,
        flags: u16,
        requests: Vec<RouteNetlinkMessage>,
    ) -> Result<Vec<Answer>, NetlinkError> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter();
        while !requests.as_slice().is_empty() {
            let some = self.exchange(flags, requests.by_ref().take(AT_ONCE));
            answers.extend(some.map_err(|_| NetlinkError::Lost { what: what.to_owned() })?);
            tokio::task::yield_now().await;
        }
        Ok(answers)
    }

    fn exchange(
        &mut self,
        flags: u16,
        requests: impl Iterator<Item = RouteNetlinkMessage>,
    ) -> io::Result<Vec<Answer>> {
        let first = self.sequence;
        let mut sent = Vec::new();
        for request in requests {
            let mut message = NetlinkMessage::from(request);
            message.header.flags = NLM_F_REQUEST | flags;
            message.header.sequence_number = self.sequence;
            message.finalize();
            self.sequence = self.sequence.wrapping_add(1);
            let (start, length) = (sent.len(), message.buffer_len());
            sent.resize(start + length, 0);
            message.serialize(sent.get_mut(start..).unwrap_or_default());
        }
        let wanted = self.sequence.wrapping_sub(first);
        self.socket.send(&sent, 0)?;
        let mut answers: Vec<Answer> = Vec::with_capacity(wanted as usize);
        let mut buffer = Vec::with_capacity(LARGEST_ANSWER);
        for expected in (0..wanted).map(|number| first.wrapping_add(number)) {
            buffer.clear();
            self.socket.recv(&mut buffer, 0)?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if answer.header.sequence_number != expected {
                return Err(io::ErrorKind::InvalidData.into());
            }
            answers.push(match answer.payload {
                NetlinkPayload::InnerMessage(object) => Ok(Some(object)),
                NetlinkPayload::Error(error) if error.code.is_none() => Ok(None),
                NetlinkPayload::Error(error) => Err(error.to_io()),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            });
        }
        Ok(answers)
    }
}

/// Requests in one send: their answers, each in a buffer of its own, fit a socket's default receive buffer.
const AT_ONCE: usize = 64;
/// A route or neighbour is far below a kilobyte.
const LARGEST_ANSWER: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::{neighbour, nexthop};
    use super::*;

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_requests() {
        let mut batch = Batch::open().unwrap();
        let asked: Vec<IpAddr> = (0..1_000_u32).map(|n| IpAddr::V4((0x7f00_0001 + n).into())).collect();
        let requests = asked.iter().map(|addr| nexthop::request(*addr)).collect();
        let answers = batch.ask("look up routes", 0, requests).await.unwrap();
        assert_eq!(answers.len(), asked.len());
        assert!(answers.iter().all(Result::is_ok), "every one of them is the host itself");
        let absent = neighbour::request(9_999, "192.0.2.1".parse().unwrap());
        let answers = batch.ask("look up a neighbour", 0, vec![absent]).await.unwrap();
        assert!(answers[0].is_err());
        assert!(batch.ask("nothing", 0, Vec::new()).await.unwrap().is_empty());
    }
}
