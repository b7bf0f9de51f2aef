//! SOFABolt frames, versions 1 and 2: spoken to SOFARegistry, and by the L7 codec `bolt`. All numbers big-endian.
//!
//! ```text
//! v1  proto=1 | kind | command u16 | ver2 | id u32 | codec | ...
//! v2  proto=2 | ver1 | kind | command u16 | ver2 | id u32 | codec | switch | ...
//!
//! request, one-way   ... timeout i32 | class i16 | header i16 | content i32 | class, header, content | [crc u32]
//! response           ... status u16  | class i16 | header i16 | content i32 | class, header, content | [crc u32]
//! ```
//!
//! A v2 frame ends with a CRC-32 (IEEE) of all bytes before it if `ver1` is 2 and bit 0 of `switch` is set; no length
//! counts it. Java reads the lengths as signed numbers, so a set top bit is a fault here too.
//!
//! Source: sofa-bolt 1.6, `RpcProtocol`, `RpcProtocolV2` and their encoders.

mod encode;
mod frame;
mod head;
mod headers;
#[cfg(test)]
mod tests;

pub use encode::{
    encode, encode_error, encode_goaway, encode_head, encode_heartbeat, encode_heartbeat_reply, put_header,
};
pub use frame::{Frame, patch_id};
pub use head::{FrameLimits, Head, Kind, Parsed, Version};
pub use headers::Headers;

/// Command codes.
pub mod command {
    /// Heartbeat, and its answer.
    pub const HEARTBEAT: u16 = 0;
    /// Request of an RPC.
    pub const REQUEST: u16 = 1;
    /// Response of an RPC.
    pub const RESPONSE: u16 = 2;
    /// MOSN's go-away. Java's sofa-bolt ends the connection when it sees it.
    pub const GOAWAY: u16 = 100;
}

/// Serialization of class and content.
pub mod codec {
    /// Hessian 2.
    pub const HESSIAN2: u8 = 1;
    /// Protocol Buffers.
    pub const PROTOBUF: u8 = 11;
}

/// Statuses of a response.
pub mod status {
    /// Success.
    pub const SUCCESS: u16 = 0;
    /// An error of no kind below.
    pub const ERROR: u16 = 1;
    /// The server's processor threw.
    pub const SERVER_EXCEPTION: u16 = 2;
    /// Unknown.
    pub const UNKNOWN: u16 = 3;
    /// The server's threads are busy.
    pub const BUSY: u16 = 4;
    /// Communication failed.
    pub const COMMUNICATION: u16 = 5;
    /// No processor for the class.
    pub const NO_PROCESSOR: u16 = 6;
    /// Timed out.
    pub const TIMEOUT: u16 = 7;
    /// The client could not send.
    pub const CLIENT_SEND: u16 = 8;
    /// The frame could not be read.
    pub const CODEC: u16 = 9;
    /// The connection closed.
    pub const CONNECTION_CLOSED: u16 = 0x10;
    /// The server could not serialize.
    pub const SERVER_SERIALIZE: u16 = 0x11;
    /// The server could not deserialize.
    pub const SERVER_DESERIALIZE: u16 = 0x12;
}

/// Bytes that are no Bolt frame, or one that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoltError {
    /// The first byte.
    #[error(
        "bolt: protocol {0} where 1 or 2 begins a frame; the peer speaks something else, or lost its place"
    )]
    Protocol(u8),
    /// The second byte of v2.
    #[error("bolt: version {0} of protocol 2; 1 and 2 are known")]
    Version(u8),
    /// The kind of the frame.
    #[error("bolt: frame of kind {0}; 0 response, 1 request, 2 one-way are known")]
    Kind(u8),
    /// A length with the top bit set.
    #[error("bolt: {0} has a negative length; the peer's encoder overflowed")]
    Negative(&'static str),
    /// More than the limit.
    #[error(
        "bolt: a frame of {len} bytes; at most {max} are taken (raise the limit if such frames are meant)"
    )]
    TooLong {
        /// Bytes of the frame.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// A part that does not fit its length field.
    #[error("bolt: {0} of more bytes than its length field can say")]
    Overflow(&'static str),
    /// A header map whose lengths do not add up.
    #[error("bolt: the header map's lengths do not add up to its size; the peer's encoder is at fault")]
    HeaderMap,
    /// Wrong checksum.
    #[error("bolt: CRC of the frame is {found:#010x}, computed {computed:#010x}; bytes changed on the way")]
    Crc {
        /// In the frame.
        found: u32,
        /// Of the frame.
        computed: u32,
    },
    /// Fewer bytes than the head says.
    #[error("bolt: {have} bytes where the frame has {need}; read on before using it")]
    Short {
        /// Bytes there.
        have: usize,
        /// Bytes of the frame.
        need: usize,
    },
}
