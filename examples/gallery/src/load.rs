//! The pressure: thumbnails asked for at a steady rate, and the page measured as a visitor would feel it.
//!
//! Thumbnails are asked for on the runtime that serves the page, because that is what the show is about. The
//! clock that does so, and the visitor that measures the page, are on a thread of their own: a busy runtime
//! shall slow down the page, not the watch that times it. Both keep their pace whether or not earlier
//! requests are done, as real visitors do.

mod tally;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skybox::App;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::client;
use crate::pictures;
use crate::show::{Orders, Report};
use crate::site::Site;
pub use tally::Tally;

/// How often a process reports: often enough for a chart that moves.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// How finely the load is spread over time.
const TICK: Duration = Duration::from_millis(10);

/// Thumbnails one process has under way at most; beyond, they are counted as shed. At 20 ms each, three processes
/// then wait for half a second of one processor's work: enough to keep any worker busy, and soon done with.
const IN_FLIGHT_MAX: usize = 8;

/// A hundred pages a second: 500 samples in the window that percentiles are taken over, of which the five slowest
/// are beyond the 99th.
const PROBE_EVERY: Duration = Duration::from_millis(10);

/// Probes under way at most: two and a half seconds of them. A page slower than that is visited less often, so that a
/// slow page is no failed page.
const PROBES_MAX: usize = 256;

/// The width the load asks for: that of a tile of the page on a dense screen.
const WIDTH_PX: u32 = 320;

/// Starts the load for the process that serves `site` at `address`; it ends when the site closes.
///
/// Call it on the runtime that serves the page.
///
/// # Errors
/// If the system starts no thread.
pub fn start(site: Site, address: SocketAddr) -> std::io::Result<()> {
    let serving = Handle::current();
    let (orders, ordered) = watch::channel(Orders::default());
    tokio::spawn(report(site.clone(), orders));
    std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return site.tally().page(Err(format!("no load: {error}")), Duration::ZERO),
        };
        runtime.block_on(async {
            tokio::select! {
                () = press(&site, ordered.clone(), serving) => {}
                () = probe(&site, ordered, address) => {}
                () = site.closing() => {}
            }
        });
    })?;
    Ok(())
}

/// Tells the show what this process counted, and hears what it is to do.
async fn report(site: Site, orders: watch::Sender<Orders>) {
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // A node that just came back is worth telling at once.
            () = site.tally().newcomer() => {}
            () = site.closing() => return,
        }
        // Totals that do not arrive now are part of the next report.
        let report = Report { restarts: restarts(), ..site.tally().report(Instant::now()) };
        if let Ok(now) = site.show().record(report).await {
            orders.send_replace(now);
        }
    }
}

/// How many instances have ended here otherwise than by being stopped, by their modules. Nothing, where the page has no
/// App.
fn restarts() -> BTreeMap<String, u64> {
    let Ok(app) = App::current() else { return BTreeMap::new() };
    let modules = app.status().modules.into_iter().filter(|module| module.ended > 0);
    modules.map(|module| (module.module, module.ended)).collect()
}

/// Asks for thumbnails at the ordered rate.
async fn press(site: &Site, ordered: watch::Receiver<Orders>, serving: Handle) {
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut due, mut since, mut number) = (0.0, Instant::now(), std::process::id());
    loop {
        ticks.tick().await;
        let now = Instant::now();
        due += ordered.borrow().per_s * (now - since).as_secs_f64();
        since = now;
        while due >= 1.0 {
            due -= 1.0;
            number = number.wrapping_add(1);
            match room.clone().try_acquire_owned() {
                Ok(place) => {
                    let (site, picture) = (site.clone(), number % pictures::COUNT);
                    serving.spawn(async move {
                        // Good or bad, the site has counted it.
                        let _ = site.thumbnail(picture, WIDTH_PX).await;
                        drop(place);
                    });
                }
                Err(_) => site.tally().shed(),
            }
        }
    }
}

/// Visits the page at a steady pace while it is this process's turn to measure.
async fn probe(site: &Site, ordered: watch::Receiver<Orders>, address: SocketAddr) {
    let room = Arc::new(Semaphore::new(PROBES_MAX));
    let mut ticks = tokio::time::interval(PROBE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        if !ordered.borrow().probe {
            continue;
        }
        let Ok(place) = room.clone().try_acquire_owned() else {
            site.tally().shed();
            continue;
        };
        let site = site.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            let seen = match client::ask(address, "/page-probe", None).await {
                Ok(answer) if answer.status == 200 => Ok(answer.process),
                Ok(answer) => Err(format!("the page answered {}", answer.status)),
                Err(error) => Err(format!("the page did not answer: {error}")),
            };
            site.tally().page(seen, began.elapsed());
            drop(place);
        });
    }
}
