//! A worker as its own process, with real clients, other proxies and hostile bytes around it.

#[cfg(test)]
mod answers;
#[cfg(test)]
mod backend;
#[cfg(test)]
mod bed;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod idle;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the tests of registries, which need more of it")]
#[path = "../peers/jars.rs"]
mod jars;
#[cfg(test)]
#[path = "../peers/java.rs"]
mod java;
#[cfg(test)]
mod mosn;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod proxies;
#[cfg(test)]
mod shortage;
#[cfg(test)]
mod sofarpc;
#[cfg(test)]
mod table;
#[cfg(test)]
mod targets;
