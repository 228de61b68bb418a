//! The live host as the correlator asks it.

use super::cgroups::Cgroups;
use super::processes;
use super::users::Users;
use crate::correlate::host::{HostInfo, HostProcess};
use crate::event::Text;

/// `/proc`, the user file and the cgroup file system of the running host.
#[derive(Debug)]
pub struct LiveHost {
    users: Users,
    cgroups: Cgroups,
}

impl LiveHost {
    /// Reads what is read once.
    pub fn read() -> Self {
        Self { users: Users::read(), cgroups: Cgroups::read() }
    }
}

impl HostInfo for LiveHost {
    fn process(&mut self, tgid: u32) -> Option<HostProcess> {
        processes::one(tgid).map(|found| found.host_process())
    }

    fn cgroup(&mut self, id: u64) -> Option<Text> {
        self.cgroups.path(id)
    }

    fn user(&mut self, uid: u32) -> Option<Text> {
        self.users.name(uid)
    }
}
