//! Maps by descriptors of one's own.
//!
//! The code of programs that are not loaded yet names maps by descriptor, so the loader keeps its own ones open until
//! all programs are in the kernel.

use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};

/// A map of those kinds that user space looks into; none if the object has no such map.
pub(super) fn own(ebpf: &Ebpf, name: &str) -> Result<Option<Map>, MapError> {
    let Some(map) = ebpf.map(name) else { return Ok(None) };
    let (kind, data): (fn(MapData) -> Map, &MapData) = match map {
        Map::Array(data) => (Map::Array, data),
        Map::HashMap(data) => (Map::HashMap, data),
        Map::PerCpuArray(data) => (Map::PerCpuArray, data),
        Map::RingBuf(data) => (Map::RingBuf, data),
        _ => return Ok(None),
    };
    let copy = data.fd().as_fd().try_clone_to_owned();
    let copy =
        copy.map_err(|io_error| MapError::SyscallError(aya::sys::SyscallError { call: "dup", io_error }))?;
    Ok(Some(kind(MapData::from_fd(copy)?)))
}
