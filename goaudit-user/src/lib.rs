//! goaudit's user side: records become events, events are sealed, sealed events are shown.
#![deny(unsafe_code)]

pub mod event;
pub mod kernel;
