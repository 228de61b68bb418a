//! Offsets in Go's structures, by Go release. `cargo xtask go-offsets --bless` writes this file from real
//! toolchains; do not edit it.
//!
//! A line has the first offset, then those that are different since a minor release.

super::offsets! {
    /// `runtime.g`, `stack.lo`: Lowest address of the goroutine's stack.
    g_stack_lo: u32 = 0, [];
    /// `runtime.g`, `stack.hi`: End of the goroutine's stack.
    g_stack_hi: u32 = 8, [];
    /// `runtime.g`, `_panic`: Innermost panic, `_panic*`.
    g_panic: u32 = 32, [];
    /// `runtime.g`, `m`: Thread that runs it, `m*`; 0 when none does.
    g_m: u32 = 48, [];
    /// `runtime.g`, `sched.sp`: Saved stack pointer while it does not run.
    g_sched_sp: u32 = 56, [];
    /// `runtime.g`, `sched.pc`: Saved instruction pointer while it does not run.
    g_sched_pc: u32 = 64, [];
    /// `runtime.g`, `sched.bp`: Saved frame pointer while it does not run.
    g_sched_bp: u32 = 104, [(25, 96)];
    /// `runtime.g`, `atomicstatus`: State, 4 bytes: 2 is running, 6 is dead.
    g_atomicstatus: u32 = 144, [(23, 152), (25, 144)];
    /// `runtime.g`, `goid`: Number of the goroutine, 8 bytes; 0 for g0 and gsignal.
    g_goid: u32 = 152, [(23, 160), (25, 152)];
    /// `runtime.g`, `parentGoid`: Number of the goroutine that started it, 8 bytes.
    g_parent_goid: Option<u32> = None, [(21, Some(272)), (23, Some(280)), (25, Some(272)), (26, Some(280))];
    /// `runtime.g`, `gopc`: Address of the `go` statement that made it.
    g_gopc: u32 = 296, [(21, 280), (23, 288), (25, 280), (26, 288)];
    /// `runtime.g`, `startpc`: Address of its function.
    g_startpc: u32 = 312, [(21, 296), (23, 304), (25, 296), (26, 304)];
    /// `runtime.g`, `sigcode0`: Up to 1.21: stack pointer to which a panic is recovered.
    g_sigcode0: u32 = 272, [(21, 248), (23, 256), (25, 248), (26, 256)];
    /// `runtime.g`, `sigcode1`: Up to 1.21: address at which a recovered panic goes on.
    g_sigcode1: u32 = 280, [(21, 256), (23, 264), (25, 256), (26, 264)];
    /// `runtime.g`, `labels`: Labels of the profiler, pointer.
    g_labels: u32 = 360, [(21, 344), (23, 352), (25, 344), (26, 352)];
    /// `runtime.m`, `g0`: The thread's own goroutine for the scheduler, `g*`.
    m_g0: u32 = 0, [];
    /// `runtime.m`, `gsignal`: The thread's goroutine for signals, `g*`.
    m_gsignal: u32 = 80, [(25, 72)];
    /// `runtime.m`, `procid`: Thread id (tid), 8 bytes.
    m_procid: u32 = 72, [(25, 64)];
    /// `runtime.m`, `curg`: The goroutine that the thread runs, `g*`.
    m_curg: u32 = 192, [(25, 184)];
    /// `runtime._panic`, `argp`: Arguments of the deferred call that runs.
    panic_argp: Option<u32> = Some(0), [(26, None)];
    /// `runtime._panic`, `arg`: Argument of panic: interface of type and data.
    panic_arg: u32 = 8, [(26, 0)];
    /// `runtime._panic`, `link`: The panic before this one.
    panic_link: u32 = 24, [(26, 16)];
    /// `runtime._panic`, `startSP`: Stack pointer where the panic began.
    panic_start_sp: Option<u32> = None, [(22, Some(40)), (26, Some(32))];
    /// `runtime._panic`, `sp`: Stack pointer of the frame whose deferred calls run; up to 1.21 absent or of the abort.
    panic_sp: u32 = 40, [(22, 48), (26, 40), (27, 48)];
    /// `runtime._panic`, `recovered`: Whether it is over, 1 byte.
    panic_recovered: u32 = 48, [(22, 96), (26, 88)];
    /// `runtime._panic`, `goexit`: Whether it is a Goexit, 1 byte.
    panic_goexit: u32 = 50, [(22, 97), (25, 98), (26, 90)];
    /// `runtime.moduledata`, `text`: Begin of the code.
    moduledata_text: u32 = 176, [];
    /// `runtime.moduledata`, `etext`: End of the code.
    moduledata_etext: u32 = 184, [];
    /// `runtime.moduledata`, `types`: Begin of the types.
    moduledata_types: u32 = 280, [(20, 296)];
    /// `runtime.moduledata`, `etypes`: End of the types.
    moduledata_etypes: u32 = 288, [(20, 304), (27, 312)];
    /// `runtime.gcControllerState`, `heapLive`: Bytes that the last collection left and since allocated, 8 bytes.
    heap_live: u32 = 48, [(18, 120), (19, 136), (20, 80), (21, 104)];
    /// `runtime.gcControllerState`, `heapInUse`: Bytes in spans in use, 8 bytes.
    heap_in_use: Option<u32> = None, [(19, Some(304)), (20, Some(248)), (21, Some(272))];
    /// `runtime.gcControllerState`, `heapFree`: Bytes in free spans not given back, 8 bytes.
    heap_free: Option<u32> = None, [(19, Some(320)), (20, Some(264)), (21, Some(288))];
    /// `runtime.gcControllerState`, `totalAlloc`: Bytes ever allocated, 8 bytes.
    heap_total_alloc: Option<u32> = None, [(19, Some(328)), (20, Some(272)), (21, Some(296))];
    /// `runtime.gcControllerState`, `totalFree`: Bytes ever freed, 8 bytes.
    heap_total_free: Option<u32> = None, [(19, Some(336)), (20, Some(280)), (21, Some(304))];
    /// `runtime.mstats`, `heap_inuse`: Up to 1.18: bytes in spans in use, 8 bytes.
    mstats_heap_in_use: Option<u32> = Some(56), [(19, None)];
    /// `runtime.schedt`, `ngsys`: Number of the runtime's own goroutines, 4 bytes.
    sched_ngsys: u32 = 72, [(25, 80), (26, 96)];
    /// `runtime.schedt`, `gFree.n`: Up to 1.24: number of dead goroutines kept for reuse, 4 bytes.
    sched_gfree_n: Option<u32> = Some(176), [(20, Some(184)), (25, None)];
    /// `runtime.hmap`, `count`: Entries of an old map, 8 bytes.
    hmap_count: Option<u32> = Some(0), [(24, None)];
    /// `runtime.hmap`, `B`: Two's logarithm of an old map's buckets, 1 byte.
    hmap_b: Option<u32> = Some(9), [(24, None)];
    /// `runtime.hmap`, `buckets`: Buckets of an old map.
    hmap_buckets: Option<u32> = Some(16), [(24, None)];
    /// `runtime.hmap`, `oldbuckets`: Buckets from before an old map grew, which still may have entries.
    hmap_oldbuckets: Option<u32> = Some(24), [(24, None)];
    /// `internal/runtime/maps.Map`, `used`: Entries of a Swiss map, 8 bytes.
    map_used: Option<u32> = None, [(24, Some(0))];
    /// `internal/runtime/maps.Map`, `dirPtr`: The only group of a small Swiss map, or its tables.
    map_dir_ptr: Option<u32> = None, [(24, Some(16))];
    /// `internal/runtime/maps.Map`, `dirLen`: Number of a Swiss map's table pointers; 0 if it is small.
    map_dir_len: Option<u32> = None, [(24, Some(24))];
    /// `internal/runtime/maps.Map`, `globalDepth`: Two's logarithm of the number of table pointers, 1 byte.
    map_global_depth: Option<u32> = None, [(24, Some(32))];
    /// `internal/runtime/maps.table`, `groups.data`: Groups of a Swiss map's table.
    table_groups: Option<u32> = None, [(24, Some(16))];
    /// `internal/runtime/maps.table`, `groups.lengthMask`: Number of groups less one.
    table_length_mask: Option<u32> = None, [(24, Some(24))];
    /// `net/http.Request`, `Method`: String.
    request_method: u32 = 0, [];
    /// `net/http.Request`, `URL`: `url.URL*`.
    request_url: u32 = 16, [];
    /// `net/http.Request`, `Header`: Map of strings to slices of strings.
    request_header: u32 = 56, [];
    /// `net/http.Request`, `Host`: String.
    request_host: u32 = 128, [];
    /// `net/http.Request`, `RemoteAddr`: String.
    request_remote_addr: u32 = 176, [];
    /// `net/http.Request`, `ctx`: `context.Context`: interface.
    request_ctx: u32 = 232, [(23, 248)];
    /// `net/url.URL`, `Path`: String.
    url_path: u32 = 56, [];
    /// `context.valueCtx`, `Context`: The context around it: interface.
    value_ctx_context: u32 = 0, [];
    /// `context.valueCtx`, `key`: Interface.
    value_ctx_key: u32 = 16, [];
    /// `context.valueCtx`, `val`: Interface.
    value_ctx_val: u32 = 32, [];
    /// `context.cancelCtx`, `Context`: The context around it: interface.
    cancel_ctx_context: u32 = 0, [];
}
