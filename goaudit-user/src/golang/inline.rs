//! Who was inlined where. The compiler records it for tracebacks, so it survives stripping.
//!
//! Each function with inlined calls has a tree of them (funcdata 3) and a table from pc to tree node (pcdata 2).
//! The tree's length is nowhere: it is the highest node that a pc refers to, plus one.

use super::bytes::Bytes;
use super::image::Image;
use super::module_data::ModuleData;
use super::pclntab::{Format, Function, Pclntab};

/// Size of a tree node and where the callee's name offset is in it. Behind that is the place of the call.
const fn node_layout(format: Format) -> (u64, u64) {
    match format {
        // parent i16, id u8, pad, file i32, line i32, name i32, parent pc i32
        Format::Go1_2 | Format::Go1_16 | Format::Go1_18 => (20, 12),
        // id u8, pad 3, name i32, parent pc i32, first line i32
        Format::Go1_20 => (16, 4),
    }
}

/// A call that was inlined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inlined {
    /// Offset of the callee's name.
    pub(crate) name: u32,
    /// Address of an instruction whose source position is that of the call.
    pub(crate) caller: u64,
}

/// The innermost inlined call that the instruction at `address` in `function` belongs to.
pub(crate) fn inlined_at(
    image: &Image<'_>,
    table: &Pclntab<'_>,
    module: &ModuleData,
    function: &Function,
    address: u64,
) -> Option<Inlined> {
    let (size, name) = node_layout(table.format());
    let node = table.inline_node(function, address)?;
    let (bytes, nodes) = match table.format() {
        Format::Go1_2 => None,
        Format::Go1_16 | Format::Go1_18 | Format::Go1_20 => {
            tree(image, table, function, module.gofunc).ok()?
        }
    }?;
    let at = node.checked_mul(size).filter(|_| node < nodes)?.checked_add(name)?;
    let caller = function.entry.checked_add(u64::from(bytes.u32(at.checked_add(4)?)?))?;
    // A place outside of the function, or the same again, would be damage.
    let sound = caller < function.end && caller != address;
    sound.then_some(Inlined { name: bytes.u32(at)?, caller })
}

/// Functions looked at to tell whether a `gofunc` candidate makes sense.
const SAMPLE: usize = 64;
/// Nodes looked at in each.
const SAMPLE_NODES: u64 = 1024;

/// A function has inlined calls, and what they are cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Name offsets of the calls that were inlined into `function`: one item for each place.
pub(crate) fn inlined_names<'a>(
    image: &Image<'a>,
    table: &Pclntab<'a>,
    module: &ModuleData,
    function: &Function,
) -> Result<impl Iterator<Item = u32>, Unreadable> {
    let (size, name) = node_layout(table.format());
    let found = match table.format() {
        // Such programs are not probed.
        Format::Go1_2 => None,
        Format::Go1_16 | Format::Go1_18 | Format::Go1_20 => tree(image, table, function, module.gofunc)?,
    };
    let (bytes, nodes) = found.unwrap_or_default();
    Ok((0..nodes).map_while(move |node| bytes.u32(node.checked_mul(size)?.checked_add(name)?)))
}

/// The tree of a function and the number of its nodes; none when nothing was inlined into it.
fn tree<'a>(
    image: &Image<'a>,
    table: &Pclntab<'a>,
    function: &Function,
    gofunc: Option<u64>,
) -> Result<Option<(Bytes<'a>, u64)>, Unreadable> {
    let Some(nodes) = table.inline_nodes(function) else { return Ok(None) };
    let address = gofunc.and_then(|gofunc| table.inline_tree(image, function, gofunc));
    let bytes = address.and_then(|address| image.at(address)).ok_or(Unreadable)?;
    let size = nodes.checked_mul(node_layout(table.format()).0);
    // A node covers at least one byte of code.
    let sound =
        nodes <= function.end - function.entry && size.is_some_and(|size| bytes.slice(0, size).is_some());
    if sound { Ok(Some((bytes, nodes))) } else { Err(Unreadable) }
}

/// What a candidate for the base of function data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// Every node of the trees that it leads to names something that exists.
    Plausible,
    /// It leads to something else.
    Wrong,
    /// No function has inlined calls.
    NotNeeded,
}

/// Whether function data offsets from `gofunc` lead to inline trees.
pub(crate) fn try_base(image: &Image<'_>, table: &Pclntab<'_>, text: u64, gofunc: u64) -> Base {
    let (size, name) = node_layout(table.format());
    let mut verdict = Base::NotNeeded;
    let inlined = table.functions(image, text).filter(|function| table.inline_nodes(function).is_some());
    for function in inlined.take(SAMPLE) {
        let Ok(Some((bytes, nodes))) = tree(image, table, &function, Some(gofunc)) else {
            return Base::Wrong;
        };
        for node in 0..nodes.min(SAMPLE_NODES) {
            let at = node.checked_mul(size).and_then(|at| at.checked_add(name));
            let callee = at.and_then(|at| bytes.u32(at)).and_then(|offset| table.name_at(offset));
            if callee.is_none_or(<[u8]>::is_empty) {
                return Base::Wrong;
            }
        }
        verdict = Base::Plausible;
    }
    verdict
}
