//! What each thread knows: the call whose code it runs at this moment.
//!
//! The context of a call is set at each poll of its future and put back after it, so that it is right over
//! `join!` and `select!`, where a task-local would leak from one branch into the other.

mod runs;

use std::cell::{Cell, OnceCell};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use skybox_core::{CallId, Context, Epoch, InstanceId, Link, Mode};

use crate::app::AppId;
use crate::host::InstanceCore;

pub(crate) use runs::{Runs, Tid, glance, look, of_instance};

/// What a call's future keeps for the calls that its code makes.
#[derive(Debug)]
pub(crate) struct CallFrame {
    /// Deadline, trace and the calls above this one; the App it runs in, and the module whose code it is, as the
    /// caller of edges.
    pub(crate) inherited: Inherited,
    /// The instance it holds, if it is a call and not merely a scope.
    held: Option<Held>,
    /// The context with this call in front of the chain, made when its code first calls something; `None` inside
    /// when the chain is full.
    exported: OnceCell<Option<Arc<Context>>>,
    /// Entered at each poll, where a subscriber wants the spans of calls.
    span: Option<Box<tracing::Span>>,
}

/// The instance a call holds while it runs.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Outlives the frame: see [`CallFrame::of_call`].
    instance: NonNull<InstanceCore>,
    mode: Mode,
    method: u16,
}

// SAFETY: it is a `&InstanceCore`.
unsafe impl Send for Held {}

impl Held {
    #[inline(always)]
    fn instance(&self) -> &InstanceCore {
        // SAFETY: whoever made the frame keeps the instance for longer.
        unsafe { self.instance.as_ref() }
    }
}

/// Which module makes a call, for edge metrics: its place in the registry plus one; zero is code outside all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct CallerIndex(pub(crate) u16);

/// What a call inherits at the moment it is made.
///
/// Two words, which stay in registers: copying a struct of small fields right after it was written makes the
/// processor wait for its own stores. A call that is made outside of all others has no context at all, and those
/// made by one call share theirs.
#[derive(Clone, Debug)]
pub(crate) struct Inherited {
    context: Option<Arc<Context>>,
    origin: Origin,
}

/// In which App and by which module a call is made, in one word: the App's id, the caller's index, whether the chain is
/// as long as it may be, and whether the call came from elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin(u64);

const CHAIN_FULL: u64 = 1 << 63;
const ARRIVED: u64 = 1 << 62;

impl Origin {
    #[inline]
    pub(crate) const fn new(app: AppId, caller: CallerIndex) -> Origin {
        Origin((app.0 as u64) | (caller.0 as u64) << 32)
    }
}

/// The way a call's streams lift its deadline.
#[derive(Debug)]
pub(crate) struct Lift {
    lifted: Arc<AtomicBool>,
    deadline: Instant,
}

impl Lift {
    /// The streams begin. Not once time is up: a start that comes too late is covered still.
    pub(crate) fn lift(self) {
        if tokio::time::Instant::now().into_std() < self.deadline {
            self.lifted.store(true, Ordering::Release);
        }
    }
}

impl CallFrame {
    /// Of code that is no call.
    pub(crate) fn scope(inherited: Inherited) -> CallFrame {
        CallFrame { inherited, held: None, exported: OnceCell::new(), span: None }
    }

    /// Of a call that holds an instance.
    ///
    /// # Safety
    /// The instance outlives the frame.
    #[inline(always)]
    pub(crate) unsafe fn of_call(
        inherited: Inherited,
        instance: &InstanceCore,
        mode: Mode,
        method: u16,
        span: Option<Box<tracing::Span>>,
    ) -> CallFrame {
        let held = Held { instance: NonNull::from(instance), mode, method };
        CallFrame { inherited, held: Some(held), exported: OnceCell::new(), span }
    }

    /// The instance it holds, if it is a call.
    #[inline(always)]
    pub(crate) fn instance(&self) -> Option<&InstanceCore> {
        self.held.as_ref().map(Held::instance)
    }

    /// What it is for whoever looks at its thread; nothing, if it is no call.
    #[inline(always)]
    fn runs(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| runs::of_call(held.instance().runs, held.method))
    }

    /// Whether there is nothing to drop in it: its call has inherited nothing and made no calls, as most.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.inherited.context.is_none() && self.exported.get().is_none() && self.span.is_none()
    }

    /// The call's span, if it has one.
    pub(crate) fn span(&self) -> Option<&tracing::Span> {
        self.span.as_deref()
    }

    /// The context of calls from within this one.
    fn export(&self, held: &Held) -> Option<Arc<Context>> {
        let context = self.inherited.context();
        let (instance, call) = (held.instance(), next_call_id());
        let chain = context.chain.push(Link { instance: instance.id, call, mode: held.mode })?;
        instance.enter(call);
        Some(Arc::new(Context { chain, ..context.clone() }))
    }

    /// Lets the streams of this call lift its deadline, if it has one, when they begin.
    pub(crate) fn liftable(&self) -> Option<Lift> {
        let deadline = self.inherited.deadline()?;
        let held = self.held.as_ref()?;
        // A chain that is as long as it may be has no room for another context: then the deadline stands.
        let exported = self.exported.get_or_init(|| {
            let mut context = self.export(held)?;
            let own = Arc::make_mut(&mut context);
            own.detach();
            own.lifted = Some(Arc::default());
            Some(context)
        });
        exported.as_ref()?.lifted.clone().map(|lifted| Lift { lifted, deadline })
    }

    /// When the call must be over: not any more once its streams have begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let deadline = self.inherited.deadline()?;
        match self.exported.get() {
            Some(Some(exported)) => exported.deadline(),
            _ => Some(deadline),
        }
    }

    #[cold]
    fn leave(&self, exported: &Context) {
        if let (Some(link), Some(instance)) = (exported.chain.links().next(), self.instance()) {
            instance.leave(link.call);
        }
        exported.chain.end();
    }

    // Out of line: it is two words that come back, and a call from outside of all others is small without it.
    #[inline(never)]
    fn inherit(&self) -> Inherited {
        let Some(held) = &self.held else { return self.inherited.clone() };
        let exported = self.exported.get_or_init(|| self.export(held));
        let full = if exported.is_none() { CHAIN_FULL } else { 0 };
        Inherited { context: exported.clone(), origin: Origin(self.inherited.origin.0 | full) }
    }
}

impl Drop for CallFrame {
    /// The call holds its instance no more: chains that tasks still carry stop counting.
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(Some(exported)) = self.exported.get() {
            self.leave(exported);
        }
    }
}

static NO_CONTEXT: Context = Context::none();

impl Inherited {
    /// Nothing above: the code runs outside every call and scope.
    pub(crate) const fn nothing() -> Inherited {
        Inherited { context: None, origin: Origin::new(AppId::NONE, CallerIndex(0)) }
    }

    /// Moved out, word by word.
    ///
    /// # Safety
    /// What is left is neither used nor dropped.
    #[inline(always)]
    pub(crate) unsafe fn moved(&self) -> Inherited {
        // SAFETY: a read of what the caller will not use again.
        Inherited { context: unsafe { ptr::read(&self.context) }, origin: self.origin }
    }

    /// The same, as code of a module in an App.
    #[inline]
    pub(crate) fn within(self, app: AppId, caller: CallerIndex) -> Inherited {
        self.from(Origin::new(app, caller))
    }

    /// The same, as code from there.
    #[inline(always)]
    pub(crate) fn from(self, origin: Origin) -> Inherited {
        Inherited { context: self.context, origin }
    }

    /// The App whose code makes the call.
    #[inline]
    pub(crate) fn app(&self) -> AppId {
        AppId(self.origin.0 as u32)
    }

    /// The module whose code makes the call.
    #[inline]
    pub(crate) fn caller(&self) -> CallerIndex {
        CallerIndex((self.origin.0 >> 32) as u16)
    }

    /// The chain is as long as it may be: the call must be refused.
    #[inline]
    pub(crate) fn chain_full(&self) -> bool {
        self.origin.0 & CHAIN_FULL != 0
    }

    /// What came with a call from another process.
    pub(crate) fn arrived(context: Context, app: AppId, caller: CallerIndex) -> Inherited {
        let bare = context.deadline.is_none() && context.trace.is_none() && context.chain.is_empty();
        let context = if bare { None } else { Some(Arc::new(context)) };
        Inherited { context, origin: Origin(Origin::new(app, caller).0 | ARRIVED) }
    }

    /// Whether this is a call from another process.
    pub(crate) fn has_arrived(&self) -> bool {
        self.origin.0 & ARRIVED != 0
    }

    #[inline]
    pub(crate) fn context(&self) -> &Context {
        self.context.as_deref().unwrap_or(&NO_CONTEXT)
    }

    pub(crate) fn context_mut(&mut self) -> &mut Context {
        let context = Arc::make_mut(self.context.get_or_insert_default());
        context.detach();
        context
    }

    #[inline]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.context.as_ref().and_then(|context| context.deadline())
    }

    /// Whether the call is made by code that holds some instance.
    #[inline]
    pub(crate) fn is_nested(&self) -> bool {
        self.context.as_ref().is_some_and(|context| !context.chain.is_empty())
    }

    /// What the code running on this thread hands to the calls it makes.
    #[inline(always)]
    pub(crate) fn here() -> Inherited {
        current(|frame| frame.map_or(Inherited::nothing(), CallFrame::inherit))
    }
}

/// An instance, as its own code finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Me {
    pub(crate) app: AppId,
    /// The module's place in the registry.
    pub(crate) module: u16,
    pub(crate) instance: InstanceId,
    /// Under which of the owners of its key's shard it was made.
    pub(crate) epoch: Option<Epoch>,
}

/// The instance whose method or `start` runs on this thread. Not in code that either has wrapped, in a scope of its own.
pub(crate) fn me() -> Option<Me> {
    let current = HERE.with(|here| here.frame.get());
    let starting = STARTING.with(Cell::get).filter(|(frame, _)| *frame == current).map(|(_, me)| me);
    starting.or_else(|| self::current(|frame| frame?.instance()?.me()))
}

/// Runs `f` as code of the `start` of an instance, to which `frame` belongs.
pub(crate) fn enter_start<R>(frame: &CallFrame, me: Me, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<(*const CallFrame, Me)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            STARTING.with(|starting| starting.set(self.0));
        }
    }
    let _restore = Restore(STARTING.with(|starting| starting.replace(Some((ptr::from_ref(frame), me)))));
    enter(frame, f)
}

/// What runs on a thread: for itself, and for others.
struct Here {
    frame: Cell<*const CallFrame>,
    runs: runs::Word,
}

thread_local! {
    static HERE: Here = const { Here { frame: Cell::new(ptr::null()), runs: runs::Word::new() } };
    /// The frame of the `start` that runs on this thread, to be compared alone, and its instance.
    static STARTING: Cell<Option<(*const CallFrame, Me)>> = const { Cell::new(None) };
    static CALL_IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    static STRIPE: Cell<u8> = const { Cell::new(u8::MAX) };
    static IS_ASYNC: Cell<bool> = const { Cell::new(true) };
    static STRIPE_LEASE: StripeLease = StripeLease::take();
}

/// While it lives, what this thread runs is code of one call; then what it was before.
pub(crate) struct Entered {
    frame: *const CallFrame,
    runs: u64,
}

impl Entered {
    /// # Safety
    /// It is dropped, on this thread, before `frame` and before what was entered earlier.
    #[inline(always)]
    pub(crate) unsafe fn new(frame: &CallFrame) -> Entered {
        // Read before others can reach the frame: what it was made of is in registers still.
        let runs = frame.runs();
        HERE.with(|here| Entered { frame: here.frame.replace(frame), runs: here.runs.begin(runs) })
    }
}

impl Drop for Entered {
    #[inline(always)]
    fn drop(&mut self) {
        HERE.with(|here| {
            here.frame.set(self.frame);
            here.runs.end(self.runs);
        });
    }
}

/// Runs `f` as code of the call that `frame` belongs to.
#[inline(always)]
pub(crate) fn enter<R>(frame: &CallFrame, f: impl FnOnce() -> R) -> R {
    // SAFETY: it is dropped when this returns or unwinds, before the reference ends.
    let _entered = unsafe { Entered::new(frame) };
    f()
}

/// Looks at the frame of the code that runs on this thread.
#[inline(always)]
pub(crate) fn current<R>(f: impl FnOnce(Option<&CallFrame>) -> R) -> R {
    let frame = HERE.with(|here| here.frame.get());
    // SAFETY: the pointer is set by `Entered` alone, from a reference that outlives it, and put back when that is
    // dropped, on the same thread. So whenever it is not null, the frame is alive. `f` cannot keep the reference: its
    // lifetime is local.
    f(unsafe { frame.as_ref() })
}

/// Ids are handed out to threads in blocks, so that no two threads share a counter on every call.
const CALL_ID_BLOCK: u64 = 4096;

fn next_call_id() -> CallId {
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);
    let (mut next, mut end) = CALL_IDS.get();
    if next == end {
        next = NEXT_BLOCK.fetch_add(CALL_ID_BLOCK, Ordering::Relaxed);
        end = next + CALL_ID_BLOCK;
    }
    CALL_IDS.set((next + 1, end));
    CallId(next)
}

/// Counter stripes. Each thread has one to itself, as long as there are enough; the last is shared by the rest.
pub(crate) const STRIPES: usize = 16;
pub(crate) const SHARED_STRIPE: usize = STRIPES - 1;

static FREE_STRIPES: Mutex<u16> = Mutex::new((1 << SHARED_STRIPE) - 1);

struct StripeLease(u8, Option<runs::Shown>);

impl StripeLease {
    fn take() -> StripeLease {
        let mut free = FREE_STRIPES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let stripe = (free.trailing_zeros() as usize).min(SHARED_STRIPE);
        *free &= !(1 << stripe);
        drop(free);
        StripeLease(stripe as u8, IS_ASYNC.get().then(runs::show))
    }
}

impl Drop for StripeLease {
    fn drop(&mut self) {
        drop(self.1.take());
        // A call made by a later destructor of this thread counts on the shared stripe.
        STRIPE.set(SHARED_STRIPE as u8);
        if usize::from(self.0) != SHARED_STRIPE {
            *FREE_STRIPES.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) |= 1 << self.0;
        }
    }
}

/// This thread has nothing else to do than one call at a time: nobody looks at what it runs.
pub(crate) fn is_ones_own() {
    IS_ASYNC.set(false);
}

/// This thread's counter stripe.
#[inline(always)]
pub(crate) fn stripe() -> usize {
    match STRIPE.with(Cell::get) {
        u8::MAX => lease_stripe(),
        stripe => usize::from(stripe),
    }
}

#[cold]
fn lease_stripe() -> usize {
    let stripe = STRIPE_LEASE.try_with(|lease| lease.0).unwrap_or(SHARED_STRIPE as u8);
    STRIPE.set(stripe);
    usize::from(stripe)
}
