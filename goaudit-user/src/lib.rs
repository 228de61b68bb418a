//! goaudit's user side: records become events, events are sealed, sealed events are shown.
//!
//! ARCHITECTURE.md is the way through the house.
#![deny(unsafe_code)]

pub mod anchoring;
pub mod audit;
pub mod cli;
pub mod conservation;
pub mod correlate;
pub mod decode;
pub mod event;
pub mod evidence;
pub mod filter;
pub mod golang;
pub mod hist;
pub mod hook;
pub mod host;
pub mod http;
pub mod kernel;
pub mod names;
pub mod personal;
pub mod reads;
pub mod recorder;
pub mod replay;
pub mod tap;
pub mod view;
