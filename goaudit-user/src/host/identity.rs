//! Which host, which boot.

use std::fs;

use rustix::system::uname;
use sha2::{Digest, Sha256};

use crate::event::control::Host;

/// Host name, kernel release and machine.
pub fn host() -> Host {
    let uname = uname();
    Host {
        name: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
    }
}

/// The kernel's id of this boot; zeros when `/proc` does not tell.
pub fn boot_id() -> [u8; 16] {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or([0; 16], |text| parse_uuid(&text))
}

/// An id of this host that does not reveal its machine id: the machine id hashed with a name of ours, as
/// machine-id(5) asks of applications. Zeros when there is none.
pub fn host_id() -> [u8; 16] {
    let Ok(machine_id) = fs::read_to_string("/etc/machine-id") else { return [0; 16] };
    let machine_id = machine_id.trim();
    if machine_id.is_empty() || machine_id == "uninitialized" {
        return [0; 16];
    }
    let digest: [u8; 32] =
        Sha256::new().chain_update(b"goaudit/v1/host\n").chain_update(machine_id).finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(digest.split_at(16).0);
    id
}

fn parse_uuid(text: &str) -> [u8; 16] {
    let digits = text.trim().replace('-', "");
    if digits.len() != 32 {
        return [0; 16];
    }
    u128::from_str_radix(&digits, 16).map_or([0; 16], u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::parse_uuid;

    #[test]
    fn a_uuid_is_read_and_garbage_is_zero() {
        let id = parse_uuid("6ba7b810-9dad-11d1-80b4-00c04fd430c8\n");
        assert_eq!(id.first_chunk(), Some(&[0x6b, 0xa7, 0xb8, 0x10]));
        assert_eq!(parse_uuid("nonsense!"), [0; 16]);
    }
}
