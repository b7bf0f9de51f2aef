//! Made by `cargo xtask proto` from `proxy-user/proto/sofaregistry.proto`: change that file, not this one.
#![allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code; names, comments and unused items are the generator's"
)]

/// What a registration of either kind says of itself.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct BaseRegister {
    #[prost(string, tag = "1")]
    pub instance_id: ::prost::alloc::string::String,
    /// Zone of the client.
    #[prost(string, tag = "2")]
    pub zone: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub app_name: ::prost::alloc::string::String,
    #[prost(string, tag = "4")]
    pub data_id: ::prost::alloc::string::String,
    #[prost(string, tag = "5")]
    pub group: ::prost::alloc::string::String,
    /// Stable name of the registration.
    #[prost(string, tag = "7")]
    pub regist_id: ::prost::alloc::string::String,
    /// REGISTER or UNREGISTER.
    #[prost(string, tag = "12")]
    pub event_type: ::prost::alloc::string::String,
    /// Only a registration with a higher version than the one before counts.
    #[prost(int64, tag = "13")]
    pub version: i64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "14")]
    pub timestamp: i64,
    /// Credentials and free attributes.
    #[prost(map = "string, string", tag = "15")]
    pub attributes:
        ::std::collections::HashMap<::prost::alloc::string::String, ::prost::alloc::string::String>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct PublisherRegister {
    #[prost(message, repeated, tag = "1")]
    pub data_list: ::prost::alloc::vec::Vec<DataBox>,
    #[prost(message, optional, tag = "2")]
    pub base_register: ::core::option::Option<BaseRegister>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct SubscriberRegister {
    /// zone, dataCenter or global, in this case.
    #[prost(string, tag = "1")]
    pub scope: ::prost::alloc::string::String,
    #[prost(message, optional, tag = "2")]
    pub base_register: ::core::option::Option<BaseRegister>,
    /// Compressions that the client reads, comma-separated without blanks; the first that the server has counts.
    #[prost(string, tag = "3")]
    pub accept_encoding: ::prost::alloc::string::String,
    /// Whether the client takes MultiReceivedData.
    #[prost(bool, tag = "4")]
    pub accept_multi: bool,
}
/// Answer to a registration.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct RegisterResponse {
    #[prost(bool, tag = "1")]
    pub success: bool,
    #[prost(string, tag = "2")]
    pub regist_id: ::prost::alloc::string::String,
    #[prost(int64, tag = "3")]
    pub version: i64,
    #[prost(bool, tag = "4")]
    pub refused: bool,
    #[prost(string, tag = "5")]
    pub message: ::prost::alloc::string::String,
}
/// One published text.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct DataBox {
    #[prost(string, tag = "1")]
    pub data: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct DataBoxes {
    #[prost(message, repeated, tag = "1")]
    pub data: ::prost::alloc::vec::Vec<DataBox>,
}
/// A push: all that is published under a name, in one data centre.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ReceivedData {
    #[prost(string, tag = "1")]
    pub data_id: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub group: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub instance_id: ::prost::alloc::string::String,
    /// Data centre.
    #[prost(string, tag = "4")]
    pub segment: ::prost::alloc::string::String,
    #[prost(string, tag = "5")]
    pub scope: ::prost::alloc::string::String,
    #[prost(string, repeated, tag = "6")]
    pub subscriber_regist_ids: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// By the publishers' zone.
    #[prost(map = "string, message", tag = "7")]
    pub data: ::std::collections::HashMap<::prost::alloc::string::String, DataBoxes>,
    #[prost(int64, tag = "8")]
    pub version: i64,
    #[prost(string, tag = "9")]
    pub local_zone: ::prost::alloc::string::String,
    /// Of the body, which then takes the place of data.
    #[prost(string, tag = "10")]
    pub encoding: ::prost::alloc::string::String,
    #[prost(bytes = "vec", tag = "11")]
    pub body: ::prost::alloc::vec::Vec<u8>,
    /// Bytes of the body before compression.
    #[prost(int32, tag = "12")]
    pub origin_body_size: i32,
}
/// What a compressed body has in it.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct ReceivedDataBody {
    #[prost(map = "string, message", tag = "7")]
    pub data: ::std::collections::HashMap<::prost::alloc::string::String, DataBoxes>,
}
/// A push with several data centres.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct MultiReceivedData {
    #[prost(string, tag = "1")]
    pub data_id: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub group: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub instance_id: ::prost::alloc::string::String,
    #[prost(string, tag = "4")]
    pub scope: ::prost::alloc::string::String,
    #[prost(string, repeated, tag = "5")]
    pub subscriber_regist_ids: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    #[prost(string, tag = "6")]
    pub local_segment: ::prost::alloc::string::String,
    #[prost(string, tag = "7")]
    pub local_zone: ::prost::alloc::string::String,
    #[prost(map = "string, message", tag = "8")]
    pub multi_data: ::std::collections::HashMap<::prost::alloc::string::String, MultiSegmentData>,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct MultiSegmentData {
    #[prost(string, tag = "1")]
    pub segment: ::prost::alloc::string::String,
    /// Compressed, in the place of unzip_data.
    #[prost(bytes = "vec", tag = "2")]
    pub zip_data: ::prost::alloc::vec::Vec<u8>,
    #[prost(map = "string, message", tag = "3")]
    pub unzip_data: ::std::collections::HashMap<::prost::alloc::string::String, DataBoxes>,
    #[prost(string, tag = "4")]
    pub encoding: ::prost::alloc::string::String,
    #[prost(int64, tag = "5")]
    pub version: i64,
    #[prost(map = "string, int32", tag = "6")]
    pub push_data_count: ::std::collections::HashMap<::prost::alloc::string::String, i32>,
}
/// Answer to a push.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Result {
    #[prost(bool, tag = "1")]
    pub success: bool,
    #[prost(string, tag = "2")]
    pub message: ::prost::alloc::string::String,
}
