//! Numbers of the kernel's interface by name: small tables, one a file, no logic beyond the look-up.

pub mod capability;
pub mod errno;
pub mod signal;
