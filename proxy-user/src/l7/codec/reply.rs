//! What weir answers by itself, and why.

use super::Asked;

/// Why a request is answered here: the closed list that counters, the access log and error replies share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalReason {
    /// No route has it.
    NoRoute,
    /// The route's upstream has no endpoint that may be used.
    NoUpstream,
    /// A list denies its source.
    Denied,
    /// A limit on connections, requests or pending requests is reached.
    Overloaded,
    /// No connection to an endpoint became free in time.
    QueueTimeout,
    /// The upstream did not answer in time.
    Timeout,
    /// The upstream's connection ended before its answer was complete, or could not be made.
    Reset,
    /// The client's bytes are not its protocol, or are ambiguous.
    BadRequest,
    /// A length passes a limit.
    TooLarge,
    /// The upstream's bytes are not its protocol.
    BadResponse,
    /// A fault of weir's own.
    Internal,
    /// Too much is kept for the client, of what it does not read or has not sent to its end: its connection is closed.
    Memory,
}

impl LocalReason {
    /// All, in order.
    pub const ALL: [Self; 12] = [
        Self::NoRoute,
        Self::NoUpstream,
        Self::Denied,
        Self::Overloaded,
        Self::QueueTimeout,
        Self::Timeout,
        Self::Reset,
        Self::BadRequest,
        Self::TooLarge,
        Self::BadResponse,
        Self::Internal,
        Self::Memory,
    ];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::NoUpstream => "no_upstream",
            Self::Denied => "denied",
            Self::Overloaded => "overloaded",
            Self::QueueTimeout => "queue_timeout",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::BadRequest => "bad_request",
            Self::TooLarge => "too_large",
            Self::BadResponse => "bad_response",
            Self::Internal => "internal",
            Self::Memory => "memory",
        }
    }

    /// The HTTP status that says it.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::NoRoute => 404,
            Self::NoUpstream | Self::Overloaded | Self::QueueTimeout | Self::Memory => 503,
            Self::Denied => 403,
            Self::Timeout => 504,
            Self::Reset | Self::BadResponse => 502,
            Self::BadRequest => 400,
            Self::TooLarge => 413,
            Self::Internal => 500,
        }
    }

    /// What a client is told, in one line.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoRoute => "no route",
            Self::NoUpstream => "no backend available",
            Self::Denied => "denied",
            Self::Overloaded => "overloaded",
            Self::QueueTimeout => "no connection to a backend in time",
            Self::Timeout => "backend timed out",
            Self::Reset => "connection to the backend failed",
            Self::BadRequest => "bad request",
            Self::TooLarge => "too large",
            Self::BadResponse => "bad answer from the backend",
            Self::Internal => "internal error",
            Self::Memory => "too much is kept for this client",
        }
    }
}

/// What is wrong with a client's bytes that are not taken: the closed list that counters and the access log share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No codec of the service knows the first bytes of the connection.
    Protocol,
    /// Start line, fields, lines' ends, a frame's kind.
    Syntax,
    /// A version of the protocol.
    Version,
    /// A method that is not offered or not written as one.
    Method,
    /// What is asked for: URL (also as a route makes it, if that is too long), target of CONNECT, Bolt headers that route.
    Target,
    /// The host: none, two, or none that can be one.
    Host,
    /// Where the message ends cannot be told, or two readers would tell otherwise.
    Framing,
    /// An `Expect` that is not `100-continue`.
    Expect,
    /// The head passes its bounds.
    HeadSize,
    /// The body or the whole message passes its bound.
    BodySize,
    /// A checksum is wrong.
    Checksum,
    /// It did not come to its end in time.
    Late,
}

impl Fault {
    /// All, in order.
    pub const ALL: [Self; 12] = [
        Self::Protocol,
        Self::Syntax,
        Self::Version,
        Self::Method,
        Self::Target,
        Self::Host,
        Self::Framing,
        Self::Expect,
        Self::HeadSize,
        Self::BodySize,
        Self::Checksum,
        Self::Late,
    ];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Syntax => "syntax",
            Self::Version => "version",
            Self::Method => "method",
            Self::Target => "target",
            Self::Host => "host",
            Self::Framing => "framing",
            Self::Expect => "expect",
            Self::HeadSize => "head_size",
            Self::BodySize => "body_size",
            Self::Checksum => "checksum",
            Self::Late => "late",
        }
    }
}

/// Bytes that a codec does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// Whose fault it is, and what the client is told.
    pub reason: LocalReason,
    /// A finer HTTP status than the reason's (414, 417, 431, 501, 505).
    pub status: u16,
    /// What, why, and the rule that it breaks.
    pub what: &'static str,
    /// Of what kind that is; `None` where the bytes are not to blame.
    pub fault: Option<Fault>,
    /// The request, as far as it could be read: an answer can be addressed to it.
    pub asked: Option<Asked>,
    /// The message's end is known: the connection can go on after this many bytes (as a [`super::Body::Length`] to be
    /// thrown away). 0: it can't, and is closed after the answer.
    pub skip: u64,
}

impl Refusal {
    /// A refusal after which nothing on the connection can be trusted.
    #[must_use]
    pub const fn fatal(reason: LocalReason, what: &'static str) -> Self {
        let fault = match reason {
            LocalReason::BadRequest => Some(Fault::Syntax),
            LocalReason::TooLarge => Some(Fault::BodySize),
            _ => None,
        };
        Self { reason, status: reason.http_status(), what, fault, asked: None, skip: 0 }
    }

    /// The same of a kind that its reason does not tell.
    #[must_use]
    pub const fn of(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// The same with another HTTP status.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The answer to it.
    #[must_use]
    pub const fn reply(&self) -> Reply<'static> {
        Reply {
            status: self.status,
            reason: Some(self.reason),
            headers: &[],
            body: &[],
            close: self.skip == 0,
        }
    }
}

/// An answer of weir's own.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// HTTP status; a codec maps it to its own.
    pub status: u16,
    /// Why, if it is an error. Without a body its text is the body.
    pub reason: Option<LocalReason>,
    /// Headers (`location` of a redirect), as far as the protocol has any.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// Body, as far as the protocol can have one of any form.
    pub body: &'a [u8],
    /// The connection closes after it: a request's body was not read to its end.
    pub close: bool,
}

impl Reply<'static> {
    /// The answer that says `reason`.
    #[must_use]
    pub const fn error(reason: LocalReason, close: bool) -> Self {
        Self { status: reason.http_status(), reason: Some(reason), headers: &[], body: &[], close }
    }
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyEnd {
    /// Written; the connection goes on.
    Keep,
    /// Written; the connection must be closed after it.
    Close,
    /// Nothing is written, since the client waits for nothing (one-way); the connection goes on.
    Silent,
    /// Nothing can be said in this protocol: the connection must be closed.
    Mute,
}
