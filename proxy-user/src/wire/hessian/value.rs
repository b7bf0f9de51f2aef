//! What is read.

use std::rc::Rc;

/// A value. Containers are kept in the document, so that a reference is as good as the value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// 32 bits.
    Int(i32),
    /// 64 bits.
    Long(i64),
    /// A float.
    Double(f64),
    /// Milliseconds since 1970.
    Date(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A container: an index for [`Document::node`].
    Node(usize),
}

/// A container.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A list.
    List(Vec<Value>),
    /// A map, in its order.
    Map(Vec<(Value, Value)>),
    /// An object.
    Object {
        /// Names of its class and fields.
        class: Rc<Class>,
        /// Values, in the order of the fields.
        values: Vec<Value>,
    },
}

/// Definition of a class.
#[derive(Debug, PartialEq)]
pub struct Class {
    /// Its Java name.
    pub name: String,
    /// Its fields' names.
    pub fields: Vec<String>,
}

/// A value with all that belongs to it.
#[derive(Debug)]
pub struct Document {
    pub(super) root: Value,
    pub(super) nodes: Vec<Node>,
}

impl Document {
    /// The value itself.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// A container; none if the value is none.
    pub fn node(&self, value: &Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(*index),
            _ => None,
        }
    }

    /// A field of an object, by its name; none if there is none, or the value is no object.
    pub fn field(&self, object: &Value, name: &str) -> Option<&Value> {
        match self.node(object)? {
            Node::Object { class, values } => {
                values.get(class.fields.iter().position(|field| field == name)?)
            }
            _ => None,
        }
    }

    /// Name of an object's class.
    pub fn class(&self, object: &Value) -> Option<&str> {
        match self.node(object)? {
            Node::Object { class, .. } => Some(&class.name),
            _ => None,
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self, list: &Value) -> &[Value] {
        match self.node(list) {
            Some(Node::List(items)) => items,
            _ => &[],
        }
    }

    /// The pairs of a map; none for anything else.
    pub fn pairs(&self, map: &Value) -> &[(Value, Value)] {
        match self.node(map) {
            Some(Node::Map(pairs)) => pairs,
            _ => &[],
        }
    }
}

impl Value {
    /// The text that it is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number that it is.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(i64::from(*number)),
            Self::Long(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }
}
