//! The threads of a kernel.
//!
//! A pass consists of many short products with little between them. Waking a thread takes about as long as such a
//! product, so the threads here wait in a loop for the next one before they sleep, as OpenMP's do.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder, Yield};

/// The time for which a thread waits for the next kernel before it sleeps: longer than what one thread does
/// alone between two products of a pass.
const AWAKE: Duration = Duration::from_micros(300);
/// The number of times that a waiting loop looks before other programs may run.
const SPINS: u32 = 16;
/// The longest wait for the helpers, in ns, that does not mean that other programs keep them from running.
const LATE: u64 = 1_000_000;
/// The shortest and the longest time for which the callers then work alone, in ns.
const ALONE: [u64; 2] = [5_000_000, 200_000_000];

/// The threads beside the caller's.
#[derive(Debug)]
struct Helpers {
    pool: ThreadPool,
    since: Instant,
    /// The time until which they stay awake, in ns after `since`.
    awake_until: AtomicU64,
    /// True for each that waits awake.
    awake: Vec<AtomicBool>,
    crowd: Crowd,
}

/// The times at which callers work alone, because more programs want to run than there are processors. A helper that
/// is kept from running for a time slice of the system's would hold up its caller as long, at every product.
#[derive(Debug, Default)]
struct Crowd {
    alone_until: AtomicU64,
    /// The time for which they worked alone when it was last found, less for each product since.
    alone_for: AtomicU64,
}

/// The number of threads for `work`, of which each has at least `per_thread`.
pub(crate) fn threads_for(work: usize, per_thread: usize) -> usize {
    (work / per_thread).clamp(1, rayon::current_num_threads())
}

/// Calls `task` for each chunk of `size` values with its place. Up to `threads` threads take one chunk after
/// another: the caller's and those of the kernels, which are awake between the products of a pass.
///
/// # Panics
/// If `size` is 0 or a task panics.
pub fn each_chunk<T: Send>(
    values: &mut [T],
    size: usize,
    threads: usize,
    task: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    each_chunk_with(values, size, threads, || (), |(), at, chunk| task(at, chunk));
}

/// As [`each_chunk`], with a state that each thread makes once.
pub(crate) fn each_chunk_with<T: Send, S>(
    values: &mut [T],
    size: usize,
    threads: usize,
    init: impl Fn() -> S + Send + Sync,
    task: impl Fn(&mut S, usize, &mut [T]) + Send + Sync,
) {
    let threads = threads.min(values.len().div_ceil(size)).min(rayon::current_num_threads());
    if threads <= 1 {
        let mut state = init();
        let chunks = values.chunks_mut(size).enumerate();
        chunks.for_each(|(at, chunk)| task(&mut state, at, chunk));
    } else if let Some(helpers) = helpers() {
        let chunks = Mutex::new(values.chunks_mut(size).enumerate());
        let next = || chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
        helpers.share(threads, || {
            let mut state = init();
            while let Some((at, chunk)) = next() {
                task(&mut state, at, chunk);
            }
        });
    } else {
        let chunks = values.par_chunks_mut(size).enumerate();
        chunks.for_each_init(init, |state, (at, chunk)| task(state, at, chunk));
    }
}

/// The helpers; `None` on a thread of a pool, which shares its work with that pool, and if the system has refused
/// them.
fn helpers() -> Option<&'static Helpers> {
    static HELPERS: OnceLock<Option<Helpers>> = OnceLock::new();
    if rayon::current_thread_index().is_some() {
        return None;
    }
    HELPERS.get_or_init(|| Helpers::new(rayon::current_num_threads() - 1)).as_ref()
}

impl Helpers {
    /// Starts the threads; `None` if the system refuses them.
    fn new(count: usize) -> Option<Self> {
        Some(Self {
            pool: ThreadPoolBuilder::new()
                .num_threads(count)
                .thread_name(|at| format!("kernel {at}"))
                .build()
                .ok()?,
            since: Instant::now(),
            awake_until: AtomicU64::new(0),
            awake: (0..count).map(|_| AtomicBool::new(false)).collect(),
            crowd: Crowd::default(),
        })
    }

    /// Calls `work` on the caller's thread and on `threads - 1` of these, and waits until all have returned. On the
    /// caller's thread alone while other programs keep the helpers from running.
    fn share(&'static self, threads: usize, work: impl Fn() + Sync) {
        let began = self.now();
        if self.crowd.is_there(began) {
            return work();
        }
        // Waking a helper that sleeps can take as long on a virtual machine.
        let awake = self.awake.iter().all(|awake| awake.load(Ordering::Relaxed));
        let busy = AtomicUsize::new(threads - 1);
        self.pool.in_place_scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| {
                    let _returned = Returned(&busy);
                    work();
                    self.stay_awake();
                });
            }
            work();
            let done = self.now();
            // The scope would sleep.
            while busy.load(Ordering::Acquire) > 0 {
                pause();
            }
            if awake {
                self.crowd.learn(began, done, self.now());
            }
        });
    }

    /// Keeps the calling helper awake for a while after it returns.
    fn stay_awake(&'static self) {
        self.awake_until.fetch_max(self.now() + AWAKE.as_nanos() as u64, Ordering::Relaxed);
        let at = rayon::current_thread_index().expect("helpers are threads of a pool");
        if self.awake[at].swap(true, Ordering::Relaxed) {
            return;
        }
        rayon::spawn(move || {
            while self.now() < self.awake_until.load(Ordering::Relaxed) {
                if rayon::yield_now() != Some(Yield::Executed) {
                    pause();
                }
            }
            self.awake[at].store(false, Ordering::Relaxed);
        });
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }
}

impl Crowd {
    fn is_there(&self, now: u64) -> bool {
        now < self.alone_until.load(Ordering::Relaxed)
    }

    /// Learns from a caller that worked from `began` to `done` and then waited for the helpers until `now`.
    fn learn(&self, began: u64, done: u64, now: u64) {
        let (own, waited) = (done - began, now - done);
        let alone_for = self.alone_for.load(Ordering::Relaxed);
        // A helper may still be at its last chunk, for as long as the caller's own work took.
        if waited > LATE && waited > own {
            let [shortest, longest] = ALONE;
            let alone_for = (2 * alone_for).clamp(shortest, longest);
            self.alone_for.store(alone_for, Ordering::Relaxed);
            self.alone_until.store(now + alone_for, Ordering::Relaxed);
        } else if alone_for > 0 {
            self.alone_for.store(alone_for - alone_for.div_ceil(64), Ordering::Relaxed);
        }
    }
}

/// Counts a helper as returned, after a panic too.
struct Returned<'b>(&'b AtomicUsize);

impl Drop for Returned<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A moment of a waiting loop. Other programs run if they wait for this processor.
fn pause() {
    for _ in 0..SPINS {
        spin_loop();
    }
    thread::yield_now();
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn every_chunk_has_its_turn_once_from_several_callers_at_once() {
        let add = |values: &mut Vec<usize>| {
            let threads = 1 + values.len() % 4;
            each_chunk(values, 7, threads, |at, chunk| {
                for (offset, value) in chunk.iter_mut().enumerate() {
                    *value += 7 * at + offset;
                }
            });
        };
        thread::scope(|scope| {
            for len in [0, 1, 7, 50, 1003] {
                scope.spawn(move || {
                    let mut values = vec![1; len];
                    for _ in 0..100 {
                        add(&mut values);
                    }
                    let expected: Vec<usize> = (0..len).map(|at| 1 + 100 * at).collect();
                    assert_eq!(values, expected);
                });
            }
        });
    }

    #[test]
    fn callers_work_alone_while_the_helpers_are_kept_from_running() {
        const MS: u64 = 1_000_000;
        let crowd = Crowd::default();
        let learn = |own: u64, waited: u64| {
            let now = 1000 * MS;
            crowd.learn(now - waited - own, now - waited, now);
        };
        let is_there = |after: u64| crowd.is_there(1000 * MS + after);
        // A short wait, and one for a long chunk.
        for (own, waited) in [(10_000, 50_000), (20 * MS, 15 * MS)] {
            learn(own, waited);
            assert!(!is_there(0));
        }

        learn(10_000, 3 * MS);
        assert!(is_there(4 * MS) && !is_there(5 * MS));
        // Found again and again, it is looked for less often, up to a limit.
        learn(10_000, 3 * MS);
        assert!(is_there(9 * MS) && !is_there(10 * MS));
        for _ in 0..10 {
            learn(10_000, 3 * MS);
        }
        assert!(is_there(199 * MS) && !is_there(200 * MS));

        for _ in 0..2000 {
            learn(10_000, 10_000);
        }
        learn(10_000, 3 * MS);
        assert!(is_there(4 * MS) && !is_there(5 * MS));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_threads_go_on() {
        let mut values = vec![0; 64];
        let panics = AssertUnwindSafe(|| {
            each_chunk(&mut values, 1, 8, |at, _| assert!(at != 63, "the last one"));
        });
        assert!(catch_unwind(panics).is_err());
        each_chunk(&mut values, 1, 8, |at, chunk| chunk[0] = at);
        assert_eq!(values, (0..64).collect::<Vec<_>>());
    }
}
