//! The kernel's machine, for tests: takes steps over a memory of our own, and writes cells as the kernel does.

use std::collections::BTreeMap;

use goaudit_ebpf::hook::go::{Cell, Field, Op, REGISTERS, Status, Step, Take};
use zerocopy::IntoBytes;

/// Registers and memory of a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Machine {
    pub(super) registers: [u64; REGISTERS],
    pub(super) stack_pointer: u64,
    memory: BTreeMap<u64, Vec<u8>>,
    next: u64,
    kept: BTreeMap<u16, u64>,
    /// Maps by their address: keys, and where their values are.
    pub(super) maps: BTreeMap<u64, BTreeMap<&'static str, u64>>,
    /// Contexts by their data: types of keys, and values.
    pub(super) contexts: BTreeMap<u64, BTreeMap<u64, [u64; 2]>>,
}

impl Machine {
    /// Puts bytes somewhere; returns the address.
    pub(super) fn put(&mut self, bytes: &[u8]) -> u64 {
        self.next += 0x1000;
        self.put_at(self.next, bytes);
        self.next
    }

    /// Puts bytes at an address.
    pub(super) fn put_at(&mut self, address: u64, bytes: &[u8]) {
        self.memory.insert(address, bytes.to_vec());
    }

    /// Puts words somewhere; returns the address.
    pub(super) fn words(&mut self, words: &[u64]) -> u64 {
        self.put(words.as_bytes())
    }

    /// Puts a string header's target somewhere; returns pointer and length.
    pub(super) fn text(&mut self, text: &str) -> [u64; 2] {
        [self.put(text.as_bytes()), text.len() as u64]
    }

    fn read(&self, address: u64, len: u64) -> Result<Vec<u8>, Status> {
        let (start, bytes) = self.memory.range(..=address).next_back().ok_or(Status::Fault)?;
        let from = usize::try_from(address - start).map_err(|_| Status::Fault)?;
        let to = usize::try_from(len).ok().and_then(|len| from.checked_add(len)).ok_or(Status::Fault)?;
        bytes.get(from..to).map(<[u8]>::to_vec).ok_or(Status::Fault)
    }

    fn word(&self, address: u64, size: u64) -> Result<u64, Status> {
        let mut word = [0; 8];
        let bytes = self.read(address, size)?;
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        Ok(u64::from_le_bytes(word))
    }

    /// All fields of a site, as cells.
    pub(super) fn cells(&mut self, fields: &[Field]) -> Vec<u8> {
        let mut cells = Vec::new();
        for (number, field) in fields.iter().enumerate() {
            let mut dynamic_type = 0;
            let taken = self.take(field, &mut dynamic_type);
            if field.take == Take::Nothing as u8 {
                continue;
            }
            let (status, bytes, total) = match taken {
                Ok((bytes, total)) if (bytes.len() as u64) < total => (Status::Cut, bytes, total),
                Ok((bytes, total)) => (Status::Whole, bytes, total),
                Err(status) => (status, Vec::new(), 0),
            };
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let number = u16::try_from(number).unwrap_or(u16::MAX);
            let cell = Cell { field: number, status: status as u8, reserved: 0, len, total, dynamic_type };
            cells.extend(cell.as_bytes());
            cells.extend(&bytes);
            cells.resize(cells.len().next_multiple_of(8), 0);
        }
        cells
    }

    fn take(&mut self, field: &Field, dynamic_type: &mut u64) -> Result<(Vec<u8>, u64), Status> {
        let (mut a, mut b) = (0_u64, 0_u64);
        // Of a slice that is looked through: the element, bytes of one, how many are left, the step behind `Each`.
        let mut search: Option<(u64, u64, u64, usize)> = None;
        let mut next = 0;
        while let Some(step) = field.steps.get(next) {
            next += 1;
            if step.op == Op::End as u8 {
                break;
            }
            if step.op == Op::Each as u8 {
                search = Some((a, u64::from(step.offset), b, next));
                if b == 0 {
                    return Err(Status::Absent);
                }
                continue;
            }
            if step.op == Op::Match as u8 {
                let wanted = wanted(field, step.n);
                let same = b == wanted.len() as u64 && self.read(a, b).as_ref() == Ok(&wanted);
                if let (true, Some((element, ..))) = (same, search.take_if(|_| same)) {
                    a = element;
                    continue;
                }
            } else {
                match self.step(field, *step, &mut a, &mut b, dynamic_type) {
                    Ok(()) => continue,
                    Err(status) if search.is_none() => return Err(status),
                    Err(_) => {}
                }
            }
            // Not this element.
            let (element, size, left, start) = search.ok_or(Status::Absent)?;
            if left <= 1 {
                return Err(Status::Absent);
            }
            a = element + size;
            search = Some((a, size, left - 1, start));
            next = start;
        }
        if field.take == Take::Word as u8 {
            Ok((a.to_ne_bytes().to_vec(), 8))
        } else if field.take == Take::Bytes as u8 {
            let len = b.min(u64::from(field.max));
            Ok((if len == 0 { Vec::new() } else { self.read(a, len)? }, b))
        } else {
            Ok((Vec::new(), 0))
        }
    }

    fn step(
        &mut self,
        field: &Field,
        step: Step,
        to_a: &mut u64,
        to_b: &mut u64,
        dynamic_type: &mut u64,
    ) -> Result<(), Status> {
        let (mut a, mut b) = (*to_a, *to_b);
        let not_nil = |a: u64| if a == 0 { Err(Status::Nil) } else { Ok(a) };
        let (n, offset) = (usize::from(step.n), u64::from(step.offset));
        let op = |op: Op| step.op == op as u8;
        let register = || self.registers.get(n).copied().ok_or(Status::Fault);
        if op(Op::RegisterA) {
            a = register()?;
        } else if op(Op::RegisterB) {
            b = register()?;
        } else if op(Op::Stack) {
            a = self.stack_pointer + offset;
        } else if op(Op::Kept) {
            a = *self.kept.get(&step.n).ok_or(Status::NotKept)?;
        } else if op(Op::Add) {
            a += offset;
        } else if op(Op::SetB) {
            b = offset;
        } else if op(Op::Load) {
            a = self.word(not_nil(a)? + offset, u64::from(step.n))?;
        } else if op(Op::LoadPair) {
            let at = not_nil(a)? + offset;
            (a, b) = (self.word(at, 8)?, self.word(at + 8, 8)?);
        } else if op(Op::Index) {
            if u64::from(step.n) >= b {
                return Err(Status::OutOfRange);
            }
            a += u64::from(step.n) * offset;
        } else if op(Op::TakeB) {
            a = b;
        } else if op(Op::Type) {
            *dynamic_type = a;
            not_nil(a)?;
        } else if op(Op::MethodTable) {
            *dynamic_type = if a == 0 { 0 } else { self.word(a + 8, 8)? };
            not_nil(a)?;
        } else if op(Op::Keep) {
            self.kept.insert(step.n, a);
        } else if op(Op::Find) {
            let map = self.maps.get(&not_nil(a)?).ok_or(Status::Fault)?;
            let key = String::from_utf8(wanted(field, step.n)).map_err(|_| Status::Fault)?;
            a = *map.get(&*key).ok_or(Status::Absent)?;
        } else if op(Op::Context) {
            let values = self.contexts.get(&b).ok_or(Status::Absent)?;
            let [context, key] = field.types;
            let value = values.get(&key).filter(|_| context != 0 && key != 0).ok_or(Status::Absent)?;
            [a, b] = *value;
        } else {
            return Err(Status::Fault);
        }
        (*to_a, *to_b) = (a, b);
        Ok(())
    }
}

/// The text that a step looks for.
fn wanted(field: &Field, n: u16) -> Vec<u8> {
    let [number, len] = n.to_le_bytes().map(usize::from);
    field.keys.get(number).and_then(|key| key.get(..len)).unwrap_or_default().to_vec()
}
