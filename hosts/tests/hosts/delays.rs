//! Distance, as the kernel measures it.

use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use skybox_hosts::{Host, Hosts};

use crate::talk::{connect, say};

/// One way.
const FAR: Duration = Duration::from_millis(20);

/// What the kernel says of a connection: its smoothed round-trip time, and how often it has sent something again.
fn measured(stream: &TcpStream) -> (Duration, u32) {
    // SAFETY: all zeros is a `tcp_info`.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = u32::try_from(size_of::<libc::tcp_info>()).unwrap();
    let place = (&raw mut info).cast();
    // SAFETY: the kernel writes as many bytes there as there are.
    let done = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &mut length)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    (Duration::from_micros(info.tcpi_rtt.into()), info.tcpi_total_retrans)
}

/// The round-trip time of a new connection, after some messages: the best of three, as the machine may be busy.
fn round_trip(from: &Host, to: &Host) -> Duration {
    let of_one = |_| {
        let (mut near, mut far) = connect(from, to);
        for _ in 0..5 {
            say(&mut near, &mut far, "to");
            say(&mut far, &mut near, "fro");
        }
        measured(&near).0
    };
    (0..3).map(of_one).min().unwrap()
}

/// Delays are never less than what was asked for; the kernel rounds its mean down.
fn is_far(round_trip: Duration) -> bool {
    round_trip >= FAR * 2 - Duration::from_millis(1)
}

#[test]
fn the_kernel_measures_a_delay_as_distance() {
    let Some(hosts) = Hosts::for_test(3) else { return };
    let (client, one, other) = (hosts.host(0), hosts.host(1), hosts.host(2));
    let near = round_trip(client, one);
    assert!(!is_far(near), "{near:?} between neighbours");
    hosts.delay(1, FAR).unwrap();
    let (to_one, to_other) = (round_trip(client, one), round_trip(client, other));
    println!("near {near:?}, 20 ms away {to_one:?}, its neighbour {to_other:?}");
    assert!(is_far(to_one) && to_one - near >= FAR, "{to_one:?}, and {near:?} before");
    assert!(!is_far(to_other), "{to_other:?}");
    // Swapped.
    hosts.delay(1, Duration::ZERO).unwrap();
    hosts.delay(2, FAR).unwrap();
    let (to_one, to_other) = (round_trip(client, one), round_trip(client, other));
    assert!(!is_far(to_one) && is_far(to_other), "{to_one:?} and {to_other:?}");
    // Both: it is twice as far from one to the other.
    hosts.delay(1, FAR).unwrap();
    let between = round_trip(one, other);
    assert!(between >= FAR * 4 - Duration::from_millis(1), "{between:?}");
    assert_eq!(hosts.lost_in_relays(), 0);
}

#[test]
fn two_hosts_may_be_apart_and_close_to_all_others() {
    let Some(hosts) = Hosts::for_test(3) else { return };
    hosts.delay_between(2, 0, FAR).unwrap();
    let far = [round_trip(hosts.host(0), hosts.host(2)), round_trip(hosts.host(2), hosts.host(0))];
    let near = [round_trip(hosts.host(0), hosts.host(1)), round_trip(hosts.host(1), hosts.host(2))];
    assert!(far.into_iter().all(is_far) && !near.into_iter().any(is_far), "{far:?}, {near:?}");
}

#[test]
fn a_delay_changes_under_open_connections_and_loses_nothing() {
    let Some(hosts) = Hosts::for_test(2) else { return };
    hosts.delay(1, Duration::from_millis(1)).unwrap();
    let (mut near, mut far) = connect(hosts.host(0), hosts.host(1));
    let mut until = |wanted: &dyn Fn(Duration) -> bool| {
        // The kernel's mean follows within some dozens of measurements.
        let followed = (0..500).any(|_| {
            say(&mut near, &mut far, "to");
            say(&mut far, &mut near, "fro");
            wanted(measured(&near).0)
        });
        assert!(followed, "it stayed at {:?}", measured(&near));
    };
    until(&|measured| measured < FAR);
    hosts.delay(1, FAR).unwrap();
    // The mean comes close to it and never quite arrives.
    until(&|measured| measured > FAR + FAR * 3 / 4);
    hosts.delay(1, Duration::ZERO).unwrap();
    until(&|measured| measured < FAR);
    assert_eq!(hosts.lost_in_relays(), 0);
}

#[test]
fn much_passes_a_delayed_link_whole() {
    use std::io::{Read as _, Write as _};
    let Some(hosts) = Hosts::for_test(2) else { return };
    hosts.delay(0, Duration::from_millis(5)).unwrap();
    let (mut near, mut far) = connect(hosts.host(0), hosts.host(1));
    // Long enough that the kernel hands on segments of 64 kB, which have to be cut before they come to the relay.
    let sent: Vec<u8> = (0..8_000_000_u32).map(|at| (at % 251) as u8).collect();
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            near.write_all(&sent).unwrap();
            near.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).unwrap();
        received
    });
    assert!(received == sent, "{} of {} bytes are as they were sent", received.len(), sent.len());
}

#[test]
fn a_host_behind_a_relay_can_still_be_cut_off() {
    let Some(hosts) = Hosts::for_test(2) else { return };
    hosts.delay(1, Duration::from_millis(1)).unwrap();
    let (mut near, mut far) = connect(hosts.host(0), hosts.host(1));
    hosts.cut(1).unwrap();
    crate::talk::say_in_vain(&mut near, &mut far, "in vain");
    hosts.heal(1).unwrap();
    assert_eq!(crate::talk::hear(&mut far, 7), "in vain");
    // And one gets a relay while it is cut off.
    hosts.cut(0).unwrap();
    hosts.delay(0, Duration::from_millis(1)).unwrap();
    crate::talk::say_in_vain(&mut far, &mut near, "again");
    hosts.heal(0).unwrap();
    assert_eq!(crate::talk::hear(&mut near, 5), "again");
}
