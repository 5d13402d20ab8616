//! The time for which the program keeps freed memory.

use std::time::Duration;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// mimalloc's option `purge_delay`, in ms. The crate has no name for its number in `mimalloc.h`.
const PURGE_DELAY: mi_option_t = 15;
/// When the time is over, mimalloc gives all free memory back, however lately it was freed. With its own time of one
/// second, a pass of several seconds pays for the same pages again and again.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Sets mimalloc to keep freed memory for ten seconds, if it is the allocator and `MIMALLOC_PURGE_DELAY` does not say
/// otherwise. To be called before other threads run.
pub fn keep_freed_memory() {
    let ms = KEPT_FOR.as_millis().try_into().expect("ten seconds are few ms");
    // SAFETY: the function stores a number. It is not thread-safe, so it is called first in `main`.
    #[allow(unsafe_code)]
    unsafe {
        mi_option_set_default(PURGE_DELAY, ms);
    }
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    #[test]
    fn the_option_is_the_one_that_mimalloc_sets_to_a_second() {
        // SAFETY: reads a number, which nothing else in this test's process sets.
        #[allow(unsafe_code)]
        let value = || unsafe { mi_option_get(PURGE_DELAY) };
        let before = value();

        keep_freed_memory();

        assert_eq!((before, value()), (1000, 10_000));
    }
}
