//! A plugin for QEMU that counts how often each instruction runs from one address to another.
//!
//! `-plugin FILE,from=A,to=B,out=FILE`: a window begins with the instruction at `A` and ends before that at `B`. For each,
//! `out` gets a line an instruction, `address runs taken bytes` (hexadecimal but for the two numbers), and an empty line.
//! `taken` says how often another instruction than the one behind it came next; it is zero but for branches.
//!
//! QEMU's plugin API of version 1 (QEMU 4.2 to 8.2), `include/qemu/qemu-plugin.h`; no header is needed.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The version of the API.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = 1;

const ADD_U64: c_int = 0;
const NO_REGISTERS: c_int = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, call: extern "C" fn(u64, *mut c_void));
    fn qemu_plugin_tb_n_insns(block: *const c_void) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const c_void, index: usize) -> *mut c_void;
    fn qemu_plugin_insn_vaddr(instruction: *const c_void) -> u64;
    fn qemu_plugin_insn_data(instruction: *const c_void) -> *const u8;
    fn qemu_plugin_insn_size(instruction: *const c_void) -> usize;
    fn qemu_plugin_register_vcpu_insn_exec_inline(instruction: *mut c_void, op: c_int, at: *mut u64, by: u64);
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut c_void,
        call: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut c_void,
        call: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
}

/// An instruction of the guest. QEMU's code has its counter's address, so it stays for good.
struct Instruction {
    runs: AtomicU64,
    taken: AtomicU64,
    bytes: Vec<u8>,
}

/// A translated block; for good, too.
struct Block {
    start: u64,
    /// The address behind it.
    end: u64,
    last: &'static Instruction,
}

/// What was asked for.
struct Settings {
    from: u64,
    to: u64,
    out: Mutex<File>,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();
static SEEN: Mutex<BTreeMap<u64, &'static Instruction>> = Mutex::new(BTreeMap::new());
/// The block that ran last.
static BEFORE: AtomicPtr<Block> = AtomicPtr::new(ptr::null_mut());

impl Settings {
    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let words: BTreeMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
        let number = |name| u64::from_str_radix(words.get(name)?.trim_start_matches("0x"), 16).ok();
        let out = Mutex::new(File::create(words.get("out")?).ok()?);
        Some(Self { from: number("from")?, to: number("to")?, out })
    }
}

/// QEMU calls this when it loads the plugin.
///
/// # Safety
/// `words` points to `count` strings that end in zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _about: *const c_void,
    count: c_int,
    words: *const *const c_char,
) -> c_int {
    let words = (0..usize::try_from(count).unwrap_or(0)).map(|index| {
        // SAFETY: there are `count` strings, and they live until this returns.
        unsafe { CStr::from_ptr(*words.add(index)) }.to_str().unwrap_or_default()
    });
    let Some(settings) = Settings::parse(words) else { return 1 };
    if SETTINGS.set(settings).is_err() {
        return 1;
    }
    // SAFETY: `id` is this plugin's, and the function is there as long as QEMU is.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}

/// A block was translated: have its instructions counted. It is so again whenever QEMU has forgotten it.
extern "C" fn translated(_id: u64, block: *mut c_void) {
    let Some(settings) = SETTINGS.get() else { return };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut start, mut end, mut last) = (None, 0, None);
    // SAFETY: QEMU passes a block; it and its instructions live until this returns.
    for index in 0..unsafe { qemu_plugin_tb_n_insns(block) } {
        // SAFETY: as above, and `index` is below their number.
        let instruction = unsafe { qemu_plugin_tb_get_insn(block, index) };
        // SAFETY: as above; the bytes are copied before this returns.
        let (address, bytes) = unsafe {
            let (data, size) = (qemu_plugin_insn_data(instruction), qemu_plugin_insn_size(instruction));
            (qemu_plugin_insn_vaddr(instruction), std::slice::from_raw_parts(data, size))
        };
        // At the end of a page QEMU has looked at the next instruction and taken it for a part of this one.
        let bytes = bytes.get(..length(bytes)).unwrap_or(bytes);
        let counted: &'static Instruction = seen.entry(address).or_insert_with(|| {
            let (runs, taken) = (AtomicU64::new(0), AtomicU64::new(0));
            Box::leak(Box::new(Instruction { runs, taken, bytes: bytes.to_vec() }))
        });
        // SAFETY: the counter is never freed, and of the atomics' layout; one core writes it.
        unsafe { qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_U64, counted.runs.as_ptr(), 1) };
        if address == settings.from {
            // SAFETY: the function is there as long as QEMU is. QEMU calls it before the instruction is counted.
            unsafe { qemu_plugin_register_vcpu_insn_exec_cb(instruction, begins, NO_REGISTERS, ptr::null_mut()) };
        } else if address == settings.to {
            // SAFETY: as above.
            unsafe { qemu_plugin_register_vcpu_insn_exec_cb(instruction, ends, NO_REGISTERS, ptr::null_mut()) };
        }
        start.get_or_insert(address);
        (end, last) = (address + bytes.len() as u64, Some(counted));
    }
    let (Some(start), Some(last)) = (start, last) else { return };
    let data: *mut Block = Box::leak(Box::new(Block { start, end, last }));
    // SAFETY: `data` is a block that is never freed.
    unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, entered, NO_REGISTERS, data.cast()) };
}

/// Bytes of the Thumb instruction that `bytes` begin with: its upper five bits tell.
fn length(bytes: &[u8]) -> usize {
    if bytes.get(1).is_some_and(|upper| upper >> 3 >= 0b11101) { 4 } else { 2 }
}

/// A block begins.
extern "C" fn entered(_core: c_uint, data: *mut c_void) {
    let block = data.cast::<Block>();
    let before = BEFORE.swap(block, Relaxed);
    // SAFETY: both are null or blocks of `translated`, which are never freed or changed.
    if let (Some(before), Some(block)) = unsafe { (before.as_ref(), block.as_ref()) }
        && before.end != block.start
    {
        before.last.taken.fetch_add(1, Relaxed);
    }
}

/// A window begins.
extern "C" fn begins(_core: c_uint, _data: *mut c_void) {
    for instruction in SEEN.lock().unwrap_or_else(PoisonError::into_inner).values() {
        instruction.runs.store(0, Relaxed);
        instruction.taken.store(0, Relaxed);
    }
}

/// A window ends.
extern "C" fn ends(_core: c_uint, _data: *mut c_void) {
    let Some(settings) = SETTINGS.get() else { return };
    let mut text = String::new();
    for (address, instruction) in SEEN.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let (runs, taken) = (instruction.runs.load(Relaxed), instruction.taken.load(Relaxed));
        if runs == 0 {
            continue;
        }
        let _ = write!(text, "{address:x} {runs} {taken} ");
        for byte in &instruction.bytes {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    // A file that lacks something is no profile: the reader counts the windows.
    let _ = settings.out.lock().unwrap_or_else(PoisonError::into_inner).write_all((text + "\n").as_bytes());
}
