//! Messages in Hessian, as version 5 speaks it and version 6 understands it. Fields are found by their names: their order
//! and number differ between versions.

use std::collections::BTreeMap;
use std::time::Instant;

use super::budget::Budget;
use super::message::{Answer, MAX_SEGMENTS, MODEL, Push, Registration, Segment, What};
use crate::wire::hessian::{Document, Value, Writer, read};

/// A registration's content.
pub(super) fn registration(registration: &Registration) -> Vec<u8> {
    let mut writer = Writer::new();
    match &registration.what {
        What::Subscriber { scope, multi } => {
            let fields = [&["scope", "acceptEncoding", "acceptMulti"], &BASE[..]].concat();
            let class = writer.define(&format!("{MODEL}SubscriberRegister"), &fields);
            writer.object(class);
            writer.text(scope);
            // Only Protobuf bodies are read packed.
            writer.null();
            writer.bool(*multi);
        }
        What::Publisher(texts) => {
            let class =
                writer.define(&format!("{MODEL}PublisherRegister"), &[&["dataList"], &BASE[..]].concat());
            writer.object(class);
            writer.list(texts.len());
            let mut data_box = None;
            for text in texts {
                let class =
                    *data_box.get_or_insert_with(|| writer.define(&format!("{MODEL}DataBox"), &["data"]));
                writer.object(class);
                writer.text(text);
            }
            writer.end();
        }
    }
    writer.text(&registration.instance);
    writer.text(super::ZONE);
    writer.text(&registration.app);
    writer.text(&registration.data_id);
    writer.text(&registration.group);
    writer.null();
    writer.text(&registration.regist_id);
    // clientId, dataInfoId, ip, port: the server knows better.
    (0..4).for_each(|_| writer.null());
    writer.text(if registration.end { "UNREGISTER" } else { "REGISTER" });
    writer.long(registration.version);
    writer.long(registration.timestamp);
    writer.map();
    for (key, value) in &registration.attributes {
        writer.text(key);
        writer.text(value);
    }
    writer.end();
    writer.into_bytes()
}

/// The acknowledgement's content.
pub(super) fn ack() -> Vec<u8> {
    let mut writer = Writer::new();
    let class = writer.define(&format!("{MODEL}Result"), &["success", "message"]);
    writer.object(class);
    writer.bool(true);
    writer.null();
    writer.into_bytes()
}

/// Reads the answer to a registration.
pub(super) fn answer(content: &[u8]) -> Result<Answer, String> {
    let (document, class) = object(content)?;
    if class != "RegisterResponse" {
        return Err(format!("a {class} in the place of a RegisterResponse"));
    }
    let is = |name| document.field(document.root(), name).is_some_and(Value::is_true);
    let message = text(&document, document.root(), "message").unwrap_or_default();
    Ok(Answer { success: is("success"), refused: is("refused"), message })
}

/// The text of an error that a server answers with, if it is one.
pub(super) fn error_text(content: &[u8]) -> Option<String> {
    let document = read(content).ok()?;
    text(&document, document.root(), "detailMessage")
}

/// Reads a push.
pub(super) fn push(content: &[u8], received: Instant) -> Result<Push, String> {
    let (document, class) = object(content)?;
    if class != "ReceivedData" {
        return Err(format!("a {class} in the place of a ReceivedData"));
    }
    let root = document.root();
    let name = text(&document, root, "segment").unwrap_or_default();
    let zones = match document.field(root, "data") {
        Some(data) => zones(&document, data, &mut Budget::of(content.len())),
        None => Err("it has no data".to_owned()),
    };
    let version = number(&document, root, "version");
    head(&document, vec![Segment { name, version, zones }], false, received)
}

/// Reads a push of several data centres.
pub(super) fn multi_push(content: &[u8], received: Instant) -> Result<Push, String> {
    let (document, class) = object(content)?;
    if class != "MultiReceivedData" {
        return Err(format!("a {class} in the place of a MultiReceivedData"));
    }
    let all = document.field(document.root(), "multiData").map(|all| document.pairs(all)).unwrap_or_default();
    let mut budget = Budget::of(content.len());
    let segments = all.iter().map(|(name, segment)| {
        let zones = match document.field(segment, "unzipData") {
            Some(data) if *data != Value::Null => zones(&document, data, &mut budget),
            _ => Err("it is packed, which weir has not offered".to_owned()),
        };
        let name = name.text().unwrap_or_default().to_owned();
        Segment { name, version: number(&document, segment, "version"), zones }
    });
    // One more than are taken, so that it is seen.
    head(&document, segments.take(MAX_SEGMENTS + 1).collect(), true, received)
}

fn head(document: &Document, segments: Vec<Segment>, whole: bool, received: Instant) -> Result<Push, String> {
    let root = document.root();
    let ids = document.field(root, "subscriberRegistIds").ok_or("it names no subscriber")?;
    let regist_ids =
        document.items(ids).iter().filter_map(|id| id.text()).map(str::to_owned).collect::<Vec<_>>();
    let scope = text(document, root, "scope").unwrap_or_default();
    Ok(Push { regist_ids, scope, segments, whole, received })
}

fn object(content: &[u8]) -> Result<(Document, String), String> {
    let document = read(content).map_err(|error| error.to_string())?;
    let class = document.class(document.root()).ok_or("no object")?;
    let short = class.strip_prefix(MODEL).unwrap_or(class).to_owned();
    Ok((document, short))
}

/// A map of zones: each a list of boxes, or an object that has the list.
fn zones(
    document: &Document,
    data: &Value,
    budget: &mut Budget,
) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut zones = BTreeMap::new();
    for (zone, boxes) in document.pairs(data) {
        let zone = zone.text().ok_or("a zone without a name")?;
        budget.text(zone)?;
        let mut texts = Vec::new();
        for item in document.items(document.field(boxes, "data").unwrap_or(boxes)) {
            let text = document.field(item, "data").and_then(Value::text).unwrap_or_default();
            budget.text(text)?;
            texts.push(text.to_owned());
        }
        zones.insert(zone.to_owned(), texts);
    }
    Ok(zones)
}

fn text(document: &Document, object: &Value, name: &str) -> Option<String> {
    document.field(object, name)?.text().map(str::to_owned)
}

fn number(document: &Document, object: &Value, name: &str) -> i64 {
    document.field(object, name).and_then(Value::number).unwrap_or_default()
}

/// Fields of every registration, after its own.
const BASE: [&str; 15] = [
    "instanceId",
    "zone",
    "appName",
    "dataId",
    "group",
    "processId",
    "registId",
    "clientId",
    "dataInfoId",
    "ip",
    "port",
    "eventType",
    "version",
    "timestamp",
    "attributes",
];
