//! What the agent asks the host it runs on: clocks, identity, `/proc`, users, cgroups.
//!
//! Only the live agent uses this; nothing here is needed to read, verify or replay a log.

pub mod cgroups;
pub mod clock;
pub mod identity;
pub mod live;
pub mod processes;
pub mod users;
