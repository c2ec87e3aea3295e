use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

use super::message::TcpInfo;
use super::*;

/// Both ends of a connection over which a question has gone, and an answer.
fn used(address: &str, through: impl Fn(SocketAddr) -> SocketAddr) -> (TcpStream, TcpStream, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let (near, far) = connected(&listener, through(listener.local_addr().unwrap()));
    (near, far, listener.local_addr().unwrap())
}

fn connected(listener: &TcpListener, to: SocketAddr) -> (TcpStream, TcpStream) {
    let mut near = TcpStream::connect(to).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let mut buffer = [0; 64];
    near.write_all(&buffer).unwrap();
    far.read_exact(&mut buffer).unwrap();
    far.write_all(&buffer).unwrap();
    near.read_exact(&mut buffer).unwrap();
    (near, far)
}

#[test]
fn connections_in_use_tell_how_far_their_other_end_is() {
    let same = |address| address;
    let mapped =
        |address: SocketAddr| SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), address.port());
    let four = used("127.0.0.1:0", same);
    let six = used("[::1]:0", same);
    // The kernel makes a socket for IPv6 of this, which is connected over IPv4.
    let both = used("127.0.0.1:0", mapped);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [four.2, nobody.local_addr().unwrap(), six.2, both.2];
    let readings = read(&addresses).unwrap();
    let counts: Vec<_> =
        readings.iter().map(|reading| reading.map_or(0, |found| found.connections)).collect();
    assert_eq!(counts, [1, 0, 1, 1]);
    for reading in readings.into_iter().flatten() {
        assert!(!reading.smoothed.is_zero(), "{reading:?}");
    }
    // The address of a mapped socket may be written so as well.
    let written_so = read(&[mapped(both.2)]).unwrap();
    assert_eq!(written_so[0].map(|found| found.connections), Some(1));
}

#[test]
fn a_connection_that_is_closed_or_carries_nothing_does_not_count() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = || read(&[address]).unwrap()[0].map_or(0, |found| found.connections);
    let mut idle = TcpStream::connect(address).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    assert_eq!(connections(), 0);
    // As much as a probe sends.
    idle.write_all(&[0; 8]).unwrap();
    far.read_exact(&mut [0; 8]).unwrap();
    far.write_all(&[0]).unwrap();
    idle.read_exact(&mut [0]).unwrap();
    assert_eq!(connections(), 0);
    let (near, far) = connected(&listener, address);
    assert_eq!(connections(), 1);
    drop((near, far));
    assert_eq!(connections(), 0);
}

#[test]
fn the_handshake_of_one_connection_is_found_by_its_ends() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, peer) = (near.local_addr().unwrap(), near.peer_addr().unwrap());
        let round_trip = of_one(local, peer).unwrap().expect("the handshake was measured");
        assert!(!round_trip.is_zero());
        drop(near);
        drop(listener);
        assert_eq!(of_one(local, peer).unwrap(), None);
    }
}

#[test]
fn many_addresses_are_asked_for_in_one_question() {
    let used = used("127.0.0.1:0", |address| address);
    let mut addresses: Vec<_> = (0..300_u16)
        .map(|number| {
            let six = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number);
            let four = Ipv4Addr::new(10, 0, (number / 250) as u8, (number % 250) as u8);
            SocketAddr::new(if number % 2 == 0 { six.into() } else { four.into() }, 5432)
        })
        .collect();
    addresses.push(used.2);
    let readings = read(&addresses).unwrap();
    let found: Vec<_> = readings.iter().flatten().collect();
    assert_eq!(found.len(), 1);
    assert_eq!(readings.last().unwrap().map(|found| found.connections), Some(1));
}

/// `struct tcp_info` as kernel 6.12 has it.
fn tcp_info(since_ack_ms: u32, smoothed_us: u32, shortest_us: u32, bytes_acked: u64) -> [u8; 248] {
    let mut bytes = [0; 248];
    bytes[56..60].copy_from_slice(&since_ack_ms.to_ne_bytes());
    bytes[68..72].copy_from_slice(&smoothed_us.to_ne_bytes());
    bytes[120..128].copy_from_slice(&bytes_acked.to_ne_bytes());
    bytes[148..152].copy_from_slice(&shortest_us.to_ne_bytes());
    bytes
}

#[test]
fn an_older_kernel_says_less() {
    let (ms, us) = (Duration::from_millis, Duration::from_micros);
    let bytes = tcp_info(1_500, 20_125, 19_000, 77);
    let all = TcpInfo {
        since_ack: Some(ms(1_500)),
        smoothed: Some(us(20_125)),
        shortest: Some(us(19_000)),
        bytes_acked: Some(77),
    };
    let check = |length: usize, expected: TcpInfo| {
        assert_eq!(TcpInfo::parse(&bytes[..length]), expected, "{length} bytes");
    };
    check(248, all);
    check(152, all);
    // What is cut off within a number is not there.
    check(151, TcpInfo { shortest: None, ..all });
    // 4.1, 3.2, and what there never was.
    check(136, TcpInfo { shortest: None, ..all });
    check(104, TcpInfo { shortest: None, bytes_acked: None, ..all });
    check(70, TcpInfo { since_ack: Some(ms(1_500)), ..TcpInfo::default() });
    check(0, TcpInfo::default());
    // Nothing was measured yet.
    let info = TcpInfo::parse(&tcp_info(0, 0, u32::MAX, 1));
    assert_eq!((info.smoothed, info.shortest), (None, None));
}

#[test]
fn what_a_connection_tells_counts_if_it_is_in_use_and_agrees_with_itself() {
    let ms = Duration::from_millis;
    let check = |bytes: &[u8], expected: Option<(Option<Duration>, Duration)>| {
        let reading = Reading::of(&TcpInfo::parse(bytes));
        assert_eq!(reading.map(|reading| (reading.sure, reading.smoothed)), expected, "{bytes:?}");
    };
    check(&tcp_info(5_000, 20_000, 19_000, 17), Some((Some(ms(19)), ms(20))));
    check(&tcp_info(5_001, 20_000, 19_000, 17), None);
    check(&tcp_info(0, 20_000, 19_000, 16), None);
    check(&tcp_info(0, 0, u32::MAX, 100), None);
    // It has moved from 1 ms to 20 ms, or is 1 ms away and takes its time to acknowledge.
    check(&tcp_info(0, 20_000, 1_000, 100), Some((None, ms(20))));
    check(&tcp_info(0, 3_000, 1_000, 100), Some((Some(ms(1)), ms(3))));
    check(&tcp_info(0, 3_001, 1_000, 100), Some((None, Duration::from_micros(3_001))));
    // Older kernels.
    check(&tcp_info(0, 3_000, 0, 100)[..136], Some((Some(ms(3)), ms(3))));
    check(&tcp_info(0, 3_000, 0, 0)[..104], Some((Some(ms(3)), ms(3))));

    let one =
        |sure: Option<u64>, smoothed| Reading { sure: sure.map(ms), smoothed: ms(smoothed), connections: 1 };
    assert_eq!(one(None, 1).with(None), one(None, 1));
    let together = one(None, 1).with(Some(one(Some(3), 4)));
    assert_eq!(together, Reading { connections: 2, ..one(Some(3), 1) });
    assert_eq!(one(Some(3), 4).with(Some(one(Some(2), 5))), Reading { connections: 2, ..one(Some(2), 4) });
}

#[test]
fn what_the_kernel_says_is_not_trusted_to_be_whole() {
    let answers =
        |bytes: &[u8]| message::answers(bytes).map(|all| all.len()).map_err(|error| error.to_string());
    assert_eq!(answers(&[]), Ok(0));
    assert_eq!(answers(&[1, 2, 3]), Err("an answer is cut off".to_owned()));
    let mut header = [0; 20];
    for length in [0_u32, 15, 21, u32::MAX] {
        header[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(answers(&header), Err("an answer is cut off".to_owned()), "{length}");
    }
    // A connection that is cut off is none; what stands in place of it is an error with its number.
    header[..4].copy_from_slice(&20_u32.to_ne_bytes());
    header[4..6].copy_from_slice(&20_u16.to_ne_bytes());
    assert!(matches!(message::answers(&header).unwrap()[..], [Answer::Other]));
    header[4..6].copy_from_slice(&2_u16.to_ne_bytes());
    header[16..20].copy_from_slice(&(-2_i32).to_ne_bytes());
    let answers = message::answers(&header).unwrap();
    let [Answer::Error(error)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
