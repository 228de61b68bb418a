//! Programs of the Go hook, all on uprobes with a cookie (`bpf_get_attach_cookie`, since 5.15).
//!
//! - `go_enter`: the entry site of a probed function, and other places where a goroutine's life turns
//!   (`runtime.gopanic`, `runtime.Goexit`, ...): which it is, user space knows by the probe.
//! - `go_return`: every return instruction of a probed function.
//! - `go_unwind`: `runtime.recovery`, on the system stack: frames of a goroutine are about to go.
//!
//! And one on the raw tracepoint `signal_deliver`: `go_signal`, a probed process got a signal that it should not get.
//!
//! None of them writes user memory, sends a signal or changes what the probed program does.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::{map, raw_tracepoint, uprobe};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext};

use super::field::{self, CELLS, Kept, Work};
use super::goroutine::{self, Goroutine};
use super::{Call, Health, PROBES_MAX, Probe, RuntimeLayout, Signal, Unwind, flags, traits};
use crate::kernel::{Class, atomic, count_unkept, emit, emit_anywhere, lose_unbuilt, read, scope, task};
use crate::settings::ABSENT;
use crate::units::{Goid, Ktime};
use crate::wire::{Header, Kind, Lost};

/// Probed functions, by cookie.
#[map]
static GO_PROBES: Array<Probe> = Array::with_max_entries(PROBES_MAX, 0);

/// What each CPU counts of each probe.
#[map]
static GO_HEALTH: PerCpuArray<Health> = PerCpuArray::with_max_entries(PROBES_MAX, 0);

/// Words that entries keep for their returns. A frame that never returns leaves its entry behind: user space removes
/// those of processes that ended, and what a panic or `Goexit` took away makes room when it is the oldest.
#[map]
static GO_KEPT: LruHashMap<Frame, Kept> = LruHashMap::with_max_entries(32_768, 0);

/// Threads (process and thread id in one word) that are dying, and how much they wrote to standard error meanwhile.
#[map]
static GO_DYING: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);

/// Probed processes: user space keeps it.
#[map]
static GO_PROCESSES: HashMap<u32, u8> = HashMap::with_max_entries(16_384, 0);

/// Buffers of a CPU: one in use, others for tasks that preempt it inside a program.
const BUFFERS: u32 = 8;

#[map]
static GO_WORK: PerCpuArray<Work> = PerCpuArray::with_max_entries(BUFFERS, 0);

/// Leads nowhere. Since 6.13 the kernel gives programs with more than a little stack one stack per CPU, and relies on
/// no program being entered twice on a CPU. Programs on uprobes are: nothing keeps a task that was preempted in
/// one, and another that enters it, apart. They overwrite each other's stack, and the kernel crashes (seen with 6.18
/// and 7.3). A program that may make a tail call keeps its own stack; so these may, and never do.
#[map]
static GO_NOWHERE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// No probe has this cookie.
const NO_PROBE: u64 = u64::MAX;

/// Names a frame of a call under way.
#[derive(Clone, Copy)]
#[repr(C)]
struct Frame {
    tgid: u32,
    probe: u32,
    g: u64,
    depth: u64,
}

/// A hit that is meant: its probe and its index.
#[derive(Clone, Copy)]
struct Hit {
    index: u32,
    tgid: u32,
    probe: *const Probe,
    health: *mut Health,
}

macro_rules! count {
    ($hit:ident . $field:ident) => {
        // SAFETY: this CPU's map value. A count may be missed when a task is preempted right here: these are
        // counters of health, not the books.
        unsafe {
            let at = &raw mut (*$hit.health).$field;
            core::ptr::write_volatile(at, core::ptr::read_volatile(at) + 1);
        }
    };
}

#[inline(always)]
fn hit(ctx: &ProbeContext) -> Option<Hit> {
    // SAFETY: helper without preconditions.
    let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
    if cookie == NO_PROBE {
        // SAFETY: the map is empty: nothing is called. See `GO_NOWHERE`.
        let _ = unsafe { GO_NOWHERE.tail_call(ctx, 0) };
    }
    let index = cookie as u32;
    let probe = GO_PROBES.get_ptr(index)?;
    let health = GO_HEALTH.get_ptr_mut(index)?;
    let (tgid, _) = task::current_ids();
    let hit = Hit { index, tgid, probe, health };
    if !hit.has(traits::REHEARSES) && !scope::contains(tgid) {
        count!(hit.out_of_scope);
        return None;
    }
    Some(hit)
}

impl Hit {
    #[inline(always)]
    fn has(self, bits: u32) -> bool {
        // SAFETY: a map value.
        unsafe { read::volatile(&(*self.probe).traits_) & bits != 0 }
    }

    #[inline(always)]
    fn layout(self) -> &'static RuntimeLayout {
        // SAFETY: a map value lives as long as the map.
        unsafe { &(*self.probe).runtime }
    }
}

#[uprobe]
fn go_enter(ctx: ProbeContext) -> u32 {
    if let Some(hit) = hit(&ctx) {
        if hit.has(traits::IGNORE_TAKEN_JUMP) && goroutine::jumps(&ctx) {
            count!(hit.restarts);
            return 0;
        }
        if hit.has(traits::WRITES) && written().is_none() {
            count!(hit.out_of_scope);
            return 0;
        }
        count!(hit.entries);
        with_work(|work| enter(&ctx, hit, work));
    }
    0
}

#[uprobe]
fn go_return(ctx: ProbeContext) -> u32 {
    if let Some(hit) = hit(&ctx) {
        count!(hit.returns);
        with_work(|work| leave(&ctx, hit, work));
    }
    0
}

#[uprobe]
fn go_unwind(ctx: ProbeContext) -> u32 {
    if let Some(hit) = hit(&ctx) {
        count!(hit.entries);
        with_work(|work| unwind(&ctx, hit, work));
    }
    0
}

/// How much the current thread wrote since it began to die; none while it lives.
#[inline(always)]
fn written() -> Option<*mut u64> {
    // SAFETY: helper without preconditions.
    GO_DYING.get_ptr_mut(unsafe { bpf_get_current_pid_tgid() })
}

/// Lends a buffer. A program on a uprobe may be preempted; so that it would not matter if it went on on another CPU,
/// nothing here is looked up twice.
#[inline(always)]
fn with_work(use_it: impl FnOnce(*mut Work)) {
    let mut index = 0;
    while index < BUFFERS {
        let Some(work) = GO_WORK.get_ptr_mut(index) else { break };
        // SAFETY: a map value.
        let before = unsafe { atomic::fetch_or(&raw mut (*work).busy, 1) };
        if before == 0 {
            use_it(work);
            // SAFETY: as above.
            unsafe { atomic::and(&raw mut (*work).busy, 0) };
            return;
        }
        index += 1;
    }
    lose_unbuilt(Lost::Reentered);
}

/// What entry and return have in common: who and which frame.
#[inline(always)]
fn begin(ctx: &ProbeContext, hit: Hit, kind: Kind, work: *mut Work) -> Goroutine {
    let layout = hit.layout();
    let stack_pointer = goroutine::stack_pointer(ctx);
    // SAFETY: the buffer is claimed.
    let found = unsafe { goroutine::running(ctx, layout, &raw mut (*work).window) };
    // SAFETY: as above.
    unsafe {
        let call = &raw mut (*work).call;
        task::fill_untimed(&raw mut (*call).header, kind, found.believed);
        read::put(&raw mut (*call).probe, hit.index);
        read::put(&raw mut (*call).goid, Goid(found.goid));
        read::put(&raw mut (*call).g, found.g);
        read::put(&raw mut (*call).site, goroutine::site(ctx));
        read::put(&raw mut (*call).depth, found.high.wrapping_sub(stack_pointer));
        read::put(&raw mut (*work).low, found.low);
        read::put(&raw mut (*work).high, found.high);
        read::put(&raw mut (*work).used, 0);
        read::put(&raw mut (*work).faults, 0);
        read::put(&raw mut (*work).has_kept, 0);
    }
    if found.believed & flags::STACK == 0 {
        count!(hit.implausible);
    }
    found
}

/// What the steps to values start from.
///
/// # Safety
/// `work` is claimed and begun.
#[inline(always)]
unsafe fn begin_fields(ctx: &ProbeContext, hit: Hit, work: *mut Work) {
    // SAFETY: by contract.
    unsafe {
        read::put(&raw mut (*work).stack_pointer, goroutine::stack_pointer(ctx));
        read::put(&raw mut (*work).maps, u64::from(hit.layout().maps));
        goroutine::registers(ctx, &raw mut (*work).registers);
    }
}

#[inline(always)]
fn enter(ctx: &ProbeContext, hit: Hit, work: *mut Work) {
    let found = begin(ctx, hit, Kind::GoEnter, work);
    let layout = hit.layout();
    // SAFETY: the buffer is claimed and its window filled; `probe` is a map value.
    unsafe {
        let call = &raw mut (*work).call;
        let window = &raw const (*work).window;
        let mut believed = found.believed;
        let writes = hit.has(traits::WRITES);
        // A dying thread writes on its own stack.
        if !writes && believed & flags::GOID != 0 && !goroutine::is_current(found.g, layout, window) {
            // The offset may be wrong for this version: the number is told, but not relied on.
            believed &= !flags::GOID;
            count!(hit.implausible);
        }
        read::put(&raw mut (*call).header.flags, believed);
        read::put(&raw mut (*call).parent, Goid(goroutine::word(found.g, layout.parent_goid, window)));
        read::put(&raw mut (*work).kept.on_stack, 0);
        let first = read::volatile(&(*hit.probe).entry_first);
        let count = read::volatile(&(*hit.probe).entry_count);
        // Each condition by itself: the verifier then comes to the loops of `take_all` with one state.
        if writes || count != 0 {
            begin_fields(ctx, hit, work);
        }
        if writes {
            put_written(work);
        }
        if count != 0 {
            field::take_all(work, first, count);
        }
        if hit.has(traits::PROCESSORS) {
            let list =
                read::volatile(&(*work).call.site) + u64::from(read::volatile(&(*hit.probe).processors));
            field::put_processors(work, list, read::volatile(&(*hit.probe).processor_word));
        }
        if hit.has(traits::DIES) && GO_DYING.insert(bpf_get_current_pid_tgid(), 0u64, 0).is_err() {
            count_unkept();
        }
        if hit.has(traits::FRAMES) {
            field::put_frames(work, goroutine::return_address(ctx), goroutine::frame_pointer(ctx));
        }
        if hit.has(traits::KEEPS) {
            let frame = frame(hit, work);
            if GO_KEPT.insert(frame, &(*work).kept, 0).is_err() {
                count_unkept();
            }
        }
        // As late as possible: what was done here is not the function's time.
        read::put(&raw mut (*call).header.ktime, Ktime(bpf_ktime_get_boot_ns()));
        send(hit, work);
    }
}

#[inline(always)]
fn leave(ctx: &ProbeContext, hit: Hit, work: *mut Work) {
    // SAFETY: the buffer is claimed; `probe` is a map value.
    unsafe {
        let call = &raw mut (*work).call;
        // As early as possible, for the same reason.
        read::put(&raw mut (*call).header.ktime, Ktime(bpf_ktime_get_boot_ns()));
        begin(ctx, hit, Kind::GoReturn, work);
        read::put(&raw mut (*call).parent, Goid(0));
        if hit.has(traits::KEEPS) {
            let frame = frame(hit, work);
            if let Some(kept) = GO_KEPT.get_ptr(frame) {
                (*work).kept = *kept;
                read::put(&raw mut (*work).has_kept, 1);
                // It is there: it was just read.
                let _ = GO_KEPT.remove(frame);
            }
        }
        let first = read::volatile(&(*hit.probe).return_first);
        let count = read::volatile(&(*hit.probe).return_count);
        if count != 0 {
            begin_fields(ctx, hit, work);
            field::take_all(work, first, count);
        }
        send(hit, work);
    }
}

/// Notes what a dying thread writes. Its number of bytes is 32 bits wide in some versions; above them a register may
/// hold anything.
///
/// # Safety
/// `work` is claimed and begun.
#[inline(always)]
unsafe fn put_written(work: *mut Work) {
    let Some(written) = written() else { return };
    // SAFETY: by contract; only this thread writes to its value.
    unsafe {
        let len = read::volatile(&(*work).registers[1]) & 0xffff_ffff;
        read::put(&raw mut (*work).registers[1], len);
        let before = read::volatile(&*written);
        read::put(written, before + len);
        field::put_written(work, before, len);
    }
}

/// # Safety
/// `work` is claimed and begun.
#[inline(always)]
unsafe fn frame(hit: Hit, work: *mut Work) -> Frame {
    // SAFETY: by contract.
    unsafe {
        let call = &raw const (*work).call;
        Frame { tgid: hit.tgid, probe: hit.index, g: (*call).g, depth: (*call).depth }
    }
}

/// # Safety
/// `work` is claimed and begun.
#[inline(always)]
unsafe fn send(hit: Hit, work: *mut Work) {
    if hit.has(traits::REHEARSES) {
        return;
    }
    // SAFETY: the bound keeps the record within the buffer.
    unsafe {
        if read::volatile(&(*work).faults) != 0 {
            count!(hit.faults);
        }
        let used = read::bound::<{ CELLS as i32 }>(read::volatile(&(*work).used));
        read::put(&raw mut (*work).call.bytes, used as u32);
        let record = (&raw mut (*work).call).cast::<Header>();
        let used = read::bound::<{ CELLS as i32 }>(used);
        emit_anywhere(record, size_of::<Call>() as u64 + used, Class::Flood);
    }
}

/// `runtime.recovery(gp)`: the frames between the panic and the frame whose deferred call recovered will not
/// return.
#[inline(always)]
fn unwind(ctx: &ProbeContext, hit: Hit, work: *mut Work) {
    let layout = hit.layout();
    let mut record = core::mem::MaybeUninit::<Unwind>::uninit();
    let record = record.as_mut_ptr();
    // SAFETY: the buffer is claimed; our own record, of which every field is written.
    unsafe {
        goroutine::registers(ctx, &raw mut (*work).registers);
        let g = read::volatile(&(*work).registers[0]);
        let window = &raw mut (*work).window;
        let found = goroutine::at(g, 0, layout, window);
        // Where execution goes on, and where the panic began. Go 1.22 and later keep both in the panic.
        let (resumed, began) = if layout.panic_sp == ABSENT {
            (goroutine::word(g, layout.sigcode0, window), 0)
        } else {
            let panic = goroutine::word(g, layout.panic, window);
            (goroutine::far(panic, layout.panic_sp), goroutine::far(panic, layout.panic_start_sp))
        };
        let up_to = if began == 0 { u64::MAX } else { found.high.wrapping_sub(began) };
        task::fill(&raw mut (*record).header, Kind::GoUnwind, found.believed);
        read::put(&raw mut (*record).probe, hit.index);
        read::put(&raw mut (*record).reserved, 0);
        read::put(&raw mut (*record).goid, Goid(found.goid));
        read::put(&raw mut (*record).g, g);
        read::put(&raw mut (*record).above, found.high.wrapping_sub(resumed));
        read::put(&raw mut (*record).up_to, up_to);
        emit_anywhere(record.cast::<Header>(), size_of::<Unwind>() as u64, Class::Normal);
    }
}

/// Signals that say that code may not be what it was: numbers that amd64 and arm64 share.
mod signal {
    pub(super) const ILL: u64 = 4;
    pub(super) const TRAP: u64 = 5;
    pub(super) const BUS: u64 = 7;
    pub(super) const SEGV: u64 = 11;
    /// `SI_KERNEL`: not for an address, as for one that cannot be.
    pub(super) const FROM_KERNEL: i32 = 0x80;
}

/// `signal_deliver(sig, info, ka)`
#[raw_tracepoint(tracepoint = "signal_deliver")]
fn go_signal(ctx: RawTracePointContext) -> i32 {
    let number: u64 = ctx.arg(0);
    let addressed = match number {
        signal::ILL | signal::TRAP => false,
        signal::BUS | signal::SEGV => true,
        _ => return 0,
    };
    let (tgid, _) = task::current_ids();
    if GO_PROCESSES.get_ptr(tgid).is_none() || !scope::contains(tgid) {
        return 0;
    }
    // `siginfo.si_code` is its third word and `k_sigaction.sa.sa_handler` its first on both architectures.
    let code = read::kernel::<i32>(ctx.arg(1), 8).unwrap_or(0);
    let handled = read::kernel::<u64>(ctx.arg(2), 0).is_some_and(|handler| handler > 1);
    // With a handler, and about an address: Go makes a panic of it.
    if addressed && handled && code > 0 && code < signal::FROM_KERNEL {
        return 0;
    }
    let mut record = core::mem::MaybeUninit::<Signal>::uninit();
    let record = record.as_mut_ptr();
    // SAFETY: our own record; every field is written.
    unsafe {
        task::fill(&raw mut (*record).header, Kind::GoSignal, 0);
        read::put(&raw mut (*record).signal, number as u32);
        read::put(&raw mut (*record).code, code);
        read::put(&raw mut (*record).handled, u32::from(handled));
        read::put(&raw mut (*record).reserved, 0);
        emit(record.cast::<Header>(), size_of::<Signal>() as u64, Class::Urgent);
    }
    0
}
