//! The real binary in namespaces with real peers. Each test has a laboratory of its own (network namespaces, mounts,
//! directories), which ends with it, however it ends; one runs at a time. Without root the tests say so and return.

#[cfg(test)]
mod acl;
#[cfg(test)]
mod balance;
#[cfg(test)]
mod bed;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod dsr;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod l7;
#[cfg(test)]
mod l7_bed;
#[cfg(test)]
mod l7_churn;
#[cfg(test)]
mod l7_config;
#[cfg(test)]
mod l7_door;
#[cfg(test)]
mod l7_drain;
#[cfg(test)]
mod l7_log;
#[cfg(test)]
mod l7_peers;
#[cfg(test)]
mod l7_seen;
#[cfg(test)]
mod l7_two;
#[cfg(test)]
mod links;
#[cfg(test)]
mod nat;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod resets;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod routed;
#[cfg(test)]
mod sniffer;
#[cfg(test)]
mod traffic;
