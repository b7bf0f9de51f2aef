//! What weir and the server say to each other, whichever way it is written.

use std::collections::BTreeMap;
use std::time::Instant;

use super::budget::MAX_ENTRIES;
use super::unpack::MAX_BODY;
use super::{hessian, protobuf};
use crate::wire::bolt::{self, Head, Kind, Version};

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Dialect {
    /// Version 6.
    Protobuf,
    /// Version 5, and 6 as well.
    Hessian,
}

/// A registration, or its end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Registration {
    pub(super) what: What,
    pub(super) instance: String,
    pub(super) app: String,
    pub(super) data_id: String,
    pub(super) group: String,
    pub(super) regist_id: String,
    /// Whether it ends.
    pub(super) end: bool,
    pub(super) version: i64,
    /// Milliseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) attributes: BTreeMap<String, String>,
}

/// What is registered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A subscriber.
    Subscriber {
        /// In the server's case.
        scope: &'static str,
        /// Whether several data centres may come in one push.
        multi: bool,
    },
    /// A publisher, with its texts.
    Publisher(Vec<String>),
}

/// The answer to a registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) success: bool,
    pub(super) refused: bool,
    pub(super) message: String,
}

/// All that is published under a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Push {
    pub(super) regist_ids: Vec<String>,
    pub(super) scope: String,
    pub(super) segments: Vec<Segment>,
    /// Whether no other data centre has a push of its own. Version 6 answers a subscription with all data centres at once
    /// that it has; version 5 with one after the other.
    pub(super) whole: bool,
    /// When its last byte was read.
    pub(super) received: Instant,
}

/// What is published in one data centre.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) version: i64,
    /// Texts by zone, or why they cannot be read.
    pub(super) zones: Result<BTreeMap<String, Vec<String>>, String>,
}

/// A message from the server that weir asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushClass {
    /// Data, written so.
    Data(Dialect),
    /// Data of several data centres.
    Multi(Dialect),
}

impl PushClass {
    /// By the name of the class alone: the codec byte of a push says Hessian whatever it is.
    pub(super) fn of(class: &[u8]) -> Option<Self> {
        let (dialect, rest) = match class.strip_prefix(PB.as_bytes()) {
            Some(rest) => (Dialect::Protobuf, rest.strip_suffix(b"Pb")?),
            None => (Dialect::Hessian, class.strip_prefix(MODEL.as_bytes())?),
        };
        match rest {
            b"ReceivedData" => Some(Self::Data(dialect)),
            b"MultiReceivedData" => Some(Self::Multi(dialect)),
            _ => None,
        }
    }

    /// Reads the push.
    pub(super) fn read(self, content: &[u8], received: Instant) -> Result<Push, String> {
        let push = match self {
            Self::Data(Dialect::Protobuf) => protobuf::push(content, received),
            Self::Multi(Dialect::Protobuf) => protobuf::multi_push(content, received),
            Self::Data(Dialect::Hessian) => hessian::push(content, received),
            Self::Multi(Dialect::Hessian) => hessian::multi_push(content, received),
        }?;
        if push.segments.len() > MAX_SEGMENTS {
            return Err(format!("more than {MAX_SEGMENTS} data centres"));
        }
        // They are kept with each subscription.
        let longest = push.segments.iter().map(|segment| segment.name.len()).max();
        if longest.max(Some(push.scope.len())) > Some(MAX_NAME) {
            return Err(format!("a data centre or scope with a name of more than {MAX_NAME} bytes"));
        }
        Ok(push)
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Data(dialect) | Self::Multi(dialect) => dialect,
        }
    }
}

impl Dialect {
    fn codec(self) -> u8 {
        match self {
            Self::Protobuf => bolt::codec::PROTOBUF,
            Self::Hessian => bolt::codec::HESSIAN2,
        }
    }

    /// Reads the answer to a registration.
    pub(super) fn answer(self, content: &[u8]) -> Result<Answer, String> {
        match self {
            Self::Protobuf => protobuf::answer(content),
            Self::Hessian => hessian::answer(content),
        }
    }
}

/// Appends a registration's frame.
pub(super) fn encode(registration: &Registration, dialect: Dialect, id: u32, out: &mut Vec<u8>) {
    let name = match registration.what {
        What::Subscriber { .. } => "SubscriberRegister",
        What::Publisher(_) => "PublisherRegister",
    };
    let (class, content) = match dialect {
        Dialect::Protobuf => (format!("{PB}{name}Pb"), protobuf::registration(registration)),
        Dialect::Hessian => (format!("{MODEL}{name}"), hessian::registration(registration)),
    };
    let kind = Kind::Request { timeout: TIMEOUT_MS };
    frame(Version::V1, kind, bolt::command::REQUEST, id, dialect.codec(), class.as_bytes(), &content, out);
}

/// Appends the acknowledgement of a push, or says that nobody here reads its class.
pub(super) fn encode_ack(push: &Head, class: Option<PushClass>, out: &mut Vec<u8>) {
    let Some(class) = class else {
        return bolt::encode_error(push.version, push.id, push.codec, bolt::status::NO_PROCESSOR, out);
    };
    let (name, content) = match class.dialect() {
        Dialect::Protobuf => (format!("{PB}ResultPb"), protobuf::ack()),
        Dialect::Hessian => (format!("{MODEL}Result"), hessian::ack()),
    };
    let kind = Kind::Response { status: bolt::status::SUCCESS };
    let (command, codec) = (bolt::command::RESPONSE, class.dialect().codec());
    frame(push.version, kind, command, push.id, codec, name.as_bytes(), &content, out);
}

#[expect(clippy::too_many_arguments, reason = "the fields of a frame's head, one after the other")]
fn frame(
    version: Version,
    kind: Kind,
    command: u16,
    id: u32,
    codec: u8,
    class: &[u8],
    content: &[u8],
    out: &mut Vec<u8>,
) {
    let head =
        Head { version, kind, command, ver2: 1, id, codec, class_len: 0, header_len: 0, content_len: 0 };
    // Texts that are longer than 2 GiB: nothing is sent, nothing is answered.
    if let Err(error) = bolt::encode(&head, class, &[], content, out) {
        tracing::error!(%error, "a registration cannot be written");
    }
}

/// Java package of the Protobuf messages.
const PB: &str = "com.alipay.sofa.registry.common.model.client.pb.";
/// Java package of the Hessian messages.
pub(super) const MODEL: &str = "com.alipay.sofa.registry.core.model.";
/// Most data centres.
pub(super) const MAX_SEGMENTS: usize = 64;
const MAX_NAME: usize = 256;
/// How long the server may let a registration wait in its queue.
const TIMEOUT_MS: i32 = 3000;

impl Segment {
    /// Texts in it, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        let texts = self.zones.iter().flatten().flat_map(|(_, texts)| texts);
        texts.fold((0, 0), |(count, bytes), text| (count + 1, bytes + text.len()))
    }
}

/// For fuzzing: whatever is pushed, no panic, and no more of it than came.
pub fn fuzz_push(data: &[u8]) {
    let now = Instant::now();
    for dialect in [Dialect::Protobuf, Dialect::Hessian] {
        for class in [PushClass::Data(dialect), PushClass::Multi(dialect)] {
            if let Ok(push) = class.read(data, now) {
                assert!(push.regist_ids.len() <= data.len());
                let sizes = push.segments.iter().map(Segment::size);
                let (texts, bytes) = sizes.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
                assert!(texts <= MAX_ENTRIES && bytes <= data.len().max(MAX_BODY));
            }
        }
        drop(dialect.answer(data));
    }
}
