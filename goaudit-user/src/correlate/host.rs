//! What the correlator may ask the host, as a trait: live it is `/proc`, in tests and replays a value.
//!
//! Everything here is asked once and kept: answers of a live host age, and a process that is gone cannot be
//! asked again.

use super::bounded::Bounded;
use super::container;
use crate::event::Text;

/// A process as `/proc` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostProcess {
    /// When it started (boot time, ns); `/proc` rounds down to 10 ms.
    pub start_ktime_ns: Option<u64>,
    /// Its binary.
    pub exe: Option<Text>,
    /// Inode of its pid namespace.
    pub pid_ns: Option<u32>,
    /// Inode of its user namespace.
    pub user_ns: Option<u32>,
    /// Process id inside its own pid namespace.
    pub ns_tgid: Option<u32>,
    /// Audit session id.
    pub session: Option<u32>,
    /// Path of its cgroup.
    pub cgroup: Option<Text>,
    /// Thread name.
    pub comm: Option<Text>,
    /// Real user id.
    pub uid: Option<u32>,
}

/// The recording host.
pub trait HostInfo {
    /// A process that no record told about; none if it is gone.
    fn process(&mut self, tgid: u32) -> Option<HostProcess>;
    /// Path of the cgroup v2 with this id, from the root of its hierarchy (`/user.slice/...`).
    fn cgroup(&mut self, id: u64) -> Option<Text>;
    /// Name of a user.
    fn user(&mut self, uid: u32) -> Option<Text>;
}

/// A host that answers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHost;

impl HostInfo for NoHost {
    fn process(&mut self, _: u32) -> Option<HostProcess> {
        None
    }

    fn cgroup(&mut self, _: u64) -> Option<Text> {
        None
    }

    fn user(&mut self, _: u32) -> Option<Text> {
        None
    }
}

/// A cgroup, once known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path.
    pub path: Option<Text>,
    /// The container it belongs to.
    pub container_id: Option<String>,
}

impl Cgroup {
    /// From a path.
    pub fn of(path: Option<Text>) -> Self {
        let container_id = path.as_ref().and_then(|path| container::id(path.as_bytes())).map(str::to_owned);
        Self { path, container_id }
    }
}

/// Answers are kept for this many cgroups and users.
const KEPT: usize = 4096;

/// The host with a memory.
#[derive(Debug)]
pub struct Memory<H> {
    host: H,
    cgroups: Bounded<u64, Cgroup>,
    users: Bounded<u32, Option<Text>>,
}

impl<H: HostInfo> Memory<H> {
    /// Nothing is known yet.
    pub fn new(host: H) -> Self {
        Self { host, cgroups: Bounded::new(KEPT), users: Bounded::new(KEPT) }
    }

    /// A process, asked anew each time: the caller keeps it.
    pub fn process(&mut self, tgid: u32) -> Option<HostProcess> {
        self.host.process(tgid)
    }

    /// A cgroup by its id.
    pub fn cgroup(&mut self, id: u64) -> Cgroup {
        if let Some(known) = self.cgroups.get(id) {
            return known.clone();
        }
        let cgroup = Cgroup::of(self.host.cgroup(id));
        self.cgroups.insert(id, cgroup.clone());
        cgroup
    }

    /// Name of a user.
    pub fn user(&mut self, uid: u32) -> Option<Text> {
        if let Some(known) = self.users.get(uid) {
            return known.clone();
        }
        let name = self.host.user(uid);
        self.users.insert(uid, name.clone());
        name
    }
}
