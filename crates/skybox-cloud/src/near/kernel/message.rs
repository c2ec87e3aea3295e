//! The bytes of `sock_diag(7)`: all numbers are in the machine's order, but ports and addresses in that of the network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::net::AddressFamily;

use super::octets;

// linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const HEADER_BYTES: usize = 16;
const ATTRIBUTE_BYTES: usize = 4;

// linux/sock_diag.h and linux/inet_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_D_COND: u8 = 8;
const INET_DIAG_NOCOOKIE: [u8; 8] = [0xff; 8];
/// `struct inet_diag_msg`.
const CONNECTION_BYTES: usize = 72;
/// `struct inet_diag_bc_op`.
const OP_BYTES: u8 = 4;
/// An operation that compares the destination: itself, what it compares with, an address.
const CONDITION_BYTES: u8 = OP_BYTES + 8 + 16;

const TCP: u8 = 6;
const TCP_ESTABLISHED: u32 = 1;

/// An answer, or a part of one.
#[derive(Debug)]
pub(super) enum Answer {
    Connection(Connection),
    /// Nothing that was asked for.
    Other,
    /// That was all.
    End,
    Error(io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    /// Whose it is, in the numbers of this process's user namespace.
    pub(super) user: u32,
    pub(super) info: TcpInfo,
}

/// What is used of `struct tcp_info`, which grows with the kernel's versions: what it does not know is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TcpInfo {
    /// When something was acknowledged by the other end the last time: so long ago.
    pub(super) since_ack: Option<Duration>,
    /// The smoothed round trip. `None` as well before one was measured.
    pub(super) smoothed: Option<Duration>,
    /// The shortest round trip of the last minutes, five of them unless the system says otherwise. Since 4.6.
    pub(super) shortest: Option<Duration>,
    /// How much the other end has acknowledged. Since 4.1.
    pub(super) bytes_acked: Option<u64>,
}

impl TcpInfo {
    pub(super) fn parse(bytes: &[u8]) -> TcpInfo {
        // Zero and the greatest number stand for: not measured yet.
        let us = |at| u32_at(bytes, at).filter(|us| !matches!(us, 0 | &u32::MAX));
        let micros = |us: u32| Duration::from_micros(us.into());
        TcpInfo {
            since_ack: u32_at(bytes, 56).map(|ms| Duration::from_millis(ms.into())),
            smoothed: us(68).map(micros),
            shortest: us(148).map(micros),
            bytes_acked: bytes.get(120..128).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes),
        }
    }
}

/// Asks for all established connections of a family to one of these addresses.
pub(super) fn all(family: AddressFamily, addresses: &[SocketAddr]) -> Vec<u8> {
    let conditions: Vec<_> = addresses
        .iter()
        .filter_map(|address| octets(address.ip(), family).map(|octets| (address.port(), octets)))
        .collect();
    let jump = usize::from(OP_BYTES);
    let condition = usize::from(CONDITION_BYTES);
    // The first that is true jumps to the end, which means yes; past the end means no.
    let mut code = Vec::new();
    for (at, (port, (address, prefix))) in conditions.iter().enumerate() {
        let is_last = at + 1 == conditions.len();
        code.extend([INET_DIAG_BC_D_COND, CONDITION_BYTES]);
        code.extend(((condition + jump) as u16).to_ne_bytes());
        let of = if *prefix == 32 { AddressFamily::INET } else { AddressFamily::INET6 };
        code.extend([of.as_raw() as u8, *prefix, 0, 0]);
        code.extend(i32::from(*port).to_ne_bytes());
        code.extend(address);
        if !is_last {
            let behind = (conditions.len() - at - 1) * (condition + jump);
            code.extend([INET_DIAG_BC_JMP, OP_BYTES]);
            code.extend((behind as u16).to_ne_bytes());
        }
    }
    let nothing = ([0; 16], 0);
    let mut attribute = Vec::new();
    attribute.extend(((ATTRIBUTE_BYTES + code.len()) as u16).to_ne_bytes());
    attribute.extend(INET_DIAG_REQ_BYTECODE.to_ne_bytes());
    attribute.extend(code);
    question(family, NLM_F_REQUEST | NLM_F_DUMP, nothing, nothing, &attribute)
}

/// Asks for one connection.
pub(super) fn one(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let end = |address: SocketAddr| {
        let mut octets = [0; 16];
        match address.ip() {
            IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => octets = address.octets(),
        }
        (octets, address.port())
    };
    question(family, NLM_F_REQUEST, end(local), end(peer), &[])
}

type End = ([u8; 16], u16);

fn question(family: AddressFamily, flags: u16, local: End, peer: End, attribute: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + 56 + attribute.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    // Numbers of the question and of who asks, which are of no use on a socket with one question.
    bytes.extend([0; 8]);
    // `struct inet_diag_req_v2`: what is asked for beside the connection, then in which states.
    bytes.extend([family.as_raw() as u8, TCP, 1 << (INET_DIAG_INFO - 1), 0]);
    bytes.extend((1_u32 << TCP_ESTABLISHED).to_ne_bytes());
    // `struct inet_diag_sockid`.
    bytes.extend(local.1.to_be_bytes());
    bytes.extend(peer.1.to_be_bytes());
    bytes.extend(local.0);
    bytes.extend(peer.0);
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(INET_DIAG_NOCOOKIE);
    bytes.extend(attribute);
    bytes
}

/// What a page of the kernel's answer has in it.
pub(super) fn answers(mut page: &[u8]) -> io::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    while !page.is_empty() {
        let cut = || io::Error::new(io::ErrorKind::InvalidData, "an answer is cut off");
        let length = u32_at(page, 0).ok_or_else(cut)? as usize;
        let message = page.get(HEADER_BYTES..length).ok_or_else(cut)?;
        answers.push(match u16_at(page, 4) {
            Some(SOCK_DIAG_BY_FAMILY) => connection(message).map_or(Answer::Other, Answer::Connection),
            Some(NLMSG_DONE) => match u32_at(message, 0).map_or(0, u32::cast_signed) {
                code if code < 0 => Answer::Error(io::Error::from_raw_os_error(-code)),
                _ => Answer::End,
            },
            Some(NLMSG_ERROR) => match u32_at(message, 0).ok_or_else(cut)?.cast_signed() {
                0 => Answer::End,
                code => Answer::Error(io::Error::from_raw_os_error(code.saturating_neg())),
            },
            _ => Answer::Other,
        });
        page = page.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(answers)
}

/// `struct inet_diag_msg`, then attributes. `None` without what the kernel has measured.
fn connection(bytes: &[u8]) -> Option<Connection> {
    let family = AddressFamily::from_raw((*bytes.first()?).into());
    let port = u16::from_be_bytes(bytes.get(6..8)?.try_into().ok()?);
    let address = bytes.get(24..40)?;
    let address: IpAddr = match family {
        AddressFamily::INET => Ipv4Addr::from(<[u8; 4]>::try_from(&address[..4]).ok()?).into(),
        AddressFamily::INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).into(),
        _ => return None,
    };
    let user = u32_at(bytes, 64)?;
    let mut attributes = bytes.get(CONNECTION_BYTES..)?;
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let attribute = attributes.get(ATTRIBUTE_BYTES..length)?;
        if kind == INET_DIAG_INFO {
            let info = TcpInfo::parse(attribute);
            return Some(Connection { peer: SocketAddr::new(address, port), user, info });
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
