//! Real peers of the endpoint path: SOFARegistry's own server with its Java client, SOFARPC providers and consumers,
//! etcd and knot, started and stopped by the tests in namespaces of their own. What is not installed is left out, and
//! said so. `tests/peers/README.md` says how each starts by hand.

#[cfg(test)]
mod bed;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of the data path, which use all of it")]
#[path = "../live/daemon.rs"]
mod daemon;
#[cfg(test)]
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "sofa")]
#[cfg(test)]
mod end_to_end;
#[cfg(test)]
mod etcd;
#[cfg(test)]
mod http;
#[cfg(test)]
mod jars;
#[cfg(test)]
mod java;
#[cfg(test)]
mod knot;
#[cfg(feature = "sofa")]
#[cfg(test)]
mod manager;
#[cfg(feature = "sofa")]
#[cfg(test)]
mod manager_double;
#[cfg(all(feature = "etcd", feature = "sofa"))]
#[cfg(test)]
mod meddler;
#[cfg(all(feature = "dns", feature = "etcd", feature = "sofa"))]
#[cfg(test)]
mod names;
#[cfg(all(feature = "etcd", feature = "sofa"))]
#[cfg(test)]
mod nemesis;
#[cfg(test)]
mod process;
#[cfg(test)]
mod program;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod rpc;
#[cfg(test)]
mod scratch;
#[cfg(test)]
mod smoke;
#[cfg(feature = "sofa")]
#[cfg(test)]
mod sofa;
#[cfg(all(feature = "etcd", feature = "sofa"))]
#[cfg(test)]
mod sources;
#[cfg(feature = "sofa")]
#[cfg(test)]
mod stored;
#[cfg(all(feature = "etcd", feature = "sofa"))]
#[cfg(test)]
mod trial;
#[cfg(test)]
mod wait;
