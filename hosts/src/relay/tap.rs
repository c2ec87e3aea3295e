//! A device whose other end is a file: what the kernel sends to it can be read there, frame by frame.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::OFlags;
use rustix::ioctl::{Setter, ioctl, opcode};

/// Frames with their Ethernet header, and nothing before it.
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;

/// The longest name of a device, and the byte 0.
const NAME_MAX: usize = 16;

/// `struct ifreq`, as far as this request looks.
#[repr(C)]
#[derive(Debug)]
struct Request {
    name: [u8; NAME_MAX],
    flags: u16,
    rest: [u8; 22],
}

/// Makes a device in the namespace of this thread. It is gone when the file is closed. Reading does not wait.
///
/// It announces no offloads: so the kernel cuts large segments and computes checksums before they come here.
pub(super) fn open(name: &str) -> std::io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(std::io::Error::other)?;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
    let mut request = Request { name: [0; NAME_MAX], flags: IFF_TAP | IFF_NO_PI, rest: [0; 22] };
    if name.len() >= NAME_MAX {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // TUNSETIFF is declared with `int`, and takes a `struct ifreq`.
    const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
    // SAFETY: the request is of the form and size of the `struct ifreq` that the kernel copies.
    unsafe { ioctl(&file, Setter::<TUNSETIFF, Request>::new(request))? };
    Ok(file)
}
