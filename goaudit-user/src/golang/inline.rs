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
        Format::Go1_16 | Format::Go1_18 | Format::Go1_20 => tree(image, table, function, module.gofunc),
    }?;
    let at = node.checked_mul(size).filter(|_| node < nodes)?.checked_add(name)?;
    let caller = function.entry.checked_add(u64::from(bytes.u32(at.checked_add(4)?)?))?;
    // A place outside of the function, or the same again, would be damage.
    let sound = caller < function.end && caller != address;
    sound.then_some(Inlined { name: bytes.u32(at)?, caller })
}

/// Functions looked at to tell whether a `gofunc` candidate makes sense.
const SAMPLE: usize = 64;

/// Name offsets of the calls that were inlined into `function`: one item for each place.
pub(crate) fn inlined_names<'a>(
    image: &Image<'a>,
    table: &Pclntab<'a>,
    module: &ModuleData,
    function: &Function,
) -> impl Iterator<Item = u32> {
    let (size, name) = node_layout(table.format());
    let found = match table.format() {
        Format::Go1_2 => None,
        Format::Go1_16 | Format::Go1_18 | Format::Go1_20 => tree(image, table, function, module.gofunc),
    };
    let (bytes, nodes) = found.unwrap_or_default();
    (0..nodes).map_while(move |node| bytes.u32(node * size + name))
}

fn tree<'a>(
    image: &Image<'a>,
    table: &Pclntab<'a>,
    function: &Function,
    gofunc: u64,
) -> Option<(Bytes<'a>, u64)> {
    let address = table.inline_tree(image, function, gofunc)?;
    let nodes = table.inline_nodes(function)?;
    // A node covers at least one byte of code.
    (nodes <= function.end - function.entry).then_some((image.at(address)?, nodes))
}

/// Whether function data offsets from `gofunc` lead to inline trees: every node names something that exists.
pub(crate) fn is_plausible_base(image: &Image<'_>, table: &Pclntab<'_>, text: u64, gofunc: u64) -> bool {
    let (size, name) = node_layout(table.format());
    let mut seen = 0;
    let trees = table.functions(image, text).filter_map(|function| {
        let nodes = table.inline_nodes(&function)?;
        let address = table.inline_tree(image, &function, gofunc)?;
        Some((address, nodes))
    });
    for (address, nodes) in trees.take(SAMPLE) {
        let Some(bytes) = image.at(address) else { return false };
        for node in 0..nodes {
            let callee = bytes.u32(node * size + name).and_then(|offset| table.name_start(offset));
            if callee.is_none() {
                return false;
            }
        }
        seen += 1;
    }
    seen > 0
}
