//! The gallery on five hosts: pages from any of them, and one that is lost.

#[path = "hosts/cloud.rs"]
#[allow(dead_code, reason = "the command uses the rest of it")]
mod cloud;

use std::path::Path;

use cloud::{Gallery, HOSTS};
use skybox_hosts::Hosts;

#[test]
fn on_five_hosts_every_page_is_reached_from_any_and_a_lost_host_fails_none() {
    let Some(hosts) = Hosts::for_test(HOSTS) else { return };
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gallery-pictures");
    let program = Path::new(env!("CARGO_BIN_EXE_gallery"));
    let mut gallery = Gallery::start(hosts, program, &pictures, 10).expect("all pages are there");
    assert_eq!(gallery.visit_all().expect("each is answered"), 2 * HOSTS * HOSTS);
    let loss = gallery.lose_one().expect("the others go on");
    println!("{loss}");
    let failed: Vec<_> = loss.seen.iter().flat_map(|seen| &seen.failed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_ne!(loss.now, loss.lost);
}
