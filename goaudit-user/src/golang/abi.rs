//! Where Go puts arguments and results: from a signature to registers and stack slots.
//!
//! The rules of Go's internal calling convention (cmd/compile/abi-internal.md; code in
//! cmd/compile/internal/abi/abiutils.go), which is in force since Go 1.17 on amd64 and 1.18 on arm64, and has not
//! changed up to 1.27. Tests compare with what compilers of several versions did.

mod go_type;
mod signature;
mod standard;

pub use go_type::{Field, GoType, Number, Part};
pub use signature::{Declarations, Parameter, Signature, SignatureError};
pub use standard::declare;

pub(crate) use signature::known_types;

use super::image::Arch;
use go_type::WORD;

/// A register as the convention numbers them, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Register {
    /// Integer or pointer register, 0-based (see `INTEGERS_AMD64`; arm64: R0 and up).
    Integer(u8),
    /// Floating-point register, 0-based (X0 or F0 and up). eBPF programs cannot read these.
    Float(u8),
}

/// Integer registers of amd64 in order of assignment.
pub const INTEGERS_AMD64: [&str; 9] = ["rax", "rbx", "rcx", "rdi", "rsi", "r8", "r9", "r10", "r11"];

/// How many registers of each kind carry arguments, and where stack arguments begin.
const fn limits(arch: Arch) -> (usize, usize) {
    match arch {
        Arch::Amd64 => (9, 15),
        Arch::Arm64 => (16, 16),
    }
}

/// Bytes from the stack pointer, at the function's first instruction, to the first stack argument. amd64: behind the
/// return address. arm64: behind the slot where the callee saves the link register.
const STACK_BASE: u64 = 8;

impl Register {
    /// The name that assemblers and debuggers of the architecture use.
    pub fn name(self, arch: Arch) -> String {
        match (self, arch) {
            (Self::Integer(index), Arch::Amd64) => {
                INTEGERS_AMD64.get(usize::from(index)).copied().unwrap_or("?").to_owned()
            }
            (Self::Float(index), Arch::Amd64) => format!("xmm{index}"),
            (Self::Integer(index), Arch::Arm64) => format!("x{index}"),
            (Self::Float(index), Arch::Arm64) => format!("d{index}"),
        }
    }
}

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Each part in a register of its own, in order.
    Registers(Vec<(Register, Part)>),
    /// In memory, so many bytes above the stack pointer of the function's first instruction.
    Stack(u64),
}

/// A parameter or result with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its name; empty when the signature gives none.
    pub name: String,
    /// Its type.
    pub of: GoType,
    /// Where it is: parameters at entry, results at return.
    pub place: Place,
}

/// Places of everything that a call passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Receiver and parameters, as of the function's first instruction.
    pub parameters: Vec<Placed>,
    /// Results, as of the return instruction. Stack slots count from the stack pointer at the first instruction,
    /// which is again the stack pointer at the return instruction.
    pub results: Vec<Placed>,
}

impl Layout {
    /// Places a signature's values. `dictionary`: the function is an instance of a generic one, which takes a hidden
    /// pointer before its parameters (behind the receiver, if `receiver` says that the first parameter is one).
    pub fn of(signature: &Signature, arch: Arch, dictionary: Option<Dictionary>) -> Self {
        let mut state = State { arch, integers: 0, floats: 0, stack: STACK_BASE };
        let behind_receiver = usize::from(dictionary == Some(Dictionary::BehindReceiver));
        let mut parameters = Vec::with_capacity(signature.parameters.len());
        for (index, parameter) in signature.parameters.iter().enumerate() {
            if dictionary.is_some() && index == behind_receiver {
                let _ = state.place(&GoType::Pointer(None));
            }
            parameters.push(state.placed(parameter));
        }
        if dictionary.is_some() && parameters.len() <= behind_receiver {
            let _ = state.place(&GoType::Pointer(None));
        }
        state.stack = state.stack.next_multiple_of(WORD);
        state.integers = 0;
        state.floats = 0;
        let results = signature.results.iter().map(|result| state.placed(result)).collect();
        Self { parameters, results }
    }
}

/// Where a generic instance takes its hidden dictionary pointer (Go 1.18+).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dictionary {
    /// Before the first parameter: functions.
    First,
    /// Behind the receiver: methods of generic types.
    BehindReceiver,
}

impl Dictionary {
    /// The same in programs of this release of Go: up to 1.19 methods, too, take it first.
    #[must_use]
    pub fn in_release(self, release: Option<(u32, u32)>) -> Self {
        if release.is_some_and(|release| release < (1, 20)) { Self::First } else { self }
    }
}

struct State {
    arch: Arch,
    integers: usize,
    floats: usize,
    stack: u64,
}

impl State {
    fn placed(&mut self, parameter: &Parameter) -> Placed {
        let Parameter { name, of } = parameter;
        Placed { name: name.clone(), of: of.clone(), place: self.place(of) }
    }

    fn place(&mut self, of: &GoType) -> Place {
        // A value without size is defined as being on the stack.
        let parts = of.parts().filter(|_| of.size() > 0);
        if let Some(registers) = parts.and_then(|parts| self.registers(parts)) {
            return Place::Registers(registers);
        }
        let at = self.stack.next_multiple_of(of.align());
        self.stack = at.saturating_add(of.size());
        Place::Stack(at)
    }

    /// All parts in registers, or none: a value is never split, and registers it did not get stay free.
    fn registers(&mut self, parts: Vec<Part>) -> Option<Vec<(Register, Part)>> {
        let (integers, floats) = limits(self.arch);
        let wanted_floats = parts.iter().filter(|part| part.float).count();
        let wanted_integers = parts.len() - wanted_floats;
        if self.integers + wanted_integers > integers || self.floats + wanted_floats > floats {
            return None;
        }
        let assigned = parts.into_iter().map(|part| {
            let next = if part.float { &mut self.floats } else { &mut self.integers };
            let index = u8::try_from(*next).unwrap_or(u8::MAX);
            *next += 1;
            (if part.float { Register::Float(index) } else { Register::Integer(index) }, part)
        });
        Some(assigned.collect())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test says so when its own data is wrong")]
    use super::*;

    fn places(text: &str, arch: Arch) -> (Vec<String>, Vec<String>) {
        let declared = Declarations::from([
            ("Enforcer".to_owned(), "struct { n int }".to_owned()),
            ("Request".to_owned(), "struct { a, b string; pad [2]int }".to_owned()),
            ("pkg.Small".to_owned(), "struct { ok bool; n int32 }".to_owned()),
        ]);
        let layout = Layout::of(&Signature::parse(text, &declared).unwrap(), arch, None);
        let show = |placed: &Placed| match &placed.place {
            Place::Stack(at) => format!("+{at}"),
            Place::Registers(registers) => {
                registers.iter().map(|(register, _)| register.name(arch)).collect::<Vec<_>>().join(" ")
            }
        };
        (layout.parameters.iter().map(show).collect(), layout.results.iter().map(show).collect())
    }

    #[test]
    fn casbin_enforce() {
        let text = "func(e *Enforcer, matcher string, explains *[]string, rvals ...any) (ok bool, err error)";
        let (parameters, results) = places(text, Arch::Amd64);
        assert_eq!(parameters, ["rax", "rbx rcx", "rdi", "rsi r8 r9"]);
        assert_eq!(results, ["rax", "rbx rcx"]);
        assert_eq!(places(text, Arch::Arm64).0, ["x0", "x1 x2", "x3", "x4 x5 x6"]);
    }

    #[test]
    fn what_does_not_fit_goes_whole_to_the_stack_and_later_ones_may_fit() {
        // etcd's isOpPermitted: rangeEnd needs three registers, two are left.
        let text = "func(as *authStore, user string, rev uint64, key, rangeEnd []byte, perm int32) error";
        let (parameters, results) = places(text, Arch::Amd64);
        assert_eq!(parameters, ["rax", "rbx rcx", "rdi", "rsi r8 r9", "+8", "r10"]);
        assert_eq!(results, ["rax rbx"]);
    }

    #[test]
    fn arrays_and_empty_values_are_on_the_stack() {
        let text = "func(r Request, one [1]string, none struct{}, two [2]int8, s pkg.Small) ([2]bool, int)";
        let (parameters, results) = places(text, Arch::Amd64);
        assert_eq!(parameters, ["+8", "rax rbx", "+56", "+56", "rcx rdi"]);
        assert_eq!(results, ["+64", "rax"]);
    }

    #[test]
    fn floats_have_registers_of_their_own() {
        let (parameters, _) = places("func(float64, int, complex128, float32)", Arch::Amd64);
        assert_eq!(parameters, ["xmm0", "rax", "xmm1 xmm2", "xmm3"]);
    }

    #[test]
    fn spellings_of_signatures() {
        let (parameters, results) =
            places("func (e *Enforcer) Enforce(a, b string, f func(int) error) bool", Arch::Amd64);
        assert_eq!(parameters, ["rax", "rbx rcx", "rdi rsi", "r8"]);
        assert_eq!(results, ["rax"]);
        assert_eq!(places("func()", Arch::Amd64), (vec![], vec![]));
        let (parameters, _) = places(
            "func(map[string]pkg.X, chan<- int, <-chan T, *[]pkg.Y[int], interface{ M(int) }, []Unknown)",
            Arch::Amd64,
        );
        assert_eq!(parameters, ["rax", "rbx", "rcx", "rdi", "rsi r8", "r9 r10 r11"]);
        assert_eq!(
            places("func(struct{a, b uint8; *int; pkg.Small})", Arch::Amd64).0,
            ["rax rbx rcx rdi rsi"]
        );
    }

    #[test]
    fn a_dictionary_takes_a_register() {
        let signature = Signature::parse("func(b *box, n int)", &Declarations::new()).unwrap();
        let of = |dictionary| {
            let layout = Layout::of(&signature, Arch::Amd64, Some(dictionary));
            layout.parameters.iter().map(|placed| format!("{:?}", placed.place)).collect::<Vec<_>>()
        };
        assert!(of(Dictionary::First).first().unwrap().contains("Integer(1)"));
        assert!(of(Dictionary::BehindReceiver).first().unwrap().contains("Integer(0)"));
        assert!(of(Dictionary::BehindReceiver).last().unwrap().contains("Integer(2)"));
    }

    #[test]
    fn errors_name_the_place() {
        let parse = |text: &str| Signature::parse(text, &Declarations::new()).unwrap_err().to_string();
        assert_eq!(
            parse("func(r Request)"),
            "the type Request (byte 7) is not declared: declare it, as its underlying type, beside the signature"
        );
        assert_eq!(parse("function(int)"), "expected func at byte 0");
        assert_eq!(parse("func(int"), "expected ) at byte 8");
        assert_eq!(
            parse("func(int) x y"),
            "the type x (byte 10) is not declared: declare it, as its underlying type, beside the signature"
        );
        assert_eq!(parse("func(a [x]int)"), "expected an array length at byte 8");
        let own = Declarations::from([("T".to_owned(), "struct { t T }".to_owned())]);
        assert!(matches!(
            Signature::parse("func(T)", &own),
            Err(SignatureError::Declaration { .. } | SignatureError::Recursive(_))
        ));
        let huge = format!("func({}int)", "[4000000000]".repeat(3));
        assert!(matches!(Signature::parse(&huge, &own), Err(SignatureError::TooLarge(_))));
    }
}
