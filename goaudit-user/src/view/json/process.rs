//! The JSON view of a process.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::event::Process;
use crate::view::text::JsonText;

/// A process, as the kernel knows it (ids of the initial namespaces).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Process")]
pub struct ProcessView<'a> {
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// When the process started (boot time); with `tgid` and `boot_id` it names a process for ever.
    pub start_ktime_ns: Option<u64>,
    /// Names one program run by one process: boot, process id, time of its exec (or of its start).
    #[schemars(with = "Option<String>")]
    pub exec_id: Option<ExecId<'a>>,
    /// Parent process id.
    pub ppid: Option<u32>,
    /// Thread name.
    pub comm: JsonText<'a>,
    /// Path of the running binary, in the process's own mount namespace.
    pub exe: Option<JsonText<'a>>,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective user id.
    pub euid: Option<u32>,
    /// Audit login user id.
    pub auid: Option<u32>,
    /// Audit session id.
    pub session: Option<u32>,
    /// cgroup v2 id.
    pub cgroup_id: u64,
    /// cgroup path.
    pub cgroup: Option<JsonText<'a>>,
    /// Container id (64 hexadecimal digits) found in the cgroup path; null outside of containers.
    pub container_id: Option<&'a str>,
    /// Inode of the pid namespace.
    pub pid_ns: Option<u32>,
    /// Effective group id.
    pub egid: Option<u32>,
    /// Name of the real user on the recording host at that time.
    pub user: Option<JsonText<'a>>,
}

/// Digits of the boot id that go into an `exec_id`.
const BOOT_DIGITS: usize = 8;

/// Names one program run by one process.
#[derive(Debug, Clone, Copy)]
pub struct ExecId<'a> {
    boot: &'a str,
    tgid: u32,
    since: u64,
}

impl Serialize for ExecId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { boot, tgid, since } = self;
        serializer.collect_str(&format_args!("{boot}-{tgid}-{since}"))
    }
}

impl<'a> ProcessView<'a> {
    /// The view of a process.
    pub fn new(process: &'a Process, boot_id: &'a str) -> Self {
        let Process {
            tgid,
            tid,
            start_ktime_ns,
            ppid,
            comm,
            exe,
            uid,
            gid,
            euid,
            egid,
            auid,
            session,
            cgroup_id,
            cgroup,
            container_id,
            pid_ns,
            user,
            exec_ktime_ns,
        } = process;
        let boot = boot_id.get(..BOOT_DIGITS).unwrap_or(boot_id);
        Self {
            tgid: *tgid,
            tid: *tid,
            start_ktime_ns: *start_ktime_ns,
            exec_id: exec_ktime_ns.or(*start_ktime_ns).map(|since| ExecId { boot, tgid: *tgid, since }),
            ppid: *ppid,
            comm: comm.into(),
            exe: exe.as_ref().map(JsonText::from),
            uid: *uid,
            gid: *gid,
            euid: *euid,
            auid: *auid,
            session: *session,
            cgroup_id: *cgroup_id,
            cgroup: cgroup.as_ref().map(JsonText::from),
            container_id: container_id.as_deref(),
            pid_ns: *pid_ns,
            egid: *egid,
            user: user.as_ref().map(JsonText::from),
        }
    }
}
