//! A call drops its code before what it has taken, on each of its ways to an end: the next call takes over the slot
//! that the code lives in, and the reference that the code has.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use skybox_core::{MethodDescriptor, ModuleDescriptor, ModuleKind, Needs};
use skybox_wire::codec::{self, Proof};
use tokio::sync::oneshot;

use crate::call::{Arriving, Call, Incoming, ReplyTo, Serving, Target, To};
use crate::host::{AnyHost, Exclusive, Host};
use crate::module::Task;
use crate::thread::Inherited;

type Outcome = skybox_core::Result<u8>;

static CELL_MODULE: ModuleDescriptor = ModuleDescriptor {
    name: "cell",
    path: module_path!(),
    kind: ModuleKind::Replicated,
    needs: Needs { cpu_milli: Some(1000), ..Needs::NONE },
    methods: &[
        MethodDescriptor::exclusive("call", &[]),
        MethodDescriptor::exclusive("abandon", &[]).cancel_on_drop(),
        MethodDescriptor::exclusive("compute", &[]).compute(),
    ],
};
static CALL: Call<(), Outcome> = Call::new(&CELL_MODULE, 0);
static ABANDON: Call<(), Outcome> = Call::new(&CELL_MODULE, 1);
static COMPUTE: Call<(), Outcome> = Call::new(&CELL_MODULE, 2);

/// A module whose calls from elsewhere run the code that it holds.
#[derive(Default)]
struct Cell {
    code: Option<Script>,
}

impl Task for Cell {
    const DESCRIPTOR: &'static ModuleDescriptor = &CELL_MODULE;

    fn serve(call: Incoming<Cell>) -> Serving {
        CALL.serve_exclusive(call, |mut this, ()| {
            let code = this.code.take().expect("it is called once");
            code.of(this)
        })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Well,
    OwnError,
    Panic,
    /// What is thrown panics itself when it is dropped.
    Bomb,
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb");
    }
}

/// What a call's code does.
struct Script {
    /// Polls after the first that it needs to end.
    waits: u32,
    end: End,
    /// How many calls had the turn when the code was dropped.
    holding: mpsc::Sender<u64>,
}

impl Script {
    fn of(self, this: Exclusive<Cell>) -> Scripted {
        Scripted { script: self, this }
    }
}

/// Code that is dropped with all it has, as no `async` block that has ended would be.
struct Scripted {
    script: Script,
    this: Exclusive<Cell>,
}

impl Future for Scripted {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        if self.script.waits > 0 {
            self.script.waits -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.script.end {
            End::Well => Poll::Ready(Ok(7)),
            End::OwnError => Poll::Ready(Err(skybox_core::Error::msg("as it was told to"))),
            End::Panic => panic!("as it was told to"),
            End::Bomb => std::panic::panic_any(Bomb),
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // The test has given up if it is gone.
        let _ = self.script.holding.send(self.this.keep().turns().holding());
    }
}

fn target() -> Target<Cell> {
    Target::new(Host::alone(Cell::default()), To::Module)
}

/// Runs a call's way to its end; the call has to have the turn when its code is dropped, and to give it back.
async fn check(waits: u32, end: End, way: impl AsyncFnOnce(&Target<Cell>, Script)) {
    let target = target();
    let (sender, holding) = mpsc::channel();
    way(&target, Script { waits, end, holding: sender }).await;
    let instance = target.host.local.load().expect("a value that belongs to no App stays");
    // A call that was let go of ends on its own.
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if instance.turns().holding() == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert_eq!(holding.recv(), Ok(1), "the turn was given back before the code was gone");
    assert!(holding.recv().is_err(), "the code is dropped once");
}

#[tokio::test]
async fn a_call_that_does_not_wait() {
    check(0, End::Well, async |target, script| {
        let outcome = CALL.exclusive(target, (), |this, ()| script.of(this)).await;
        assert_eq!(outcome.expect("it runs"), 7);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_waits() {
    check(2, End::Well, async |target, script| {
        let outcome = CALL.exclusive(target, (), |this, ()| script.of(this)).await;
        assert_eq!(outcome.expect("it runs"), 7);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_panics_at_once_or_later() {
    for (waits, end) in [0, 2].into_iter().flat_map(|waits| [(waits, End::Panic), (waits, End::Bomb)]) {
        check(waits, end, async |target, script| {
            assert!(CALL.exclusive(target, (), |this, ()| script.of(this)).await.is_err());
        })
        .await;
    }
}

fn begin(call: Pin<&mut impl Future>) {
    assert!(call.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[tokio::test]
async fn a_call_that_is_dropped_and_goes_on() {
    check(2, End::Well, async |target, script| {
        begin(pin!(CALL.exclusive(target, (), |this, ()| script.of(this))))
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_dropped_and_stops() {
    check(u32::MAX, End::Well, async |target, script| {
        begin(pin!(ABANDON.exclusive(target, (), |this, ()| script.of(this))));
    })
    .await;
}

#[tokio::test]
async fn a_call_on_a_thread_of_its_module() {
    check(2, End::Well, async |target, script| {
        let outcome = COMPUTE.exclusive(target, (), |this, ()| script.of(this)).await;
        assert_eq!(outcome.expect("it runs"), 7);
    })
    .await;
}

#[tokio::test]
async fn a_call_from_elsewhere() {
    check(2, End::Well, async |target, script| {
        let prepare = CALL.exclusive(target, (), |mut this, ()| async move {
            this.code = Some(script);
            Ok(0)
        });
        prepare.await.expect("it runs");
        let (answer, answered) = oneshot::channel();
        let mut payload = bytes::BytesMut::new();
        let form =
            codec::encode::<(), ()>(&(), &Proof::new(), &mut payload).expect("there is nothing to refuse");
        let arriving = Arriving {
            method: 0,
            form,
            payload: payload.freeze(),
            key: None,
            inherited: Inherited::nothing(),
            reply: ReplyTo::Channel(answer, None),
        };
        target.host.clone().serve(arriving).run().await;
        let reply = answered.await.expect("it answers").expect("it runs");
        assert!(!reply.own_error);
    })
    .await;
}

/// Wants every span, and panics when something is noted on one.
struct Fussy;

impl tracing::Subscriber for Fussy {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {
        panic!("a subscriber's panic");
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_call_whose_span_panics() {
    for (waits, end) in [0, 2].into_iter().flat_map(|waits| [(waits, End::OwnError), (waits, End::Panic)]) {
        check(waits, end, async |target, script| {
            let _spans = tracing::subscriber::set_default(Fussy);
            let mut call = pin!(CALL.exclusive(target, (), |this, ()| script.of(this)));
            let mut poll = || {
                let context = &mut Context::from_waker(Waker::noop());
                std::panic::catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context)))
            };
            for _ in 0..waits {
                assert!(poll().is_ok_and(|polled| polled.is_pending()));
            }
            assert!(poll().is_err(), "the subscriber's panic is its own");
        })
        .await;
    }
}

/// A waker that panics when it is used: it is the code of whoever polls.
struct Shy;

impl Wake for Shy {
    fn wake(self: Arc<Self>) {
        panic!("a waker's panic");
    }
}

#[tokio::test]
async fn a_turn_is_given_back_once_whatever_a_waker_does() {
    let target = Arc::new(target());
    let waiting = Arc::new(Mutex::new(None));
    let (of_second, keep) = (target.clone(), waiting.clone());
    let mut first = pin!(CALL.exclusive(&target, (), |_, ()| async move {
        // On another thread, since it is no call of this one.
        let second = std::thread::spawn(move || {
            let mut second =
                Box::pin(async move { CALL.exclusive(&of_second, (), |_, ()| async { Ok(8) }).await });
            let waker = Arc::new(Shy).into();
            let context = &mut Context::from_waker(&waker);
            assert!(second.as_mut().poll(context).is_pending());
            second
        });
        *keep.lock().expect("nobody panics with it") = second.join().ok();
        Ok(7)
    }));
    let context = &mut Context::from_waker(Waker::noop());
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| first.as_mut().poll(context))).is_err());
    let instance = target.host.local.load().expect("a value that belongs to no App stays");
    assert_eq!(instance.turns().holding(), 1, "the second call has the turn");
    let second = waiting.lock().expect("as above").take().expect("it waits");
    assert_eq!(second.await.expect("it runs"), 8);
    assert_eq!(instance.turns().holding(), 0);
}
