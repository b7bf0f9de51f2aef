//! Questions as bytes, and what the bytes of an answer say. No sockets.
//!
//! The message format is hickory's; which records answer the question, and what an answer without records means, is decided
//! here.

use std::net::IpAddr;

use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// A question, to be sent once.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The message.
    pub bytes: Vec<u8>,
    id: u16,
    name: Name,
    kind: RecordType,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// Records of the wanted kind.
    Records(Records),
    /// The name is an alias of this one, of which the answer says nothing more.
    Alias(Name),
    /// There is nothing, for this many seconds.
    Nothing { nxdomain: bool, ttl: u32 },
    /// There is more than fits: ask over TCP.
    Truncated,
    /// The server does not know extensions: ask without.
    Plain,
    /// The server cannot or will not say.
    Failed(String),
    /// No answer to this question; the right one may still come.
    Stray,
}

/// Records of the wanted kind, and addresses that came along.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Records {
    /// Of A and AAAA.
    pub addrs: Vec<IpAddr>,
    /// Of SRV.
    pub targets: Vec<SRV>,
    /// Addresses of targets, from the additional section.
    pub along: Vec<(Name, IpAddr)>,
    /// For how many seconds all of it holds.
    pub ttl: u32,
}

impl Asked {
    /// A question for `name`, which is taken as fully qualified. `extended`: with EDNS, for answers up to 1,232 bytes.
    pub(super) fn new(name: &Name, kind: RecordType, extended: bool) -> Result<Self, String> {
        let mut name = name.clone();
        name.set_fqdn(true);
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), kind));
        if extended {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_UDP).set_version(0);
            message.set_edns(edns);
        }
        let bytes = message.to_vec().map_err(|error| format!("the question cannot be written: {error}"))?;
        Ok(Self { bytes, id: message.metadata.id, name, kind })
    }

    /// Reads what a server has sent.
    pub(super) fn read(&self, bytes: &[u8]) -> Reply {
        // Whoever does not know the id does not answer; and what cannot be read may be somebody else's.
        if bytes.get(..2) != Some(&self.id.to_be_bytes()) {
            return Reply::Stray;
        }
        if !fits(bytes) {
            return self.unreadable(bytes, "it says that it has more records than fit into it");
        }
        let message = match Message::from_vec(bytes) {
            Ok(message) => message,
            Err(error) => return self.unreadable(bytes, &error.to_string()),
        };
        let head = &message.metadata;
        let ours = match message.queries.as_slice() {
            [query] => query.name() == &self.name && query.query_type() == self.kind,
            // Some servers leave the question out of an error.
            [] => head.response_code != ResponseCode::NoError,
            _ => false,
        };
        if head.message_type != MessageType::Response || head.op_code != OpCode::Query || !ours {
            return Reply::Stray;
        }
        match head.response_code {
            _ if head.truncation => Reply::Truncated,
            ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS => Reply::Plain,
            ResponseCode::NoError | ResponseCode::NXDomain => self.answer(&message),
            code => Reply::Failed(word(code)),
        }
    }

    /// A message that breaks off may have been cut by who said so in its head.
    fn unreadable(&self, bytes: &[u8], error: &str) -> Reply {
        match bytes.get(2) {
            Some(flags) if flags & 0x82 == 0x82 => Reply::Truncated,
            _ => Reply::Failed(format!("an answer that cannot be read: {error}")),
        }
    }

    fn answer(&self, message: &Message) -> Reply {
        let mut name = &self.name;
        let mut ttl = u32::MAX;
        let mut aliases = 0;
        // Aliases come in any order, and a chain may be a ring.
        loop {
            let alias =
                message.answers.iter().filter(|r| r.dns_class == DNSClass::IN).find_map(|r| match &r.data {
                    RData::CNAME(target) if &r.name == name => Some((&target.0, r.ttl)),
                    _ => None,
                });
            let Some((target, holds)) = alias else { break };
            (name, ttl, aliases) = (target, ttl.min(holds), aliases + 1);
            if aliases > MAX_ALIASES {
                return Reply::Failed(format!("more than {MAX_ALIASES} aliases in a row"));
            }
        }
        let found = self.records(message, name, ttl);
        if !found.addrs.is_empty() || !found.targets.is_empty() {
            return Reply::Records(found);
        }
        let head = &message.metadata;
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        let nxdomain = head.response_code == ResponseCode::NXDomain;
        if name != &self.name && soa.is_none() && !nxdomain {
            return Reply::Alias(name.clone());
        }
        let delegates =
            soa.is_none() && message.authorities.iter().any(|r| r.record_type() == RecordType::NS);
        let known = head.authoritative || (head.recursion_available && !delegates);
        if !known {
            return Reply::Failed("it refers to other servers instead of answering".to_owned());
        }
        Reply::Nothing { nxdomain, ttl: ttl.min(soa.unwrap_or(0)) }
    }

    fn records(&self, message: &Message, name: &Name, mut ttl: u32) -> Records {
        let mut found = Records::default();
        let named = |record: &&Record| record.dns_class == DNSClass::IN && &record.name == name;
        for record in message.answers.iter().filter(named).filter(|r| r.record_type() == self.kind) {
            match &record.data {
                RData::A(a) => found.addrs.push(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => found.addrs.push(IpAddr::V6(aaaa.0)),
                RData::SRV(srv) => found.targets.push(srv.clone()),
                _ => continue,
            }
            ttl = ttl.min(record.ttl);
        }
        if self.kind == RecordType::SRV {
            for record in message.additionals.iter().filter(|r| r.dns_class == DNSClass::IN) {
                let addr = match &record.data {
                    RData::A(a) => IpAddr::V4(a.0),
                    RData::AAAA(aaaa) => IpAddr::V6(aaaa.0),
                    _ => continue,
                };
                found.along.push((record.name.clone(), addr));
                ttl = ttl.min(record.ttl);
            }
        }
        found.ttl = ttl;
        found
    }
}

/// For fuzzing: whatever a server sends, no panic, and no more records than its bytes can hold.
pub(super) fn fuzz(data: &[u8]) {
    let Ok(name) = Name::from_ascii("web.example.") else { return };
    for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
        let Ok(mut asked) = Asked::new(&name, kind, true) else { return };
        asked.id = data.get(..2).map_or(0, |id| id.iter().fold(0, |id, b| id << 8 | u16::from(*b)));
        if let Reply::Records(found) = asked.read(data) {
            assert!((found.addrs.len() + found.targets.len() + found.along.len()) * 11 <= data.len());
        }
    }
}

/// Whether as many questions and records as the head counts can be in a message: room for all that are counted is made
/// before any is read.
fn fits(bytes: &[u8]) -> bool {
    let count = |at: usize| {
        let count = bytes.get(at..).and_then(<[u8]>::first_chunk);
        count.map_or(0, |count| usize::from(u16::from_be_bytes(*count)))
    };
    count(4) * SHORTEST_QUESTION + (count(6) + count(8) + count(10)) * SHORTEST_RECORD <= bytes.len()
}

fn word(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("error {}", other.to_str()),
    }
}

/// A root name, type and class, in bytes;
const SHORTEST_QUESTION: usize = 5;
/// and with these a TTL, a length, and no data.
const SHORTEST_RECORD: usize = 11;
/// What is asked for over UDP: never cut into fragments on the way.
const MAX_UDP: u16 = 1232;
/// Longest chain of aliases in one answer.
const MAX_ALIASES: usize = 16;
