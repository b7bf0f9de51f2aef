//! The client against real servers, and what it makes of their words without one.

mod follow;
mod live;
mod outage;
mod peer;
mod publish;
mod recorded;
mod rig;
mod secure;
