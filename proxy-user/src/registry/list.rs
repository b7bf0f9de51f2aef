//! The registries that weir can speak to: one line each, and everything else asks here.

use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::fault::Fault;
use super::source::{Client, Parcel, Publication, Query};

/// What weir knows of a kind of registry before it speaks to one.
#[derive(Debug)]
pub struct Kind {
    /// The word of `kind = "..."`.
    pub name: &'static str,
    /// Keys of a `discover` table that it understands, beside `registry`, `service` and `zone`.
    pub options: &'static [&'static str],
    /// Whether what is asked of it can be asked.
    pub check_query: fn(&Query) -> Result<(), Fault>,
    /// How VIPs are registered there; none where that is not possible.
    pub publish: Option<Publish>,
    /// Schema of its `[registry.NAME]`, without `kind`.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Turns its `[registry.NAME]`, without `kind`, into settings. Paths are relative to the directory.
    pub check: fn(toml::Table, &Path) -> Result<Settings, Fault>,
}

/// How VIPs are registered with a kind of registry.
#[derive(Debug)]
pub struct Publish {
    /// Keys of a `publish` table that it understands, beside `registry` and `service`.
    pub options: &'static [&'static str],
    /// Whether what is to be registered can be.
    pub check: fn(&Publication) -> Result<(), Fault>,
    /// Whether what is registered outlives its session, for the time of a lease.
    pub leased: bool,
}

macro_rules! kinds {
    ($($(#[$on:meta])* $variant:ident = $module:ident as $name:literal, publishes: $publish:expr;)*) => {
        /// Checked settings of a registry, without secrets.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Settings {
            $($(#[$on])* #[doc = concat!("Of kind `", $name, "`.")] $variant(super::$module::settings::Settings),)*
        }

        /// Every kind that this weir is built with, by name.
        pub static KINDS: &[Kind] = &[$($(#[$on])* Kind {
            name: $name,
            options: super::$module::settings::OPTIONS,
            check_query: super::$module::settings::check_query,
            publish: $publish,
            schema: <super::$module::settings::Raw as JsonSchema>::json_schema,
            check: |table, dir| {
                let raw: super::$module::settings::Raw = read(table)?;
                Ok(Settings::$variant(raw.check(dir)?))
            },
        },)*];

        /// The words of every kind that there is, built in or not.
        pub const NAMES: &[&str] = &[$($name,)*];

        impl Settings {
            /// The word of `kind = "..."`.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $($(#[$on])* Self::$variant(_) => $name,)* }
            }

            /// Whether what is registered outlives its session.
            #[must_use]
            pub fn leased(&self) -> bool {
                kind(self.kind()).and_then(|kind| kind.publish.as_ref()).is_some_and(|publish| publish.leased)
            }

            /// Whether a connection that was made with these settings may serve the others: only times differ.
            #[must_use]
            pub fn keeps_connection(&self, other: &Self) -> bool {
                match (self, other) {
                    #[cfg(feature = "sofa")]
                    (Self::Sofa(own), Self::Sofa(other)) => own.differ_in_times(other),
                    _ => false,
                }
            }

            /// A client for this registry, not connected yet. It goes on with what another process hands over, if anything.
            #[must_use]
            pub fn client(&self, taken_over: Option<Parcel>) -> Box<dyn Client> {
                match self {
                    $($(#[$on])* Self::$variant(settings) => super::$module::client(settings, taken_over),)*
                }
            }
        }
    };
}

kinds! {
    #[cfg(feature = "dns")] Dns = dns as "dns", publishes: None;
    #[cfg(feature = "etcd")] Etcd = etcd as "etcd", publishes: Some(Publish {
        options: super::etcd::settings::PUBLISH_OPTIONS,
        check: super::etcd::settings::check_publication,
        leased: true,
    });
    File = file as "file", publishes: None;
    #[cfg(feature = "sofa")] Sofa = sofa as "sofa", publishes: Some(Publish {
        options: super::sofa::settings::PUBLISH_OPTIONS,
        check: super::sofa::settings::check_publication,
        leased: false,
    });
}

/// The kind of this name, if weir is built with it.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

fn read<T: serde::de::DeserializeOwned>(table: toml::Table) -> Result<T, Fault> {
    table.try_into().map_err(|error: toml::de::Error| Fault {
        key: "kind",
        message: error.message().to_owned(),
        hint: "docs/configuration.md says what each key takes".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_and_options_of_its_own() {
        assert!(NAMES.is_sorted() && KINDS.iter().map(|kind| kind.name).is_sorted());
        for kind in KINDS {
            let publish = kind.publish.as_ref().map_or(&[][..], |publish| publish.options);
            assert!(!kind.options.contains(&"zone"), "{}", kind.name);
            let own = |word: &&str| matches!(*word, "registry" | "service");
            assert!(!kind.options.iter().chain(publish).any(own), "{}", kind.name);
            assert!(super::kind(kind.name).is_some_and(|found| found.name == kind.name));
        }
    }

    #[cfg(feature = "sofa")]
    #[test]
    fn a_connection_is_kept_where_only_times_differ() {
        let settings = |text: &str| {
            let text = format!("servers = [\"192.0.2.1:9600\"]\n{text}");
            (kind("sofa").unwrap().check)(toml::from_str(&text).unwrap(), Path::new("/")).unwrap()
        };
        let own = settings("");
        assert!(own.keeps_connection(&settings("refresh = \"10s\"\nheartbeat = \"5s\"")));
        for other in ["group = \"SOFA\"", "app = \"other\"", "attributes = { key = \"value\" }"] {
            assert!(!own.keeps_connection(&settings(other)), "{other}");
        }
        let file = (kind("file").unwrap().check)(toml::Table::new(), Path::new("/")).unwrap();
        assert!(!file.keeps_connection(&file.clone()), "it has none");
        assert!(!own.leased() && !file.leased());
    }
}
