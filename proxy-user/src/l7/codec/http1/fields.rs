//! The header fields that frame a message or rule a connection.

use super::super::{Body, Chunks, Fault, LocalReason, Refusal, Span};
use super::lines::list;
use super::target::is_host;

/// What the fields of a head say together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) host: Option<Span>,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// `Connection: upgrade`.
    pub(super) upgrade: bool,
    /// `Upgrade: websocket`, and nothing else.
    pub(super) websocket: bool,
    pub(super) expects: bool,
    /// `Connection` names other fields.
    pub(super) names: bool,
}

impl Fields {
    /// Takes one field. `at` is the offset of its value; `reason` says whose fault a wrong one is.
    #[inline]
    pub(super) fn take(
        &mut self,
        name: &[u8],
        value: &[u8],
        at: usize,
        reason: LocalReason,
    ) -> Result<(), Refusal> {
        match name.len() {
            4 if is(name, b"host") => self.take_host(value, at, reason),
            6 if is(name, b"expect") => self.take_expect(value, reason),
            7 if is(name, b"upgrade") => {
                self.websocket = is(value, b"websocket");
                Ok(())
            }
            10 if is(name, b"connection") => self.take_connection(value, reason),
            14 if is(name, b"content-length") => self.take_length(value, reason),
            17 if is(name, b"transfer-encoding") => self.take_coding(value, reason),
            14 | 17 if name.contains(&b'_') => self.take_underscored(name, reason),
            _ => Ok(()),
        }
    }

    fn take_host(&mut self, value: &[u8], at: usize, reason: LocalReason) -> Result<(), Refusal> {
        if reason == LocalReason::BadResponse {
            return Ok(());
        }
        if self.host.is_some() {
            return Err(Refusal::fatal(reason, "more than one Host (RFC 9112, 3.2)").of(Fault::Host));
        }
        if !is_host(value) {
            return Err(Refusal::fatal(reason, "Host is not a name or address with a port (RFC 9110, 7.2)")
                .of(Fault::Host));
        }
        self.host = Some(Span::new(at, value.len()));
        Ok(())
    }

    fn take_expect(&mut self, value: &[u8], reason: LocalReason) -> Result<(), Refusal> {
        if !is(value, b"100-continue") {
            let what = "an Expect other than 100-continue (RFC 9110, 10.1.1)";
            return Err(Refusal::fatal(reason, what).of(Fault::Expect).with_status(417));
        }
        self.expects = true;
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8], reason: LocalReason) -> Result<(), Refusal> {
        for option in list(value) {
            match option.len() {
                5 if is(option, b"close") => self.close = true,
                7 if is(option, b"upgrade") => self.upgrade = true,
                10 if is(option, b"keep-alive") => self.keep_alive = true,
                4 if is(option, b"host") => return Err(nominated(reason)),
                14 if is(option, b"content-length") => return Err(nominated(reason)),
                17 if is(option, b"transfer-encoding") => return Err(nominated(reason)),
                _ => self.names = true,
            }
        }
        Ok(())
    }

    fn take_length(&mut self, value: &[u8], reason: LocalReason) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(
                Refusal::fatal(reason, "more than one Content-Length (RFC 9112, 6.3)").of(Fault::Framing)
            );
        }
        let wrong =
            Refusal::fatal(reason, "Content-Length is not 1 to 18 digits (RFC 9110, 8.6)").of(Fault::Framing);
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(wrong);
        }
        let digits = value.iter().map(|digit| u64::from(digit - b'0'));
        self.length = Some(digits.fold(0, |number, digit| number * 10 + digit));
        Ok(())
    }

    fn take_coding(&mut self, value: &[u8], reason: LocalReason) -> Result<(), Refusal> {
        if self.chunked {
            return Err(
                Refusal::fatal(reason, "more than one Transfer-Encoding (RFC 9112, 6.1)").of(Fault::Framing)
            );
        }
        if !is(value, b"chunked") {
            let what = "a Transfer-Encoding other than chunked alone (RFC 9112, 6.1)";
            let refusal = Refusal::fatal(reason, what).of(Fault::Framing);
            return Err(if reason == LocalReason::BadRequest { refusal.with_status(501) } else { refusal });
        }
        self.chunked = true;
        Ok(())
    }

    /// `Content_Length` is `Content-Length` to a CGI.
    fn take_underscored(&mut self, name: &[u8], reason: LocalReason) -> Result<(), Refusal> {
        let frames = |field: &[u8]| {
            name.len() == field.len()
                && name
                    .iter()
                    .zip(field)
                    .all(|(byte, of)| byte.eq_ignore_ascii_case(of) || (*byte == b'_' && *of == b'-'))
        };
        if frames(b"content-length") || frames(b"transfer-encoding") {
            return Err(
                Refusal::fatal(reason, "a framing field with an underscore in its name").of(Fault::Framing)
            );
        }
        Ok(())
    }

    /// How the body of a message is framed if nothing but its fields decides; `None`: they say nothing.
    pub(super) fn body(&self, http11: bool, reason: LocalReason) -> Result<Option<Body>, Refusal> {
        match (self.chunked, self.length) {
            (true, Some(_)) => {
                Err(Refusal::fatal(reason, "Transfer-Encoding and Content-Length together (RFC 9112, 6.1)")
                    .of(Fault::Framing))
            }
            (true, None) if !http11 => {
                Err(Refusal::fatal(reason, "Transfer-Encoding in HTTP/1.0 (RFC 9112, 6.1)")
                    .of(Fault::Framing))
            }
            (true, None) => Ok(Some(Body::Chunked(Chunks::default()))),
            (false, Some(0)) => Ok(Some(Body::None)),
            (false, Some(length)) => Ok(Some(Body::Length(length))),
            (false, None) => Ok(None),
        }
    }

    /// Whether the sender takes the connection to go on.
    pub(super) const fn keep(&self, http11: bool) -> bool {
        !self.close && (http11 || self.keep_alive)
    }
}

const fn nominated(reason: LocalReason) -> Refusal {
    Refusal::fatal(reason, "Connection names a field that frames or routes the message (RFC 9110, 7.6.1)")
        .of(Fault::Framing)
}

/// Compares a name with one in lower case.
#[inline]
pub(super) const fn is(name: &[u8], lower: &[u8]) -> bool {
    name.eq_ignore_ascii_case(lower)
}
