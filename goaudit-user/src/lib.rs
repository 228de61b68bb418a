//! goaudit's user side: records become events, events are sealed, sealed events are shown.
#![deny(unsafe_code)]

pub mod correlate;
pub mod decode;
pub mod event;
pub mod filter;
pub mod hook;
pub mod names;
pub mod view;
