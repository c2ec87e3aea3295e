//! What code each thread runs at this moment, for whoever looks from outside: [`crate::watchdog`].
//!
//! One word for each thread, which its thread writes when a poll of a call begins, and puts back when it ends. Others
//! may set one bit in it, the mark, and do so by compare-and-exchange: so the mark is in the word only for as long as
//! nobody has written it anew, which is for as long as the same poll goes on. Polls nest; the word that is put back is
//! the one that was there, with its mark.
//!
//! The word is all there is to know: nobody follows a pointer to what another thread has, and so no order but that of
//! each word matters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::app::AppId;

/// One that looks was here.
const MARK: u64 = 1 << 63;
const APP_BITS: u32 = 8;
const MODULE_BITS: u32 = 12;
const INSTANCE_BITS: u32 = 32;
const METHOD_BITS: u32 = 11;
const _: () = assert!(1 + APP_BITS + MODULE_BITS + INSTANCE_BITS + METHOD_BITS == u64::BITS);

/// A thread's number for the kernel.
pub(crate) type Tid = i32;

/// The method and the instance whose code a thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runs {
    /// The module's place in its App.
    pub(crate) module: u16,
    /// The method's place in its module.
    pub(crate) method: u16,
    /// The instance's count in its node.
    pub(crate) instance: u32,
}

/// The part of the word that an instance keeps ready; zero if it is not to be seen.
pub(crate) fn of_instance(app: AppId, module: u16, instance: u64) -> u64 {
    if app == AppId::NONE || u32::from(module) >> MODULE_BITS != 0 {
        return 0;
    }
    let app = u64::from(app.0) & ((1 << APP_BITS) - 1);
    let instance = instance & u64::from(u32::MAX);
    ((app << MODULE_BITS | u64::from(module)) << INSTANCE_BITS | instance) << METHOD_BITS
}

/// The word of a call.
#[inline(always)]
pub(crate) fn of_call(instance: u64, method: u16) -> u64 {
    instance | (u64::from(method) & ((1 << METHOD_BITS) - 1))
}

impl Runs {
    /// What a word says of an App.
    fn read(word: u64, app: AppId) -> Option<Runs> {
        let bits = |above: u32, width: u32| (word >> above) & ((1 << width) - 1);
        let instance = bits(METHOD_BITS, INSTANCE_BITS) as u32;
        let theirs = bits(METHOD_BITS + INSTANCE_BITS + MODULE_BITS, APP_BITS);
        let is_of_app = instance != 0 && theirs == u64::from(app.0) & ((1 << APP_BITS) - 1);
        is_of_app.then(|| Runs {
            module: bits(METHOD_BITS + INSTANCE_BITS, MODULE_BITS) as u16,
            method: bits(0, METHOD_BITS) as u16,
            instance,
        })
    }
}

/// The word of one thread, which alone writes it, but for the mark.
#[derive(Debug)]
pub(super) struct Word(AtomicU64);

impl Word {
    pub(super) const fn new() -> Word {
        Word(AtomicU64::new(0))
    }

    /// Its thread runs something else now; gives what it has run before.
    #[inline(always)]
    pub(super) fn begin(&self, word: u64) -> u64 {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(word, Ordering::Relaxed);
        before
    }

    /// Its thread goes on with what it has run before.
    #[inline(always)]
    pub(super) fn end(&self, before: u64) {
        self.0.store(before, Ordering::Relaxed);
    }
}

/// The words of the threads that are looked at.
static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

struct Seen {
    tid: Tid,
    word: *const Word,
}

// SAFETY: it is a `&Word` for as long as it is in `SEEN`: see `show`.
unsafe impl Send for Seen {}

fn seen() -> MutexGuard<'static, Vec<Seen>> {
    SEEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Has others look at this thread, until what is given back is dropped, which must happen on this thread.
pub(super) fn show() -> Shown {
    // Where thread-locals are not part of a thread's own memory, one may go before another that refers to it.
    #[cfg(target_os = "linux")]
    let tid = {
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        seen().push(Seen { tid, word: super::HERE.with(|here| &raw const here.runs) });
        Some(tid)
    };
    #[cfg(not(target_os = "linux"))]
    let tid = None;
    Shown { tid, _here: std::marker::PhantomData }
}

/// Others look at this thread.
pub(super) struct Shown {
    tid: Option<Tid>,
    /// It stays on its thread.
    _here: std::marker::PhantomData<*const ()>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        seen().retain(|seen| Some(seen.tid) != self.tid);
    }
}

/// What the threads run of an App's code, each with whether it runs the same poll as at the last look.
pub(crate) fn look(app: AppId) -> Vec<(Tid, Runs, bool)> {
    let mut all = Vec::new();
    for Seen { tid, word } in &*seen() {
        // SAFETY: the word is a thread-local without a destructor, whose memory is its thread's until that has run all
        // its destructors. One of these drops the thread's `Shown`, which takes the word out of the list; and the list
        // is locked here.
        let word = unsafe { &(**word).0 };
        let now = word.load(Ordering::Relaxed);
        let Some(runs) = Runs::read(now, app) else { continue };
        let is_marked = now & MARK != 0;
        if !is_marked {
            // If it fails, that poll has just ended.
            let _ = word.compare_exchange(now, now | MARK, Ordering::Relaxed, Ordering::Relaxed);
        }
        all.push((*tid, runs, is_marked));
    }
    all
}

/// Tells what the threads run of an App's code at this moment, by the number of its module; leaves no mark.
pub(crate) fn glance(app: AppId, mut tell: impl FnMut(u16)) {
    for Seen { word, .. } in &*seen() {
        // SAFETY: as in `look`.
        let word = unsafe { &(**word).0 };
        if let Some(runs) = Runs::read(word.load(Ordering::Relaxed), app) {
            tell(runs.module);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId(7);

    #[test]
    fn a_word_says_what_was_put_in() {
        let word = of_call(of_instance(APP, 4095, 1 << 33 | 5), 2047);
        let runs = Runs { module: 4095, method: 2047, instance: 5 };
        assert_eq!(Runs::read(word, APP), Some(runs));
        assert_eq!(Runs::read(word | MARK, APP), Some(runs));
        assert_eq!(Runs::read(word, AppId(8)), None);
        for unseen in [of_instance(AppId::NONE, 1, 1), of_instance(APP, 4096, 1)] {
            assert_eq!(Runs::read(of_call(unseen, 3), APP), None);
        }
    }

    #[test]
    fn a_mark_stays_as_long_as_its_poll() {
        std::thread::spawn(|| {
            let _shown = show();
            let tid = rustix::thread::gettid().as_raw_nonzero().get();
            let is_marked = || look(APP).into_iter().find(|(of, ..)| *of == tid).map(|(.., marked)| marked);
            let word = of_call(of_instance(APP, 3, 9), 1);
            assert_eq!(is_marked(), None);
            let run = |word| super::super::HERE.with(|here| here.runs.begin(word));
            let end = |before| super::super::HERE.with(|here| here.runs.end(before));
            let outer = run(word);
            assert_eq!((is_marked(), is_marked(), is_marked()), (Some(false), Some(true), Some(true)));
            let inner = run(word);
            assert_eq!((is_marked(), is_marked()), (Some(false), Some(true)));
            end(inner);
            assert_eq!(is_marked(), Some(true), "the outer poll goes on");
            end(outer);
            assert_eq!(is_marked(), None);
            let again = run(word);
            assert_eq!(is_marked(), Some(false), "another poll of the same call is another one");
            end(again);
        })
        .join()
        .expect("its assertions hold");
    }
}
