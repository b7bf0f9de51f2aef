//! Messages in Protobuf, as version 6 speaks it.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use prost::Message;

use super::budget::{Budget, DATA, MULTI};
use super::generated as pb;
use super::message::{Answer, Push, Registration, Segment, What};
use super::unpack::{ACCEPTED, MAX_BODY, unpack};

/// A registration's content.
pub(super) fn registration(registration: &Registration) -> Vec<u8> {
    let base_register = Some(pb::BaseRegister {
        instance_id: registration.instance.clone(),
        zone: super::ZONE.to_owned(),
        app_name: registration.app.clone(),
        data_id: registration.data_id.clone(),
        group: registration.group.clone(),
        regist_id: registration.regist_id.clone(),
        event_type: if registration.end { "UNREGISTER" } else { "REGISTER" }.to_owned(),
        version: registration.version,
        timestamp: registration.timestamp,
        attributes: registration.attributes.clone().into_iter().collect(),
    });
    match &registration.what {
        What::Subscriber { scope, multi } => pb::SubscriberRegister {
            scope: (*scope).to_owned(),
            base_register,
            accept_encoding: ACCEPTED.to_owned(),
            accept_multi: *multi,
        }
        .encode_to_vec(),
        What::Publisher(texts) => pb::PublisherRegister {
            data_list: texts.iter().map(|text| pb::DataBox { data: text.clone() }).collect(),
            base_register,
        }
        .encode_to_vec(),
    }
}

/// The acknowledgement's content.
pub(super) fn ack() -> Vec<u8> {
    pb::Result { success: true, message: String::new() }.encode_to_vec()
}

/// Reads the answer to a registration.
pub(super) fn answer(content: &[u8]) -> Result<Answer, String> {
    let answer = pb::RegisterResponse::decode(content).map_err(|error| error.to_string())?;
    Ok(Answer { success: answer.success, refused: answer.refused, message: answer.message })
}

/// Reads a push.
pub(super) fn push(content: &[u8], received: Instant) -> Result<Push, String> {
    let mut budget = Budget::of(content.len());
    budget.message(content, &DATA)?;
    let data = pb::ReceivedData::decode(content).map_err(|error| error.to_string())?;
    let zones = if data.encoding.is_empty() {
        Ok(texts(data.data))
    } else {
        unpack(&data.encoding, &data.body, data.origin_body_size).and_then(|body| zones(&body, &mut budget))
    };
    Ok(Push {
        regist_ids: data.subscriber_regist_ids,
        scope: data.scope,
        segments: vec![Segment { name: data.segment, version: data.version, zones }],
        whole: true,
        received,
    })
}

/// Reads a push of several data centres.
pub(super) fn multi_push(content: &[u8], received: Instant) -> Result<Push, String> {
    let mut budget = Budget::of(content.len());
    budget.message(content, &MULTI)?;
    let data = pb::MultiReceivedData::decode(content).map_err(|error| error.to_string())?;
    // Together no more than one push may unpack to.
    let mut left = MAX_BODY;
    let segments = data.multi_data.into_iter().map(|(name, segment)| {
        let zones = if segment.zip_data.is_empty() {
            Ok(texts(segment.unzip_data))
        } else {
            // How large it was, a segment does not say.
            unpack(&segment.encoding, &segment.zip_data, i32::try_from(left).unwrap_or(i32::MAX)).and_then(
                |body| {
                    left = left.saturating_sub(body.len());
                    zones(&body, &mut budget)
                },
            )
        };
        Segment { name, version: segment.version, zones }
    });
    Ok(Push {
        segments: segments.collect(),
        regist_ids: data.subscriber_regist_ids,
        scope: data.scope,
        whole: true,
        received,
    })
}

fn zones(body: &[u8], budget: &mut Budget) -> Result<BTreeMap<String, Vec<String>>, String> {
    budget.message(body, &DATA)?;
    pb::ReceivedDataBody::decode(body).map(|body| texts(body.data)).map_err(|error| error.to_string())
}

fn texts(data: HashMap<String, pb::DataBoxes>) -> BTreeMap<String, Vec<String>> {
    data.into_iter().map(|(zone, boxes)| (zone, boxes.data.into_iter().map(|b| b.data).collect())).collect()
}
