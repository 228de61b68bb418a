//! Places of arguments and results, predicted from signatures, against what Go compilers of several versions did.
//!
//! Parameters: the DWARF locations at each function's first instruction. Results: the registers and stack slots that
//! the function's code moves its constants into.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;

use gimli::{AttributeValue, EndianSlice, LittleEndian, Location};
use goaudit_tests::go_fixture::{Build, each_version, fixtures};
use goaudit_user::golang::abi::{Declarations, INTEGERS_AMD64, Layout, Place, Placed, Register, Signature};
use goaudit_user::golang::{Arch, Program};
use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind};
use object::{Object, ObjectSection};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Declarations and signatures, as the fixture's source has them.
fn source() -> (Declarations, BTreeMap<String, String>) {
    let text = fs::read_to_string(fixtures().join("abi/main.go")).unwrap();
    let mut declared = Declarations::new();
    let mut signatures = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(declaration) = line.strip_prefix("type ") {
            let (name, of) = declaration.split_once(' ').unwrap();
            let mut of = of.to_owned();
            while of.matches('{').count() > of.matches('}').count() {
                let more = lines.next().unwrap().trim();
                let separator = if of.ends_with('{') || more == "}" { " " } else { "; " };
                of = format!("{of}{separator}{more}");
            }
            declared.insert(name.to_owned(), of);
        } else if line.starts_with("func ") {
            let signature = line.rsplit_once(" {").map(|_| signature_of(line)).unwrap();
            let name = signature.1;
            if name.starts_with(['p', 'r']) && name.len() == 3 {
                signatures.insert(name, signature.0);
            }
        }
    }
    (declared, signatures)
}

/// The text before the body, and the function's name.
fn signature_of(line: &str) -> (String, String) {
    // The body's brace is the first that closes nothing and is followed by a statement: types write `{ x` too, so
    // the body is told by the bracket depth at which it opens, behind the results.
    let mut depth = 0_i32;
    let mut end = line.len();
    for (at, character) in line.char_indices() {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let text = line.get(..end).unwrap().trim().to_owned();
    let behind_receiver =
        if text.starts_with("func (") { text.find(") ").unwrap() + 2 } else { "func ".len() };
    let name = text.get(behind_receiver..).unwrap().split('(').next().unwrap().to_owned();
    (text, name)
}

/// What the compiler said of a parameter at the first instruction: part by part, a register or a stack slot.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Register(String),
    /// Bytes above the stack pointer.
    Stack(u64),
    Nothing,
}

fn dwarf_register(arch: Arch, number: u16) -> String {
    const AMD64: [&str; 17] = [
        "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15", "rip",
    ];
    match arch {
        Arch::Amd64 if number >= 17 => format!("xmm{}", number - 17),
        Arch::Amd64 => AMD64.get(usize::from(number)).copied().unwrap_or("?").to_owned(),
        Arch::Arm64 if number >= 64 => format!("d{}", number - 64),
        Arch::Arm64 => format!("x{number}"),
    }
}

/// Parameters of `main.pNN` functions in order: name and parts.
fn told_parameters(arch: Arch, data: &[u8]) -> BTreeMap<String, Vec<(String, Vec<Told>)>> {
    let file = object::File::parse(data).unwrap();
    let section = |id: gimli::SectionId| -> Result<Slice<'_>, gimli::Error> {
        let bytes = file.section_by_name(id.name()).and_then(|section| section.data().ok());
        Ok(EndianSlice::new(bytes.unwrap_or_default(), LittleEndian))
    };
    let dwarf = gimli::Dwarf::load(section).unwrap();
    let mut found = BTreeMap::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next().unwrap() {
        let unit = dwarf.unit(header).unwrap();
        let mut tree = unit.entries_tree(None).unwrap();
        let mut children = tree.root().unwrap().children();
        while let Some(child) = children.next().unwrap() {
            let entry = child.entry();
            if entry.tag() != gimli::DW_TAG_subprogram {
                continue;
            }
            let Some(name) = entry.attr_value(gimli::DW_AT_name) else { continue };
            let name = dwarf.attr_string(&unit, name).unwrap().to_string_lossy().into_owned();
            let Some(name) = name.strip_prefix("main.") else { continue };
            let Some(low) = entry.attr_value(gimli::DW_AT_low_pc) else { continue };
            let Some(low) = dwarf.attr_address(&unit, low).unwrap() else { continue };
            let name = name.rsplit('.').next().unwrap().to_owned();
            let mut parameters = Vec::new();
            let mut inner = child.children();
            while let Some(parameter) = inner.next().unwrap() {
                let entry = parameter.entry();
                let result =
                    entry.attr_value(gimli::DW_AT_variable_parameter) == Some(AttributeValue::Flag(true));
                if entry.tag() != gimli::DW_TAG_formal_parameter || result {
                    continue;
                }
                let parameter_name = entry.attr_value(gimli::DW_AT_name).unwrap();
                let parameter_name =
                    dwarf.attr_string(&unit, parameter_name).unwrap().to_string_lossy().into_owned();
                let expression = match entry.attr_value(gimli::DW_AT_location) {
                    Some(AttributeValue::Exprloc(expression)) => Some(expression),
                    Some(list) => {
                        let mut locations = dwarf.attr_locations(&unit, list).unwrap().unwrap();
                        let mut at_entry = None;
                        while let Some(location) = locations.next().unwrap() {
                            if location.range.begin == low && location.range.end > low {
                                at_entry = Some(location.data);
                            }
                        }
                        at_entry
                    }
                    None => None,
                };
                let parts =
                    expression.map(|expression| parts(arch, expression, unit.encoding())).unwrap_or_default();
                parameters.push((parameter_name, parts));
            }
            found.insert(name, parameters);
        }
    }
    found
}

/// Stands for the frame address, which only differences are taken from.
const FRAME: u64 = 1 << 40;

fn parts(arch: Arch, expression: gimli::Expression<Slice<'_>>, encoding: gimli::Encoding) -> Vec<Told> {
    // At the first instruction the frame address is behind the return address on amd64, and the stack pointer itself
    // on arm64.
    if expression.0.is_empty() {
        // Not needed by the function's code.
        return Vec::new();
    }
    let above = match arch {
        Arch::Amd64 => 8,
        Arch::Arm64 => 0,
    };
    let mut evaluation = expression.evaluation(encoding);
    let mut state = evaluation.evaluate().unwrap();
    loop {
        state = match state {
            gimli::EvaluationResult::Complete => break,
            gimli::EvaluationResult::RequiresCallFrameCfa => {
                evaluation.resume_with_call_frame_cfa(FRAME).unwrap()
            }
            gimli::EvaluationResult::RequiresFrameBase => evaluation.resume_with_frame_base(FRAME).unwrap(),
            other => panic!("{other:?}"),
        };
    }
    let pieces = evaluation.result();
    pieces
        .iter()
        .map(|piece| match piece.location {
            Location::Register { register } => Told::Register(dwarf_register(arch, register.0)),
            Location::Address { address } => Told::Stack(address - FRAME + above),
            _ => Told::Nothing,
        })
        .collect()
}

fn compare(arch: Arch, version: &str, name: &str, placed: &[Placed], told: &[(String, Vec<Told>)]) -> usize {
    let mut compared = 0;
    for placed in placed {
        // The compiler leaves out what it does not need; what it tells must agree.
        let Some((_, parts)) = told.iter().find(|(told, _)| *told == placed.name) else { continue };
        // Parts in order. Compilers before 1.21 forget padding between them, so offsets say nothing; parts that are
        // not needed are left out.
        let mut expected: Vec<Told> = match &placed.place {
            Place::Stack(at) => match placed.of.parts().filter(|parts| !parts.is_empty()) {
                Some(parts) => parts.iter().map(|part| Told::Stack(at + part.offset)).collect(),
                None => vec![Told::Stack(*at)],
            },
            Place::Registers(registers) => {
                registers.iter().map(|(register, _)| Told::Register(register.name(arch))).collect()
            }
        };
        for told in parts.iter().filter(|told| **told != Told::Nothing) {
            let found = expected.iter().position(|expected| expected == told);
            let what = format!("go {version} {arch:?} {name} {}: {told:?} not in {expected:?}", placed.name);
            let found = found.unwrap_or_else(|| panic!("{what}"));
            expected.drain(..=found);
            compared += 1;
        }
    }
    compared
}

#[test]
fn parameters_are_where_the_compiler_says() {
    let (declared, signatures) = source();
    each_version("parameters_are_where_the_compiler_says", |toolchain| {
        for (arch, goarch) in [(Arch::Amd64, "amd64"), (Arch::Arm64, "arm64")] {
            if arch == Arch::Arm64 && toolchain.minor() < 18 {
                continue;
            }
            let build = Build::of("abi").arch(goarch).flags(&["-ldflags=-compressdwarf=false"]);
            let data = fs::read(toolchain.build(&build).unwrap()).unwrap();
            let told = told_parameters(arch, &data);
            let told_of = |name: &str| {
                let version = toolchain.version();
                told.get(name).unwrap_or_else(|| {
                    panic!("go {version} {goarch}: no DWARF for {name} in {:?}", told.keys())
                })
            };
            let (mut functions, mut compared) = (0, 0);
            for (name, text) in signatures.iter().filter(|(name, _)| name.starts_with('p')) {
                let layout = Layout::of(&Signature::parse(text, &declared).unwrap(), arch, None);
                compared += compare(arch, toolchain.version(), name, &layout.parameters, told_of(name));
                functions += 1;
            }
            assert!(functions >= 19 && compared >= 100, "{functions} functions, {compared} parts");
        }
    });
}

#[test]
fn results_are_where_the_code_puts_them() {
    let (declared, signatures) = source();
    each_version("results_are_where_the_code_puts_them", |toolchain| {
        let build = Build::of("abi").flags(&["-ldflags=-compressdwarf=false"]);
        let data = fs::read(toolchain.build(&build).unwrap()).unwrap();
        let program = Program::parse(&data).unwrap();
        let mut compared = 0;
        for (name, text) in signatures.iter().filter(|(name, _)| name.starts_with('r')) {
            let (function, _) =
                program.functions().find(|(_, raw)| *raw == format!("main.{name}").as_bytes()).unwrap();
            let constants = constants(program.code(&function).unwrap());
            let layout = Layout::of(&Signature::parse(text, &declared).unwrap(), Arch::Amd64, None);
            let mut expected = 1001;
            for result in layout.results.iter().filter(|result| result.of.size() > 0) {
                for (place, part) in parts_of(result) {
                    // Two values of small types do not count from 1001 on; their last digit does.
                    let value =
                        constants.get(&place).unwrap_or_else(|| panic!("{name} {place}: {constants:?}"));
                    assert_eq!(value % 10, expected % 10, "go {} {name} {place} {part}", toolchain.version());
                    expected += 1;
                    compared += 1;
                }
            }
        }
        assert!(compared >= 30, "{compared}");
    });
}

fn parts_of(result: &Placed) -> Vec<(String, u64)> {
    match &result.place {
        Place::Stack(at) => vec![(format!("+{at}"), 0)],
        Place::Registers(registers) => {
            registers.iter().map(|(register, part)| (register.name(Arch::Amd64), part.offset)).collect()
        }
    }
}

/// What a function without calls moves into registers and above its stack pointer before it returns.
fn constants(code: &[u8]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for one in &mut Decoder::new(64, code, DecoderOptions::NONE) {
        if one.mnemonic() == Mnemonic::Ret {
            break;
        }
        let immediate = (one.op_count() == 2).then(|| one.try_immediate(1).ok()).flatten();
        let (Mnemonic::Mov, Some(value)) = (one.mnemonic(), immediate) else { continue };
        let place = if one.op0_kind() == OpKind::Memory {
            format!("+{}", one.memory_displacement64())
        } else {
            format!("{:?}", one.op0_register().full_register()).to_lowercase()
        };
        found.insert(place, value);
    }
    found
}

#[test]
fn register_names_are_those_of_the_convention() {
    let names: Vec<String> = (0..9).map(|index| Register::Integer(index).name(Arch::Amd64)).collect();
    assert_eq!(names, INTEGERS_AMD64);
}
