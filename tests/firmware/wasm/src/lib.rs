//! The program as a WebAssembly module; `run.mjs` is its host.
#![no_std]

use common::{Cost, Memory, Target};

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    /// Appends to `lines` (0) or `values` (1).
    fn append(file: u32, bytes: *const u8, len: usize);
}

struct Module;

impl Target for Module {
    fn line(&mut self, text: &[u8]) {
        // SAFETY: reads the bytes.
        unsafe { append(0, text.as_ptr(), text.len()) };
    }

    fn values(&mut self, bytes: &[u8]) {
        // SAFETY: reads the bytes.
        unsafe { append(1, bytes.as_ptr(), bytes.len()) };
    }

    fn measured<T>(&mut self, stage: impl FnOnce() -> T) -> (T, Cost) {
        (stage(), Cost::default())
    }
}

/// Runs all cases; 0 on success.
#[unsafe(no_mangle)]
pub extern "C" fn run() -> u32 {
    common::run(&mut Memory::new(), &mut Module).is_err().into()
}

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
}
