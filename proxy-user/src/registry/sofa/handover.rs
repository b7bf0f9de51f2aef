//! A session's connection on its way to another process. Any doubt, and it connects anew.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::book::Book;
use super::core::{Core, Phase, Subject};
use super::inbox::Inbox;
use super::link::Stopped;
use super::message::{Dialect, Registration, What};
use super::page::Pages;
use super::query::Asked;
use crate::model::BackendAddr;
use crate::registry::source::{Parcel, Publication, Query};

/// What goes with the socket. No secret is in it.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    format: u32,
    peer: SocketAddr,
    dialect: Dialect,
    next_id: u32,
    publications: Vec<Item>,
    queries: Vec<Item>,
    /// Begin of a frame, base64.
    unread: String,
}

/// A registration.
#[derive(Debug, Serialize, Deserialize)]
struct Item {
    service: String,
    options: BTreeMap<String, String>,
    /// Of a VIP.
    address: Option<SocketAddr>,
    regist_id: String,
    version: i64,
    /// Whether the server has it.
    done: bool,
    /// Whether it is to end.
    ending: bool,
    /// What was registered: where, and the text.
    what: [String; 3],
}

/// A connection as it was handed over.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) peer: SocketAddr,
    pub(super) socket: TcpStream,
    pub(super) unread: Vec<u8>,
    state: State,
}

/// Packs a session; none if it cannot be handed over.
pub(super) fn pack(core: &Core, peer: SocketAddr, stopped: Stopped) -> Option<Parcel> {
    if stopped.unread.len() > MAX_UNREAD || !core.proven {
        return None;
    }
    let mut state = State {
        format: FORMAT,
        peer,
        dialect: core.dialect,
        next_id: core.next_id,
        publications: Vec::new(),
        queries: Vec::new(),
        unread: BASE64_STANDARD.encode(stopped.unread),
    };
    for (name, entry) in &core.entries {
        let (list, service, options, address) = match &entry.subject {
            Subject::Query(query, _) => (&mut state.queries, &query.service, &query.options, None),
            Subject::Publication(publication) => {
                let at = SocketAddr::new(publication.address.addr, publication.address.port);
                (&mut state.publications, &publication.service, &publication.options, Some(at))
            }
        };
        list.push(Item {
            service: service.clone(),
            options: options.clone(),
            address,
            regist_id: name.clone(),
            version: entry.version,
            done: matches!(entry.phase, Phase::Done { .. }),
            ending: entry.ending,
            what: what(&entry.subject.registration(&core.settings, name)),
        });
    }
    Some(Parcel { socket: stopped.socket, state: serde_json::to_vec(&state).ok()? })
}

/// Unpacks a session, or says why it is not to be trusted.
pub(super) fn unpack(parcel: Parcel) -> Result<Received, String> {
    let state: State = serde_json::from_slice(&parcel.state).map_err(|error| error.to_string())?;
    if state.format != FORMAT {
        return Err(format!("its format is {}, this is {FORMAT}", state.format));
    }
    let socket = TcpStream::from(parcel.socket);
    let fault = socket.take_error().map_err(|error| error.to_string())?;
    let peer = socket.peer_addr().map_err(|error| error.to_string())?;
    if fault.is_some() || peer != state.peer {
        return Err(format!("the connection is not what it was: {peer}, {fault:?}"));
    }
    let unread = BASE64_STANDARD.decode(&state.unread).map_err(|error| error.to_string())?;
    Ok(Received { peer, socket, unread, state })
}

impl Received {
    /// Goes on with what is registered. VIPs stay as they are; the queries' sets are asked for again. False if something
    /// would be registered in another way today.
    pub(super) fn restore(&self, core: &mut Core, inbox: &Inbox) -> bool {
        core.dialect = self.state.dialect;
        core.proven = true;
        core.next_id = self.state.next_id;
        for item in &self.state.publications {
            let Some(address) = item.address else { return false };
            let publication = Arc::new(Publication {
                service: item.service.clone(),
                options: item.options.clone(),
                address: BackendAddr { addr: address.ip(), port: address.port() },
            });
            if !item.put(core, Subject::Publication(publication)) {
                return false;
            }
        }
        for item in &self.state.queries {
            let query = Arc::new(Query { service: item.service.clone(), options: item.options.clone() });
            let book = Book::new(Asked::of(&query, &core.settings), Pages::new());
            inbox.subscribe(&item.regist_id);
            if !item.put(core, Subject::Query(query, book)) {
                return false;
            }
        }
        true
    }
}

impl Item {
    fn put(&self, core: &mut Core, subject: Subject) -> bool {
        let same = what(&subject.registration(&core.settings, &self.regist_id)) == self.what;
        let stays = self.done && !self.ending && matches!(subject, Subject::Publication(_));
        core.restore(subject, (self.regist_id.clone(), self.version), self.ending, stays.then(Instant::now));
        same
    }
}

fn what(registration: &Registration) -> [String; 3] {
    let what = match &registration.what {
        What::Subscriber { scope, .. } => (*scope).to_owned(),
        What::Publisher(texts) => texts.join("\n"),
    };
    [registration.group.clone(), registration.instance.clone(), what]
}

const FORMAT: u32 = 1;
const MAX_UNREAD: usize = 8 << 20;
