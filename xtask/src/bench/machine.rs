//! What a figure was measured on, and how busy that was.

use std::fs;

use serde_json::{Value, json};

/// Cores, kernel, processor.
pub(super) fn describe() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let name = rustix::system::uname();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    json!({
        "cores": cores,
        "kernel": name.release().to_string_lossy(),
        "machine": name.machine().to_string_lossy(),
        "processor": processor.map(|(_, name)| name),
    })
}

/// The load average of the last minute: on a quiet machine it stays near what the benchmark itself keeps busy.
pub(super) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_cores_and_a_load() {
        assert!(describe().get("cores").and_then(Value::as_u64).is_some_and(|cores| cores > 0));
        assert!(load().is_some_and(|load| load >= 0.0));
    }
}
