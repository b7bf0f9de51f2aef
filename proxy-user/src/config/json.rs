//! JSON in which no key of an object stands twice: which of two counts is nothing to guess at.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// A value whose objects have each key once; else it is not read, and the error's path is the second of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once(pub Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

/// For `deserialize_with` of a field that may be left out.
///
/// # Errors
/// As the reader's.
pub fn once<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Option::<Once>::deserialize(from).map(|value| value.map(|once| once.0))
}

/// Reads text; an error says where, by the keys.
///
/// # Errors
/// What is wrong with it.
pub fn read_json(text: &str) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = serde_path_to_error::deserialize::<_, Once>(&mut reader);
    let value = read.map_err(|error| match error.path().to_string().as_str() {
        "." => error.inner().to_string(),
        path => format!("{path}: {}", error.inner()),
    })?;
    reader.end().map_err(|error| error.to_string())?;
    Ok(value.0)
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value of JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(item)) = from.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            if object.contains_key(&key) {
                from.next_value_seed(Twice(&key))?;
            }
            let Once(value) = from.next_value()?;
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

/// Where a key's second value would be read, so that the error is found there.
struct Twice<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Twice<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom(format_args!("`{}` stands twice in one object; keep one of the two", self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_once_and_all_else_is_as_ever() {
        let text = r#"{"a":[1,-2,0.5,true,null,"x\u00e9"],"b":{"a":{}},"c":18446744073709551615}"#;
        assert_eq!(read_json(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        let error = read_json(r#"{"l7":{"access":1},"route":[{},{"to":"a","to":"b"}]}"#).unwrap_err();
        assert!(error.starts_with("route[1].to: `to` stands twice"), "{error}");
        let error = read_json(r#"{"codec":"http1","codec":"tcp"}"#).unwrap_err();
        assert!(error.starts_with("codec: `codec` stands twice"), "{error}");
        assert!(read_json("{} {}").is_err() && read_json("{").is_err());
    }
}
