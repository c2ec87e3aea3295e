//! Streams: items one by one, in and out of calls.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use skybox::{CallErrorKind, CallOptions, Phase, Ran, Stream, TraceContext, with_trace};

use crate::ledger::Ledger;
use crate::modules::*;
use crate::stage::{CALLEES, Mode, RELAYS, SOON, Stage, fails, failure};

/// More items than any window, and more than a test can mistake for a few.
const MANY: u64 = 100_000;
/// Items that may be made ahead of a reader elsewhere: a window, and the one that is on its way out.
const AHEAD_MAX: u64 = 129;
/// The same where they pass through a node, which has as many again on their way.
const AHEAD_THROUGH_MAX: u64 = 257;

fn ahead_max(stage: &Stage) -> u64 {
    match stage.mode {
        Mode::Inline => 1,
        Mode::Strict | Mode::Split | Mode::Tls => AHEAD_MAX,
        Mode::Cells => AHEAD_THROUGH_MAX,
    }
}

/// Numbers from the caller's side.
fn numbers(end: u64) -> Stream<u64> {
    Stream::from_stream(stream::iter((0..end).map(Ok::<_, skybox::Error>)))
}

/// Numbers that never end, with the ledger of those that were made.
fn endless() -> (Ledger, Stream<u64>) {
    let ledger = Ledger::default();
    (ledger.clone(), Stream::from_stream(Source::new(ledger, "mine", u64::MAX)))
}

async fn collect<T>(items: Stream<T>) -> Vec<T> {
    items.map(|item| item.expect("no item is an error")).collect().await
}

/// Asks for an item that does not come yet.
async fn ask(items: &mut Stream<u64>) {
    let asked = poll_fn(|cx| Poll::Ready(items.poll_next_unpin(cx))).await;
    assert!(asked.is_pending());
}

/// Waits until a count has come to rest, and returns it.
async fn at_rest(stage: &Stage, count: impl AsyncFn() -> u64) -> u64 {
    let mut last = count().await;
    let mut same = 0;
    while same < 20 {
        stage.settle().await;
        let now = count().await;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

pub async fn items_arrive_in_order_and_end(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    for end in [0, 1, 5_000] {
        let mut items = pipes.count("up", end).await.unwrap();
        for expected in 0..end {
            assert_eq!(items.next().await.unwrap().unwrap(), expected);
        }
        assert!(items.next().await.is_none());
        assert!(items.next().await.is_none(), "and stays over");
    }
    stage.reached("up dropped", 3).await;
}

pub async fn items_go_up_in_order(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    assert_eq!(pipes.sum(numbers(0)).await.unwrap(), 0);
    assert_eq!(pipes.sum(numbers(5_000)).await.unwrap(), (0..5_000).sum::<u64>());
    assert_eq!(pipes.listen(numbers(3)).await.unwrap(), ["0", "1", "2"]);
}

pub async fn items_go_both_ways_at_once(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let (sender, words) = Stream::channel(1);
    let mut echo = pipes.echo(words).await.unwrap();
    for n in 0..300 {
        // Each goes up only when the one before has come back: neither side waits for the other's end.
        sender.send(format!("word {n}")).await.unwrap();
        assert_eq!(echo.next().await.unwrap().unwrap(), format!("WORD {n}"));
    }
    drop(sender);
    assert!(echo.next().await.is_none());
}

pub async fn items_of_any_size_arrive_whole(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let lengths = [0, 1, 66_559, 66_560, 66_561, 200_000, 3_000_000, 5, 1_048_576, 0];
    let down = collect(pipes.blocks(lengths.to_vec()).await.unwrap()).await;
    let whole = |len: usize| Bytes::from(vec![len as u8; len]);
    assert!(down.iter().zip(lengths).all(|(block, len)| *block == whole(len)) && down.len() == lengths.len());
    let up = Stream::from_stream(stream::iter(lengths.map(|len| Ok::<_, skybox::Error>(whole(len)))));
    assert_eq!(pipes.measure(up).await.unwrap(), lengths.map(|len| (len, true)));
}

pub async fn an_error_is_an_item_and_more_follow(stage: Stage) {
    let items: Vec<_> = stage.get::<Pipes>().stumble().await.unwrap().collect().await;
    let [Ok(1), Err(error), Ok(2)] = &items[..] else { panic!("{items:?}") };
    assert_eq!(format!("{error:#}"), "on the way: a stone");
    assert!(error.downcast_ref::<std::io::Error>().is_none(), "inline shows no more than elsewhere");
    assert!(error.call_error().is_none());
}

pub async fn errors_of_items_cross_as_those_of_methods(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let items: Vec<_> = pipes.shop().await.unwrap().collect().await;
    let [Err(ShopError::SoldOut { item, left: 2 }), Err(ShopError::Rest(burned))] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!((&item[..], format!("{burned:#}")), ("cup", "the shop burned down: a candle".to_owned()));
    let candle = ShopError::Burned(std::io::Error::other("a candle"));
    let seen =
        pipes.complaints(Stream::from_stream(stream::iter([Err::<u32, _>(candle), Ok(1)]))).await.unwrap();
    assert!(seen.len() == 1 && seen[0].starts_with("Rest("), "{seen:?}");
}

pub async fn a_call_error_among_the_items_becomes_text(stage: Stage) {
    let items: Vec<_> = stage.get::<Pipes>().passed_on().await.unwrap().collect().await;
    let [Err(error)] = &items[..] else { panic!("{items:?}") };
    assert!(error.call_error().is_none(), "it was a call of theirs");
    assert!(error.to_string().contains("a spilled inkpot"), "{error}");
}

pub async fn nothing_is_made_before_it_is_asked_for(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let items = pipes.count("idle", MANY).await.unwrap();
    drop(items);
    stage.reached("idle dropped", 1).await;
    assert_eq!(stage.count("idle made").await, 0);
    let (mine, items) = endless();
    pipes.refuse(items).await.unwrap_err();
    stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
    assert_eq!(mine.count("mine made"), 0);
}

pub async fn a_reader_that_stops_stops_the_writer(stage: Stage) {
    let mut items = stage.get::<Pipes>().count("tap", MANY).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), 0);
    let ahead = ahead_max(&stage);
    let made = at_rest(&stage, async || stage.count("tap made").await).await;
    assert!(made >= 1 && made <= ahead, "{made} items were made for a reader of one");
    for expected in 1..=1_000 {
        assert_eq!(items.next().await.unwrap().unwrap(), expected);
    }
    let made = at_rest(&stage, async || stage.count("tap made").await).await;
    assert!(made > 1_000 && made <= 1_000 + ahead, "{made} items were made for a reader of 1001");
}

pub async fn a_callee_that_stops_reading_stops_its_caller(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let (mine, items) = endless();
    let call = skybox::spawn(async move { pipes.hold("gate", items).await });
    stage.reached("gate began", 1).await;
    let made = at_rest(&stage, async || mine.count("mine made")).await;
    let ahead = ahead_max(&stage);
    assert!(made >= 1 && made <= ahead, "{made} items were made for a reader of one");
    call.abort();
    stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
}

pub async fn dropping_the_reader_drops_the_source(stage: Stage) {
    let mut items = stage.get::<Pipes>().count("tap", MANY).await.unwrap();
    items.next().await.unwrap().unwrap();
    drop(items);
    stage.reached("tap dropped", 1).await;
    assert!(stage.count("tap made").await <= ahead_max(&stage).max(AHEAD_MAX));
}

pub async fn a_callee_that_drops_its_argument_drops_the_source(stage: Stage) {
    let (mine, items) = endless();
    assert_eq!(stage.get::<Pipes>().first(items).await.unwrap(), Some(0));
    stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
    assert!(mine.count("mine made") <= ahead_max(&stage).max(AHEAD_MAX));
}

pub async fn a_call_that_fails_drops_the_sources_of_its_arguments(stage: Stage) {
    let (mine, items) = endless();
    let late = stage.get::<Pipes>().with(CallOptions::new().deadline(std::time::Duration::ZERO));
    assert_eq!(failure(late.sum(items).await).kind().name(), "deadline");
    stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
    let (mine, items) = endless();
    let error = stage.get::<Pipes>().refuse(items).await.unwrap_err();
    assert_eq!(error.to_string(), "not today");
    stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
}

pub async fn a_call_that_is_dropped_drops_the_sources_of_its_arguments(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let (mine, items) = endless();
    let call = skybox::spawn(async move { pipes.sum(items).await });
    stage.patiently("items are made", mine.noted("mine made")).await;
    call.abort();
    stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
}

/// Large calls wait beside the others to be sent: most of these are taken back before anything of them is.
pub async fn a_call_that_is_taken_back_drops_the_sources_of_its_arguments(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    assert_eq!(pipes.carry(Bytes::new(), numbers(3)).await.unwrap(), 3);
    for _ in 0..20 {
        let (mine, items) = endless();
        let mut call = Box::pin(pipes.carry(vec![0; 256 * 1024].into(), items));
        let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(first.is_pending());
        drop(call);
        stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
    }
}

pub async fn the_bytes_of_streams_are_counted(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let blocks =
        stream::iter([100_000, 7].map(|len| Ok::<_, skybox::Error>(Bytes::from(vec![len as u8; len]))));
    let measured = pipes.measure(Stream::from_stream(blocks)).await.unwrap();
    assert_eq!(measured, [(100_000, true), (7, true)]);
    assert_eq!(collect(pipes.blocks(vec![200_000, 9]).await.unwrap()).await.len(), 2);
    let edges = stage.app().status().edges;
    let bytes = |method: &str| {
        let edge = edges.iter().find(|edge| edge.module == "pipes" && edge.method == method);
        edge.map(|edge| (edge.bytes_out, edge.bytes_in)).expect("it was called")
    };
    // Beside the items: what is around each of them, and the call and its reply.
    let near =
        |bytes: u64, items: u64| if stage.crosses() { items..items + 64 } else { 0..1 }.contains(&bytes);
    let ((up, back), (ask, down)) = (bytes("measure"), bytes("blocks"));
    assert!(near(up, 100_007) && near(down, 200_009), "{up} up, {down} down");
    assert!(near(back, 0) && near(ask, 0), "{back} back, {ask} asked");
}

pub async fn a_sender_hears_that_nobody_reads(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let (sender, items) = Stream::channel(1);
    let pushing = async {
        let mut sent = 0;
        while sender.send(sent).await.is_ok() {
            sent += 1;
        }
        assert_eq!(sender.send(7).await.unwrap_err().0, 7, "it is given back");
        assert!(sender.is_closed());
        sender.closed().await;
        sent
    };
    let (first, sent) = tokio::join!(pipes.first(items), pushing);
    assert_eq!(first.unwrap(), Some(0));
    // One more waits in the channel.
    assert!(sent <= ahead_max(&stage).max(AHEAD_MAX) + 1, "{sent}");
}

pub async fn a_panic_in_a_result_is_crashed_and_the_instance_is_replaced(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let items: Vec<_> = pipes.burst(2).await.unwrap().collect().await;
    let [Ok(0), Ok(1), Err(error)] = &items[..] else { panic!("{items:?}") };
    let error = error.call_error().expect("of one's own call");
    let CallErrorKind::Crashed { message, place } = error.kind() else { panic!("{error:?}") };
    assert!(message == "the pipe bursts" && place.contains("pipes.rs"), "{error}");
    assert_eq!(error.callee().to_string(), "pipes.burst");
    stage.reached("pipes started", 2).await;
    assert_eq!(pipes.sum(numbers(3)).await.unwrap(), 3);
}

pub async fn a_panic_in_an_argument_reaches_the_reader_alone(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let items = stream::iter(0..2).map(|item| {
        assert!(item < 1, "the caller trips");
        Ok::<u64, skybox::Error>(item)
    });
    let seen = pipes.listen(Stream::from_stream(items)).await.unwrap();
    assert!(seen.len() == 2 && seen[0] == "0" && seen[1].starts_with("lost: "), "{seen:?}");
    assert!(seen[1].contains("the caller trips"), "{seen:?}");
    assert_eq!(stage.count("pipes started").await, 1, "it is not the callee's fault");
}

pub async fn a_panic_of_who_pushes_breaks_the_stream_off(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let items: Vec<_> = pipes.push_and_panic().await.unwrap().collect().await;
    let [Ok(1), Err(error)] = &items[..] else { panic!("{items:?}") };
    let error = error.call_error().expect("of one's own call");
    assert_eq!((error.kind().name(), error.ran()), ("crashed", Ran::Yes));
}

/// As results do; inline in debug builds, where the first item is encoded as well.
pub async fn an_item_that_would_change_breaks_the_stream_off(stage: Stage) {
    let items: Vec<_> = stage.get::<Pipes>().withheld().await.unwrap().collect().await;
    let [Err(error)] = &items[..] else { panic!("{items:?}") };
    let error = error.call_error().expect("of one's own call");
    assert_eq!((error.kind().name(), error.ran()), ("bad-reply", Ran::Yes));
    let text = error.to_string();
    assert!(text.contains("Withheld") && text.contains("`secret`"), "{text}");
}

pub async fn a_method_gives_its_turn_back_before_its_stream_ends(stage: Stage) {
    let brook = stage.at::<Brook>("isar");
    let mut flowing = brook.flow("gate").await.unwrap();
    ask(&mut flowing).await;
    assert_eq!(brook.flowed().await.unwrap(), 1, "another `&mut self` call runs beside the stream");
    stage.open("gate").await;
    assert_eq!(flowing.next().await.unwrap().unwrap(), 1);
    assert!(flowing.next().await.is_none());
}

pub async fn an_instance_stays_while_its_stream_goes_on(stage: Stage) {
    let mut flowing = stage.at::<Brook>("isar").flow("gate").await.unwrap();
    ask(&mut flowing).await;
    stage.reached("gate began", 1).await;
    // Others have been asked for nothing for as long, and go to sleep.
    for round in 1..=2 {
        stage.at::<Brook>("lech").flowed().await.unwrap();
        stage.reached("lech dry", round).await;
    }
    assert_eq!(stage.count("isar dry").await, 0);
    stage.open("gate").await;
    assert_eq!(collect(flowing).await, [1]);
    stage.reached("isar dry", 1).await;
}

pub async fn a_deadline_does_not_cover_the_items(stage: Stage) {
    let pipes = stage.get::<Pipes>().with(CallOptions::new().deadline(crate::stage::LATER));
    let began = std::time::Instant::now();
    let mut items = pipes.count("slow", 3).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), 0);
    stage.until("time is up", async || began.elapsed() > crate::stage::LATER).await;
    assert_eq!(collect(items).await, [1, 2]);
}

pub async fn a_deadline_covers_an_upload_until_it_is_read(stage: Stage) {
    let pipes = stage.get::<Pipes>().with(CallOptions::new().deadline(crate::stage::LATER));
    let (mine, items) = endless();
    let error = failure(pipes.ponder("never", items).await);
    stage.assert_phase(&error, Phase::Running);
    stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
    assert_eq!(mine.count("mine made"), 0);
}

pub async fn an_upload_that_has_begun_has_no_deadline(stage: Stage) {
    let pipes = stage.get::<Pipes>().with(CallOptions::new().deadline(crate::stage::LATER));
    for (gate, elsewhere) in [("here", false), ("elsewhere", true)] {
        let began = std::time::Instant::now();
        let uploading = pipes.upload(gate, numbers(4), elsewhere);
        // Past what a caller grants its callee to say that time was up.
        let waiting = async {
            stage.until("time is up", async || began.elapsed() > 2 * crate::stage::LATER).await;
            stage.open(gate).await;
        };
        let (uploaded, ()) = tokio::join!(uploading, waiting);
        assert_eq!(uploaded.unwrap(), (true, false, false, 6), "{gate}");
    }
}

pub async fn a_reader_waits_no_longer_than_its_idle_timeout(stage: Stage) {
    let items = stage.get::<Pipes>().later("never").await.unwrap();
    let items: Vec<_> = items.idle_timeout(SOON).collect().await;
    let [Err(error)] = &items[..] else { panic!("{items:?}") };
    let error = error.call_error().expect("of one's own call");
    assert_eq!(*error.kind(), CallErrorKind::Deadline { phase: Phase::Idle });
    assert_eq!((error.ran(), error.callee().to_string()), (Ran::Maybe, "pipes.later".to_owned()));
    stage.reached("never dropped", 1).await;
}

pub async fn a_callees_idle_timeout_ends_its_callers_source(stage: Stage) {
    let (sender, items) = Stream::channel(1);
    sender.send(1).await.unwrap();
    let seen = stage.get::<Pipes>().impatient(items).await.unwrap();
    assert!(seen.len() == 2 && seen[0] == "1" && seen[1].starts_with("deadline: "), "{seen:?}");
    stage.patiently("nobody reads", sender.closed()).await;
}

pub async fn streams_go_through_tasks_and_sync_methods(stage: Stage) {
    let words = stream::iter(["a", "b"]).map(|word| Ok::<_, skybox::Error>(word.to_owned()));
    assert_eq!(collect(louder(Stream::from_stream(words)).await.unwrap()).await, ["a!", "b!"]);
    assert_eq!(collect(stage.get::<Pipes>().count_now(3).await.unwrap()).await, [0, 1, 2]);
}

pub async fn a_stream_goes_on_through_a_second_call(stage: Stage) {
    let conduit = stage.get::<Conduit>();
    assert_eq!(collect(conduit.count("far", 1_000).await.unwrap()).await, (0..1_000).collect::<Vec<_>>());
    assert_eq!(conduit.sum(numbers(1_000)).await.unwrap(), (0..1_000).sum::<u64>());
    let (mine, items) = endless();
    let call = skybox::spawn(async move { conduit.sum(items).await });
    stage.patiently("items are made", mine.noted("mine made")).await;
    call.abort();
    stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
    let items: Vec<_> = stage.get::<Conduit>().burst(1).await.unwrap().collect().await;
    let [Ok(0), Err(error)] = &items[..] else { panic!("{items:?}") };
    assert!(error.call_error().is_none(), "the call that crashed was the conduit's own: {error:?}");
    assert!(error.to_string().contains("the pipe bursts"), "{error}");
}

pub async fn streams_belong_to_the_context_of_their_maker(stage: Stage) {
    let pipes = stage.get::<Pipes>().with(CallOptions::new().deadline(std::time::Duration::from_secs(60)));
    let trace = TraceContext { trace_id: 7 << 64 | 1, span_id: 9, flags: 1 };
    let items = with_trace(trace, async { pipes.surroundings().await }).await.unwrap();
    let [(has_deadline, seen, pages)] = &collect(items).await[..] else { panic!("one item") };
    assert!(!has_deadline, "the deadline was the call's");
    let seen = seen.as_deref().map(|text| text.parse::<TraceContext>().expect("a traceparent").trace_id);
    assert_eq!((seen, *pages), (Some(trace.trace_id), 0));
}

pub async fn a_killed_node_breaks_its_streams_off(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let mut down = pipes.count("tap", MANY).await.unwrap();
    assert_eq!(down.next().await.unwrap().unwrap(), 0);
    let (mine, items) = endless();
    let theirs = pipes.clone();
    let up = skybox::spawn(async move { theirs.hold("gate", items).await });
    stage.reached("gate began", 1).await;
    stage.nodes().kill(CALLEES).await;
    let error = loop {
        match down.next().await.expect("its end is no plain one") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let error = error.call_error().expect("of one's own call");
    assert_eq!((error.kind().name(), error.ran()), ("lost", Ran::Maybe));
    assert_eq!(error.callee().to_string(), "pipes.count");
    assert!(down.next().await.is_none(), "nothing follows it");
    fails(up.await.unwrap(), "lost", Ran::Maybe);
    stage.patiently("the source is dropped", mine.noted("mine dropped")).await;
}

pub async fn a_call_is_not_sent_again_once_its_stream_has_given(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let (sender, items) = Stream::channel(1);
    sender.send(1).await.unwrap();
    let calling = pipes.sum_again("gate", items, 0);
    let killing = async {
        // The second one has room only once the first was taken.
        sender.send(2).await.unwrap();
        sender.send(3).await.unwrap();
        stage.nodes().kill(CALLEES).await;
    };
    let (summed, ()) = tokio::join!(calling, killing);
    fails(summed, "lost", Ran::Maybe);
    stage.patiently("nobody reads", sender.closed()).await;
}

pub async fn a_call_whose_stream_has_given_nothing_is_sent_again(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let victim = pipes.process().await.unwrap();
    let killing = async {
        stage.reached("gate began", 1).await;
        stage.nodes().kill(CALLEES).await;
    };
    let (summed, ()) = tokio::join!(pipes.sum_again("gate", numbers(100), victim), killing);
    let (sum, successor) = summed.unwrap();
    assert!(sum == 4_950 && successor != victim);
}

pub async fn a_node_that_leaves_ends_its_streams_first(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let mut items = pipes.count("tap", 10_000).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), 0);
    let there = pipes.process().await.unwrap();
    let moved = Cell::new(false);
    let moving = async {
        stage.nodes().move_to("pipes", &[RELAYS]).await;
        moved.set(true);
    };
    let reading = async {
        stage.until("new calls go elsewhere", async || pipes.process().await.unwrap() != there).await;
        assert!(!moved.get(), "the old instance has a stream");
        let mut count = 1;
        while let Some(item) = items.next().await {
            assert_eq!(item.unwrap(), count);
            count += 1;
        }
        count
    };
    let ((), count) = tokio::join!(moving, reading);
    assert_eq!(count, 10_000);
}

pub async fn small_calls_pass_between_the_items(stage: Stage) {
    let pipes = stage.get::<Pipes>();
    let lengths = vec![256 * 1024; 200];
    let read = Arc::new(AtomicU64::new(0));
    let items = pipes.blocks(lengths).await.unwrap();
    let reading = items.for_each(async |item| {
        item.unwrap();
        read.fetch_add(1, Ordering::Relaxed);
    });
    let calling = async {
        let outcomes = join_all((0..50).map(|_| pipes.process())).await;
        assert!(outcomes.iter().all(Result::is_ok));
        read.load(Ordering::Relaxed)
    };
    let ((), read_meanwhile) = tokio::join!(reading, calling);
    assert!(read_meanwhile < 200, "the calls did not wait for the stream's end");
    assert_eq!(read.load(Ordering::Relaxed), 200);
}
