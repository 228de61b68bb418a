//! cgroup v2 ids to paths: the id is the inode of the cgroup's directory.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use crate::event::Text;

/// Most directories a walk looks at: bounds the time on hosts with very many cgroups.
const WALK_LIMIT: usize = 20_000;

/// Paths of cgroups by id; asks the file system for ids that it has not seen.
#[derive(Debug)]
pub struct Cgroups {
    root: Option<PathBuf>,
    paths: HashMap<u64, Text>,
}

impl Cgroups {
    /// Finds the cgroup v2 mount and learns every cgroup in it.
    pub fn read() -> Self {
        let root = mount_point(&fs::read_to_string("/proc/self/mounts").unwrap_or_default());
        let mut cgroups = Self { root, paths: HashMap::new() };
        cgroups.walk();
        cgroups
    }

    /// Path of a cgroup below the mount, starting with `/`. Ids that nobody has seen are looked for with a walk,
    /// which finds cgroups made since the last one; one that is gone again stays unknown.
    pub fn path(&mut self, id: u64) -> Option<Text> {
        if let Some(path) = self.paths.get(&id) {
            return Some(path.clone());
        }
        self.walk();
        self.paths.get(&id).cloned()
    }

    fn walk(&mut self) {
        let Some(root) = &self.root else { return };
        let mut queue = vec![PathBuf::new()];
        if let Ok(metadata) = fs::metadata(root) {
            use std::os::unix::fs::MetadataExt;
            self.paths.insert(metadata.ino(), Text::from("/"));
        }
        let mut seen = 0;
        while let Some(relative) = queue.pop() {
            let Ok(entries) = fs::read_dir(root.join(&relative)) else { continue };
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                let path = relative.join(entry.file_name());
                self.paths.insert(entry.ino(), absolute(&path));
                queue.push(path);
                seen += 1;
                if seen >= WALK_LIMIT {
                    return;
                }
            }
        }
    }
}

fn absolute(relative: &Path) -> Text {
    let mut path = b"/".to_vec();
    path.extend_from_slice(relative.as_os_str().as_encoded_bytes());
    Text::from(path)
}

/// Where cgroup v2 is mounted: alone, or beside v1 controllers on hybrid hosts.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(target))
    })
}

#[cfg(test)]
mod tests {
    use super::mount_point;

    #[test]
    fn the_v2_mount_is_found_among_v1_mounts() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_point(mounts).as_deref(), Some("/sys/fs/cgroup/unified".as_ref()));
        assert_eq!(mount_point("proc /proc proc rw 0 0\n"), None);
    }
}
