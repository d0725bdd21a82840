//! The heap of the command: tract takes and frees megabytes for every operator, on each thread.
//!
//! Large blocks of all threads lie in one arena, by two-level segregated fit (Masmano, Ripoll, Crespo and Real 2004), so that what one operator frees the next
//! one takes, whatever its size and thread. An allocator of small blocks alone, which this is beside it, keeps freed blocks by size and by thread: two
//! threads then hold 15 MB more.

use memmap2::MmapOptions;
use mimalloc::MiMalloc;
use rlsf::Tlsf;
use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_int, c_long};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Blocks of fewer bytes are mimalloc's.
const LARGE: usize = 16 << 10;

/// Blocks of so many bytes are mimalloc's again, which gives them back to the system when they are freed: a photo, the weights of a large network.
const HUGE: usize = 32 << 20;

/// Bytes that are reserved for the arena. Memory is only where something has been written.
const ARENA: usize = 1 << 30;

/// Milliseconds for which mimalloc keeps what is freed, as long as `MIMALLOC_PURGE_DELAY` says nothing else. To fetch each page from the system anew took a
/// fifth of a pass.
const PURGE_DELAY: c_long = 500;

/// Free blocks of up to 2^(27 + 5) bytes, 32 classes for each power of two.
type Blocks = Tlsf<'static, u32, u32, 27, 32>;

/// The arena's blocks, once it was asked for; it may not be had.
static BLOCKS: Mutex<Option<Blocks>> = Mutex::new(None);

/// Where the arena begins. Nothing lies behind the last address.
static START: AtomicUsize = AtomicUsize::new(usize::MAX);

/// [`MiMalloc`] for what is small or huge, the arena for what is large.
pub(crate) struct Heap;

/// Whether a block of so many bytes is the arena's, if there is room.
fn large(bytes: usize) -> bool {
    (LARGE..HUGE).contains(&bytes)
}

/// Whether a block lies in the arena.
fn in_arena(block: *mut u8) -> bool {
    block.addr().wrapping_sub(START.load(Ordering::Relaxed)) < ARENA
}

/// Does something with the arena's blocks, `None` where memory cannot be reserved without being provided.
fn with_blocks<T>(work: impl FnOnce(&mut Blocks) -> Option<T>) -> Option<T> {
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    work(blocks.get_or_insert_with(arena))
}

/// The whole arena as one free block.
#[allow(unsafe_code, reason = "the arena has no other owner than what is made here")]
fn arena() -> Blocks {
    let mut blocks = Blocks::new();
    if cfg!(all(unix, target_pointer_width = "64"))
        && let Ok(map) = MmapOptions::new().len(ARENA).no_reserve_swap().map_anon()
    {
        let mut map = ManuallyDrop::new(map);
        START.store(map.as_ptr().addr(), Ordering::Relaxed);
        // SAFETY: the map is never given back, and nobody else knows it.
        unsafe { blocks.insert_free_block_ptr(NonNull::from(&mut **map)) };
    }
    blocks
}

#[allow(unsafe_code, reason = "that is how Rust is told of a heap")]
// SAFETY: a block is given back to who gave it, which its address tells, with the layout it was asked with.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if large(layout.size())
            && let Some(block) = with_blocks(|blocks| blocks.allocate(layout))
        {
            return block.as_ptr();
        }
        // SAFETY: the caller's.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !large(layout.size()) {
            // SAFETY: the caller's.
            return unsafe { MiMalloc.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's, and a block that is not null has so many bytes.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match NonNull::new(block).filter(|_| in_arena(block)) {
            Some(block) => {
                with_blocks(|blocks| {
                    // SAFETY: the block is of the arena, of this alignment.
                    unsafe { blocks.deallocate(block, layout.align()) };
                    Some(())
                });
            }
            // SAFETY: the caller's, and who is not of the arena is mimalloc's.
            None => unsafe { MiMalloc.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's: the size is one of a layout; a block that moves has as many bytes as are copied, and is given back as it was taken.
        unsafe {
            if !in_arena(block) && !large(size) {
                return MiMalloc.realloc(block, layout, size);
            }
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                block.copy_to_nonoverlapping(moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

/// Tells mimalloc how long to keep what is freed.
#[allow(unsafe_code, reason = "mimalloc's options are functions of C")]
pub(crate) fn keep_freed_memory_a_while() {
    unsafe extern "C" {
        fn mi_option_set_default(option: c_int, value: c_long);
    }
    /// `mi_option_purge_delay` of mimalloc's header, version 2.
    const OPTION: c_int = 15;
    // SAFETY: the allocator that is linked has this function, which stores a number and may be called at any time.
    unsafe { mi_option_set_default(OPTION, PURGE_DELAY) }
}

/// Gives what mimalloc has kept back to the system now.
#[allow(unsafe_code, reason = "mimalloc has no safe interface for this")]
pub(crate) fn give_memory_back() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: the allocator that is linked has this function, which may be called at any time and by any thread.
    unsafe { mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of all sizes and alignments, of three threads, hold what was written while others come, grow, shrink and go.
    #[test]
    fn blocks_keep_what_was_written() {
        let turn = |seed: u64| {
            let mut state = seed;
            let mut next = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from(state >> 33).unwrap() % below
            };
            let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
            #[allow(unsafe_code, reason = "the heap is used as Rust does")]
            // SAFETY: every block is read and given back with its own layout.
            let check = |(block, layout, mark): (*mut u8, Layout, u8)| unsafe {
                assert_eq!(block.addr() % layout.align(), 0);
                assert!(std::slice::from_raw_parts(block, layout.size()).iter().all(|byte| *byte == mark));
            };
            for _ in 0..3000 {
                let most = 2 << next(22);
                let size = 1 + next(most);
                let layout = Layout::from_size_align(size, 1 << next(13)).unwrap();
                let mark = u8::try_from(next(256)).unwrap();
                #[allow(unsafe_code, reason = "the heap is used as Rust does")]
                // SAFETY: sizes are not zero, and layouts those of the blocks.
                unsafe {
                    let block = if mark.is_multiple_of(2) { Heap.alloc(layout) } else { Heap.alloc_zeroed(layout) };
                    assert!(
                        mark.is_multiple_of(2) || std::slice::from_raw_parts(block, size).iter().all(|byte| *byte == 0)
                    );
                    block.write_bytes(mark, size);
                    held.push((block, layout, mark));
                    if held.len() > 20 {
                        let (block, layout, mark) = held.swap_remove(next(held.len()));
                        check((block, layout, mark));
                        let most = 2 << next(22);
                        let size = 1 + next(most);
                        let grown = Heap.realloc(block, layout, size);
                        let kept = Layout::from_size_align(size.min(layout.size()), layout.align()).unwrap();
                        check((grown, kept, mark));
                        Heap.dealloc(grown, Layout::from_size_align(size, layout.align()).unwrap());
                    }
                }
            }
            held.into_iter().for_each(check);
        };
        std::thread::scope(|scope| (1..4).for_each(|seed| drop(scope.spawn(move || turn(seed)))));
    }
}
