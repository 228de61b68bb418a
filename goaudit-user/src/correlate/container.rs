//! The container that a cgroup path belongs to.
//!
//! Docker, containerd, CRI-O, Podman and Kubernetes all put the container's id, 64 hexadecimal digits, into the
//! name of a cgroup: bare (`/docker/ID`, `/kubepods/burstable/podUID/ID`) or between a prefix and `.scope`
//! (`docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`). The innermost one wins.

/// Length of a container id.
const ID: usize = 64;

/// The container id in a cgroup path, if there is one.
pub fn id(cgroup: &[u8]) -> Option<&str> {
    cgroup.rsplit(|byte| *byte == b'/').find_map(|name| {
        // `crio-conmon-ID.scope` holds the monitor of a container, not the container.
        if name.windows(6).any(|part| part == b"conmon") {
            return None;
        }
        let name = name.strip_suffix(b".scope").unwrap_or(name);
        let id = name.rsplit(|byte| matches!(byte, b'-' | b':')).next()?;
        if id.len() == ID && id.iter().all(u8::is_ascii_hexdigit) {
            std::str::from_utf8(id).ok()
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b9a3f4b";

    #[test]
    fn every_runtime() {
        for path in [
            format!("/docker/{HEX}"),
            format!("/system.slice/docker-{HEX}.scope"),
            format!("/kubepods/burstable/pod7d1f8f1e-0000-4000-8000-000000000000/{HEX}"),
            format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7d.slice/cri-containerd-{HEX}.scope"
            ),
            format!("/kubepods.slice/kubepods-pod7d.slice/crio-{HEX}.scope"),
            format!("/machine.slice/libpod-{HEX}.scope/container"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{HEX}.scope"),
            format!("/system.slice/containerd.service/kubepods-besteffort-pod7d.slice:cri-containerd:{HEX}"),
            format!("/docker/{HEX}/init.scope"),
        ] {
            assert_eq!(id(path.as_bytes()), Some(HEX), "{path}");
        }
    }

    #[test]
    fn what_is_not_a_container() {
        for path in [
            "/".to_owned(),
            "/user.slice/user-1000.slice/session-3.scope".into(),
            format!("/docker/{}", &HEX[..63]),
            format!("/docker/{}", HEX.replace('a', "g")),
            format!("/machine.slice/libpod-conmon-{HEX}.scope"),
        ] {
            assert_eq!(id(path.as_bytes()), None, "{path}");
        }
    }
}
