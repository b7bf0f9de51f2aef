//! The kernel side on a real kernel: private file systems, pins, links, maps, counters. Each test has network and mount
//! namespaces of its own, so that nothing outlives it, however it ends. Without root the tests say so and return.

#[cfg(test)]
mod attach;
#[cfg(test)]
mod bpffs;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod load;
#[cfg(test)]
mod maps;
#[cfg(test)]
mod run;
#[cfg(test)]
mod support;
#[cfg(test)]
mod swap;
