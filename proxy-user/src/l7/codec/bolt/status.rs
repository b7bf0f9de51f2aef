//! Statuses: Bolt's, HTTP's, and those that say a reason of weir's own.

use super::super::{LocalReason, Reply};
use crate::wire::bolt::status;

/// The status of an error reply. A Java client makes an exception of each, and of TIMEOUT, BUSY and CODEC their own.
pub(super) const fn of_reason(reason: LocalReason) -> u16 {
    match reason {
        LocalReason::NoRoute | LocalReason::NoUpstream => status::NO_PROCESSOR,
        LocalReason::Denied => status::SERVER_EXCEPTION,
        LocalReason::Overloaded | LocalReason::QueueTimeout | LocalReason::Memory => status::BUSY,
        LocalReason::Timeout => status::TIMEOUT,
        LocalReason::Reset => status::CONNECTION_CLOSED,
        LocalReason::BadRequest | LocalReason::TooLarge => status::CODEC,
        LocalReason::BadResponse | LocalReason::Internal => status::UNKNOWN,
    }
}

pub(super) const fn of_http(http: u16) -> u16 {
    match http {
        200..=299 => status::SUCCESS,
        403 => status::SERVER_EXCEPTION,
        404 => status::NO_PROCESSOR,
        400 | 413 => status::CODEC,
        429 | 503 => status::BUSY,
        502 => status::CONNECTION_CLOSED,
        504 => status::TIMEOUT,
        _ => status::UNKNOWN,
    }
}

pub(super) const fn to_http(wire: u16) -> u16 {
    match wire {
        status::SUCCESS => 200,
        status::BUSY => 503,
        status::TIMEOUT => 504,
        status::CONNECTION_CLOSED => 502,
        _ => 500,
    }
}

/// The status of an answer of weir's own.
pub(super) fn of_reply(reply: &Reply<'_>) -> u16 {
    reply.reason.map_or_else(|| of_http(reply.status), of_reason)
}

/// What Java calls it.
pub(super) const fn name(status: u16) -> &'static str {
    match status {
        status::SUCCESS => "SUCCESS",
        status::SERVER_EXCEPTION => "SERVER_EXCEPTION",
        status::UNKNOWN => "UNKNOWN",
        status::BUSY => "SERVER_THREADPOOL_BUSY",
        status::NO_PROCESSOR => "NO_PROCESSOR",
        status::TIMEOUT => "TIMEOUT",
        status::CODEC => "CODEC_EXCEPTION",
        status::CONNECTION_CLOSED => "CONNECTION_CLOSED",
        _ => "ERROR",
    }
}
