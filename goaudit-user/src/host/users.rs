//! Names of users, from the host's own user file.

use std::collections::HashMap;
use std::fs;

use crate::event::Text;

/// User names by id. Read once: a recording names users as they were when it began.
#[derive(Debug, Default)]
pub struct Users {
    names: HashMap<u32, Text>,
}

impl Users {
    /// Reads `/etc/passwd`. A host without one has no names.
    pub fn read() -> Self {
        Self::parse(&fs::read("/etc/passwd").unwrap_or_default())
    }

    /// Parses passwd(5). The first entry of an id counts, as for the C library; broken lines are skipped.
    pub fn parse(passwd: &[u8]) -> Self {
        let mut names = HashMap::new();
        for line in passwd.split(|&byte| byte == b'\n') {
            let mut fields = line.split(|&byte| byte == b':');
            let (Some(name), Some(_), Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let Some(uid) = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse().ok()) else { continue };
            names.entry(uid).or_insert_with(|| Text::from(name));
        }
        Self { names }
    }

    /// The name of `uid`.
    pub fn name(&self, uid: u32) -> Option<Text> {
        self.names.get(&uid).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::Users;
    use crate::event::Text;

    #[test]
    fn the_first_name_of_an_id_counts_and_broken_lines_do_not() {
        let users = Users::parse(
            b"root:x:0:0::/root:/bin/sh\nbroken\ntoor:x:0:0::/:\nx:y:z\napp:x:7:7::/:/bin/false\n",
        );
        assert_eq!(users.name(0), Some(Text::from("root")));
        assert_eq!(users.name(7), Some(Text::from("app")));
        assert_eq!(users.name(1), None);
    }
}
