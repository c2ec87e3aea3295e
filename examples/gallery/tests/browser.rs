//! The demo's page in headless Chromium: it shows live figures, its buttons do what they say, and no call fails.
//!
//! Needs `chromium` and `chromedriver` (Debian: chromium, chromium-driver). With `SKYBOX_SCREENSHOT` set, each act
//! takes longer and the page is kept as `docs/demo.png`.

#[path = "browser/driver.rs"]
mod driver;
#[path = "browser/gallery.rs"]
mod gallery;

use std::path::Path;

use driver::{Browser, Yields};
use gallery::Gallery;

/// Shows what the acts do to the figures; a test wants to know only that they are played.
const ACT_S: u32 = 2;
const ACT_S_IN_PICTURE: u32 = 13;

#[test]
fn the_page_is_worth_showing() {
    let keep = std::env::var_os("SKYBOX_SCREENSHOT").is_some();
    let (act_s, yields) = if keep { (ACT_S_IN_PICTURE, Yields::Wholly) } else { (ACT_S, Yields::ALittle) };
    let gallery = Gallery::start();
    let browser = Browser::start(yields);
    browser.open(&gallery.url);
    browser.wait(
        "every tile has a thumbnail",
        "document.querySelectorAll('.tile[data-node] img').length === 24",
    );
    browser.wait("figures are live", "last && last.page && last.rate_per_s > 0");
    browser.wait("the worker makes the thumbnails", "document.querySelector('.tile[data-node=node-4]')");
    assert_eq!(browser.eval("document.getElementById('btn-worker').getAttribute('aria-pressed')"), "true");

    browser.click("#btn-here");
    browser.wait("the log says so", "last.events.at(-1).text.includes('where the page is served')");
    browser.wait("the worker makes none", "!document.querySelector('.tile[data-node=node-4]')");
    browser.wait("the button is down", "document.querySelector('#btn-here[aria-pressed=true]')");
    wait_act(&browser, act_s);

    browser.click("#btn-worker");
    browser.wait("the log says so", "last.events.at(-1).text === 'thumbnails moved to node-4'");
    browser.wait(
        "all thumbnails are made there",
        "document.querySelectorAll('.tile[data-node=node-4]').length === 24",
    );
    wait_act(&browser, act_s);

    let pid = browser.eval("document.querySelector('.tile[data-node=node-4]').dataset.pid");
    browser.click("#btn-kill");
    browser.wait("the log says so", "last.events.some((event) => event.kind === 'kill')");
    browser.wait("the worker is back", "last.events.some((event) => event.kind === 'back')");
    browser.wait(
        "its new process makes thumbnails",
        &format!(
            "document.querySelector('.tile[data-node=node-4]:not([data-pid=\"{}\"])')",
            pid.as_str().unwrap_or("0")
        ),
    );
    wait_act(&browser, act_s);
    if keep {
        let png = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/demo.png");
        std::fs::write(&png, browser.screenshot()).expect("docs/ can be written to");
    }

    browser.click("#crash-kind option[value=abort]");
    browser.click("#btn-crash");
    browser.wait("the log says so", "last.events.some((event) => event.kind === 'crash')");
    browser.wait("the page counts it", "document.getElementById('restarts').textContent.includes('mortal')");
    let said = browser.eval("last.events.find((event) => event.kind === 'crash').text");
    assert!(said.as_str().is_some_and(|text| text.contains("abort: ")), "{said}");

    assert_eq!(browser.eval("document.getElementById('failures').textContent"), "0");
    assert_eq!(browser.eval("last.last_error"), serde_json::Value::Null);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
    gallery.end();
}

/// Waits until the show has gone on for so long since the last thing that happened.
fn wait_act(browser: &Browser, seconds: u32) {
    browser.wait("the act is played", &format!("last.at_ms - last.events.at(-1).at_ms > {seconds}000"));
}
