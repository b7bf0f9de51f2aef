//! A route-netlink socket: one request, one typed answer or error.
//!
//! The only place that knows how requests are sent; everything else builds messages and reads answers. A socket
//! belongs to the network namespace of the thread that opened it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use tokio::task::AbortHandle;

/// Why the kernel did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error(
        "cannot open a NETLINK_ROUTE socket: {0}; allow AF_NETLINK to weir (systemd: RestrictAddressFamilies)"
    )]
    Open(#[source] io::Error),
    /// The kernel's answer is an error.
    #[error("the kernel refused to {what}: {source}{}", cure(source))]
    Refused {
        /// What was asked, as a verb phrase.
        what: String,
        /// The kernel's errno.
        source: io::Error,
    },
    /// No answer.
    #[error("no answer from the kernel when asked to {what}: the netlink socket is lost; ask again")]
    Lost {
        /// What was asked, as a verb phrase.
        what: String,
    },
}

impl NetlinkError {
    /// The kernel's errno, if it answered.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } | Self::Open(source) => source.raw_os_error(),
            Self::Lost { .. } => None,
        }
    }
}

fn cure(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; run weir as root or with CAP_NET_ADMIN",
        _ => "",
    }
}

/// A socket for requests. Cheap to clone; the socket closes with the last clone.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: Handle,
    _driver: Arc<Driver>,
}

impl Netlink {
    /// Opens a socket in the current thread's network namespace. Must be called within a tokio runtime, which then
    /// drives it.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        let (mut connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        // With these an end of the stream without an answer is a loss, never a success.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        let driver = Arc::new(Driver(tokio::spawn(connection).abort_handle()));
        Ok(Self { handle, _driver: driver })
    }

    /// Sends a request that changes something and waits for the acknowledgement. `flags` are `NLM_F_*` beside
    /// `NLM_F_REQUEST` and `NLM_F_ACK`.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`], [`NetlinkError::Lost`].
    pub async fn change(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.request(what, message, flags | NLM_F_ACK).await.map(drop)
    }

    /// Asks for one object.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`], [`NetlinkError::Lost`].
    pub async fn one(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, NetlinkError> {
        let answers = self.request(what, message, 0).await?.messages;
        answers.into_iter().next().ok_or_else(|| NetlinkError::Lost { what: what.to_owned() })
    }

    /// Asks for all objects of a kind. A dump that the kernel marks as interrupted by a change is taken again.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`], [`NetlinkError::Lost`].
    pub async fn dump(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut answers = self.request(what, message.clone(), NLM_F_DUMP).await?;
        for _ in 0..DUMP_RETRIES {
            if !answers.interrupted {
                break;
            }
            answers = self.request(what, message.clone(), NLM_F_DUMP).await?;
        }
        Ok(answers.messages)
    }

    async fn request(
        &self,
        what: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Answers, NetlinkError> {
        let lost = || NetlinkError::Lost { what: what.to_owned() };
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut stream = self.handle.clone().request(request).map_err(|_| lost())?;
        let collect = async {
            let mut answers = Answers { messages: Vec::new(), interrupted: false };
            let mut done = false;
            while let Some(answer) = stream.next().await {
                done = true;
                answers.interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => answers.messages.push(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(NetlinkError::Refused { what: what.to_owned(), source: error.to_io() });
                    }
                    NetlinkPayload::Overrun(_) => return Err(lost()),
                    _ => {}
                }
            }
            if done { Ok(answers) } else { Err(lost()) }
        };
        tokio::time::timeout(ANSWER_TIME, collect).await.map_err(|_| lost())?
    }
}

/// The task that reads and writes the socket. It would not end by itself while no unasked message arrives.
#[derive(Debug)]
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Answers {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}

/// Set by the kernel on a dump during which the dumped objects changed.
const NLM_F_DUMP_INTR: u16 = 0x10;
const DUMP_RETRIES: usize = 4;
/// The kernel answers at once; an answer lost to a full socket buffer would otherwise be waited for without end.
const ANSWER_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    #[tokio::test]
    async fn asks_for_loopback_and_reports_errno() {
        let netlink = Netlink::open().unwrap();
        let links =
            netlink.dump("list links", RouteNetlinkMessage::GetLink(LinkMessage::default())).await.unwrap();
        assert!(!links.is_empty());
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName("weir-none".into()));
        let error =
            netlink.one("look up weir-none", RouteNetlinkMessage::GetLink(message)).await.unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENODEV));
        assert!(error.to_string().contains("look up weir-none"), "{error}");
    }
}
