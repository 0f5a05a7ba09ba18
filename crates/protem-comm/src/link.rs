//! A connection with one other rank, and the messages on it.

use crate::error::CommError;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Which collective a message belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Gather = 1,
    Broadcast = 2,
    Scatter = 3,
    Collect = 4,
}

/// Bytes before a message: what it is of, the number of that among the collectives, and its length.
const HEADER: usize = 16;
/// Messages up to this length leave in one piece with their header.
const SMALL: usize = 4096;
/// Memory taken for a message before its bytes are there.
const AHEAD: usize = 64 << 20;

#[derive(Debug)]
pub(crate) struct Link {
    rank: usize,
    stream: TcpStream,
}

/// A collective, by kind and number: what both ends must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub kind: Kind,
    pub number: u32,
}

impl Call {
    fn header(self, len: usize) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&(self.kind as u32).to_le_bytes());
        header[4..8].copy_from_slice(&self.number.to_le_bytes());
        header[8..].copy_from_slice(&(len as u64).to_le_bytes());
        header
    }
}

impl Link {
    /// With `rank`, for messages: without delay, and told of a machine that is gone within minutes, or within the system's
    /// time for what was sent and not received (a quarter of an hour on Linux).
    pub fn new(rank: usize, stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        stream.set_nodelay(true)?;
        let alive = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(15));
        SockRef::from(&stream).set_tcp_keepalive(&alive)?;
        Ok(Self { rank, stream })
    }

    /// Ends it in both directions, whoever waits on it.
    pub fn close(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both); // it may have ended
    }

    pub fn send(&self, call: Call, bytes: &[u8]) -> Result<(), CommError> {
        let header = call.header(bytes.len());
        let mut stream = &self.stream;
        let sent = match bytes.len() {
            0..=SMALL => stream.write_all(&[&header, bytes].concat()),
            _ => stream
                .write_all(&header)
                .and_then(|()| stream.write_all(bytes)),
        };
        sent.map_err(|source| self.lost(source))
    }

    /// A message of any length.
    pub fn receive(&self, call: Call) -> Result<Vec<u8>, CommError> {
        let len = self.expect(call)?;
        let mut bytes = Vec::with_capacity(len.min(AHEAD));
        let read = (&self.stream).take(len as u64).read_to_end(&mut bytes);
        match read {
            Ok(read) if read == len => Ok(bytes),
            Ok(_) => Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
            Err(source) => Err(self.lost(source)),
        }
    }

    /// A message of the length of `bytes`.
    pub fn receive_into(&self, call: Call, bytes: &mut [u8]) -> Result<(), CommError> {
        let len = self.expect(call)?;
        if len != bytes.len() {
            return Err(CommError::OutOfStep {
                rank: self.rank,
                found: format!("{len} bytes"),
                expected: format!("{} bytes", bytes.len()),
            });
        }
        let read = (&self.stream).read_exact(bytes);
        read.map_err(|source| self.lost(source))
    }

    /// The length of the message that comes, which must be of `call`.
    fn expect(&self, call: Call) -> Result<usize, CommError> {
        let mut header = [0; HEADER];
        let read = (&self.stream).read_exact(&mut header);
        read.map_err(|source| self.lost(source))?;
        let word = |at| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let (kind, number) = (word(0), word(4));
        if (kind, number) != (call.kind as u32, call.number) {
            return Err(CommError::OutOfStep {
                rank: self.rank,
                found: format!("kind {kind} of number {number}"),
                expected: format!("{:?} of number {}", call.kind, call.number),
            });
        }
        let len = u64::from_le_bytes(std::array::from_fn(|i| header[8 + i]));
        usize::try_from(len).map_err(|_| self.lost(io::ErrorKind::InvalidData.into()))
    }

    fn lost(&self, source: io::Error) -> CommError {
        CommError::lost(self.rank, source)
    }
}
