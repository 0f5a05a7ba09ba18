//! How ranks find each other: all call at rank 0, which tells each where the others are; then each calls at those of lower numbers.

use crate::error::CommError;
use crate::launch::Launch;
use crate::link::Link;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

/// With each other rank, by its number.
type Links = Vec<Option<Link>>;

/// What all that calls at a port says first; the last byte counts the versions of what follows.
const MAGIC: [u8; 8] = *b"protem\x00\x01";
/// How long somebody who calls may take to say who it is.
const GREETING: Duration = Duration::from_secs(5);
/// Between two looks at a port.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two tries to reach rank 0, and how long one may take.
const RETRY: Duration = Duration::from_millis(200);
const TRY: Duration = Duration::from_secs(10);
/// When missing ranks are told of for the first time, and how often then.
const TELL: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

/// What a rank says when it calls: at rank 0 with the port it will listen at, elsewhere with the run's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hello {
    rank: u32,
    world: u32,
    word: u64,
}

impl Hello {
    const BYTES: usize = 24;

    fn new(launch: &Launch, word: u64) -> Self {
        Self {
            rank: launch.rank as u32,
            world: launch.world as u32,
            word,
        }
    }

    fn write(self, mut stream: &TcpStream) -> io::Result<()> {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.rank.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.world.to_le_bytes());
        bytes[16..].copy_from_slice(&self.word.to_le_bytes());
        stream.write_all(&bytes)
    }

    /// None of somebody else, or who takes too long.
    fn read(mut stream: &TcpStream) -> Option<Self> {
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(GREETING)).ok()?;
        let mut bytes = [0; Self::BYTES];
        stream.read_exact(&mut bytes).ok()?;
        let word = |at| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        (bytes[..8] == MAGIC).then(|| Self {
            rank: word(8),
            world: word(12),
            word: u64::from_le_bytes(std::array::from_fn(|i| bytes[16 + i])),
        })
    }
}

/// Time that is left.
struct Patience {
    begun: Instant,
    of: Duration,
    /// When those who wait are told of next.
    tell: Duration,
}

impl Patience {
    fn left(&self) -> Option<Duration> {
        let left = self.of.checked_sub(self.begun.elapsed());
        left.filter(|left| !left.is_zero())
    }

    fn is_to_tell(&mut self) -> bool {
        let is_time = self.begun.elapsed() >= self.tell;
        if is_time {
            self.tell += TELL[1];
        }
        is_time
    }
}

pub(crate) fn join(
    launch: &Launch,
    patience: Duration,
    waiting: &mut dyn FnMut(Option<usize>),
) -> Result<Links, CommError> {
    let mut patience = Patience {
        begun: Instant::now(),
        of: patience,
        tell: TELL[0],
    };
    match launch.rank {
        0 => lead(launch, listen(launch)?, &mut patience, waiting),
        _ => follow(launch, &mut patience, waiting),
    }
}

/// Rank 0's port. Its name may be that of a gateway's side that this machine does not have: then any side will do.
fn listen(launch: &Launch) -> Result<TcpListener, CommError> {
    let at = (launch.address.as_str(), launch.port);
    let anywhere = (Ipv4Addr::UNSPECIFIED, launch.port);
    let listener = TcpListener::bind(at).or_else(|error| match error.kind() {
        ErrorKind::AddrNotAvailable => TcpListener::bind(anywhere),
        _ => Err(error),
    });
    let listener = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| CommError::Listen {
        address: format!("{}:{}", launch.address, launch.port),
        source,
    })
}

/// Rank 0: hears from all, and tells each where those are that it has to call at.
fn lead(
    launch: &Launch,
    listener: TcpListener,
    patience: &mut Patience,
    waiting: &mut dyn FnMut(Option<usize>),
) -> Result<Links, CommError> {
    let mut callers = heard(launch, &listener, patience, waiting)?;
    let token = RandomState::new().hash_one(std::process::id());
    let mut table = token.to_le_bytes().to_vec();
    for (_, at) in &callers {
        let ip = match at.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        table.extend(ip.octets());
        table.extend(at.port().to_le_bytes());
    }
    for (rank, (stream, _)) in (1..).zip(&mut callers) {
        stream.write_all(&table).map_err(lost(rank))?;
    }
    let callers = (1..).zip(callers);
    let links =
        callers.map(|(rank, (stream, _))| Link::new(rank, stream).map_err(lost(rank)).map(Some));
    std::iter::once(Ok(None)).chain(links).collect()
}

/// Who called at rank 0, in the order of their ranks from 1, and where each listens.
fn heard(
    launch: &Launch,
    listener: &TcpListener,
    patience: &mut Patience,
    waiting: &mut dyn FnMut(Option<usize>),
) -> Result<Vec<(TcpStream, SocketAddr)>, CommError> {
    let mut callers: Vec<Option<(TcpStream, SocketAddr)>> = Vec::new();
    callers.resize_with(launch.world - 1, || None);
    while callers.iter().any(Option::is_none) {
        if patience.left().is_none() {
            let missing = (1..).zip(&callers).filter(|(_, caller)| caller.is_none());
            return Err(CommError::Missing {
                missing: missing.map(|(rank, _)| rank).collect(),
                world: launch.world,
                seconds: patience.of.as_secs(),
            });
        }
        if patience.is_to_tell() {
            waiting(Some(
                callers.iter().filter(|caller| caller.is_none()).count(),
            ));
        }
        let Ok((stream, from)) = listener.accept() else {
            thread::sleep(PAUSE); // nobody, or somebody who has gone again
            continue;
        };
        let Some(hello) = Hello::read(&stream) else {
            continue; // somebody who looks for another program
        };
        let stranger = |reason| CommError::Stranger {
            from: from.to_string(),
            rank: hello.rank,
            world: hello.world,
            reason,
        };
        if hello.world as usize != launch.world {
            return Err(stranger("there are not as many here"));
        }
        let place = (hello.rank as usize)
            .checked_sub(1)
            .and_then(|at| callers.get_mut(at));
        match place {
            None => return Err(stranger("there is no such rank to come")),
            Some(Some(_)) => return Err(stranger("another one has come as that rank")),
            Some(free) => *free = Some((stream, SocketAddr::new(from.ip(), hello.word as u16))),
        }
    }
    Ok(callers.into_iter().flatten().collect())
}

/// Any other rank: calls at rank 0, then at those before it, and is called at by those behind it.
fn follow(
    launch: &Launch,
    patience: &mut Patience,
    waiting: &mut dyn FnMut(Option<usize>),
) -> Result<Links, CommError> {
    let (rank, world) = (launch.rank, launch.world);
    let of_first = lost(0);
    let mut first = reach(launch, patience, waiting)?;
    let own = first.local_addr().map_err(of_first)?.ip();
    let listener = TcpListener::bind((own, 0)).map_err(of_first)?;
    let port = listener.local_addr().map_err(of_first)?.port();
    Hello::new(launch, u64::from(port))
        .write(&first)
        .map_err(of_first)?;
    // Rank 0 answers when all have called, or goes when its own patience ends.
    let wait = patience.left().unwrap_or(PAUSE) + TRY;
    first.set_read_timeout(Some(wait)).map_err(of_first)?;
    let mut table = vec![0; 8 + (world - 1) * 18];
    first.read_exact(&mut table).map_err(of_first)?;
    let (token, places) = table.split_at(8);
    let hello = Hello::new(
        launch,
        u64::from_le_bytes(std::array::from_fn(|i| token[i])),
    );
    let mut links: Links = vec![Some(Link::new(0, first).map_err(of_first)?)];
    links.resize_with(world, || None);
    for (before, place) in (1..rank).zip(places.chunks_exact(18)) {
        let ip = Ipv6Addr::from(std::array::from_fn(|i| place[i])).to_canonical();
        let at = SocketAddr::new(ip, u16::from_le_bytes([place[16], place[17]]));
        let stream = TcpStream::connect_timeout(&at, TRY).map_err(lost(before))?;
        hello.write(&stream).map_err(lost(before))?;
        links[before] = Some(Link::new(before, stream).map_err(lost(before))?);
    }
    listener.set_nonblocking(true).map_err(of_first)?;
    let begun = Instant::now();
    while let Some(behind) = (rank + 1..world).find(|behind| links[*behind].is_none()) {
        if begun.elapsed() > TRY + GREETING {
            return Err(lost(behind)(ErrorKind::TimedOut.into()));
        }
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(PAUSE);
            continue;
        };
        let Some(caller) = Hello::read(&stream).filter(|of| of.word == hello.word) else {
            continue; // nobody of this run
        };
        if let Some(free @ None) = links.get_mut(caller.rank as usize) {
            let caller = caller.rank as usize;
            *free = Some(Link::new(caller, stream).map_err(lost(caller))?);
        }
    }
    Ok(links)
}

/// A connection with rank 0, which may begin later than this one.
fn reach(
    launch: &Launch,
    patience: &mut Patience,
    waiting: &mut dyn FnMut(Option<usize>),
) -> Result<TcpStream, CommError> {
    let at = (launch.address.as_str(), launch.port);
    loop {
        let failed = match at.to_socket_addrs().map(Vec::from_iter) {
            Err(error) => error, // names may come to be known later than machines are up
            Ok(found) => {
                let mut last = ErrorKind::NotFound.into();
                for address in found {
                    match TcpStream::connect_timeout(&address, TRY) {
                        Ok(stream) if !is_own(&stream) => return Ok(stream),
                        Ok(_) => last = ErrorKind::ConnectionRefused.into(),
                        Err(error) => last = error,
                    }
                }
                last
            }
        };
        if patience.left().is_none() {
            return Err(CommError::NoLeader {
                address: format!("{}:{}", launch.address, launch.port),
                seconds: patience.of.as_secs(),
                source: failed,
            });
        }
        if patience.is_to_tell() {
            waiting(None);
        }
        thread::sleep(RETRY);
    }
}

/// Whether a connection is with itself: a call at a free port of this machine may come from that very port.
fn is_own(stream: &TcpStream) -> bool {
    stream.local_addr().ok() == stream.peer_addr().ok()
}

fn lost(rank: usize) -> impl Fn(io::Error) -> CommError + Copy {
    move |source| CommError::lost(rank, source)
}

/// Links of `world` ranks in this process.
pub(crate) fn within_process(world: usize) -> Result<Vec<Links>, CommError> {
    let listen = |source| CommError::Listen {
        address: "127.0.0.1".into(),
        source,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(listen)?;
    let at = listener.local_addr().map_err(listen)?;
    let mut all: Vec<Links> = Vec::new();
    all.resize_with(world, || {
        let mut links = Links::new();
        links.resize_with(world, || None);
        links
    });
    let pairs = (1..world).flat_map(|rank| (0..rank).map(move |before| (before, rank)));
    for (before, rank) in pairs {
        let calling = TcpStream::connect(at).map_err(listen)?;
        let (called, _) = listener.accept().map_err(listen)?;
        all[rank][before] = Some(Link::new(before, calling).map_err(lost(before))?);
        all[before][rank] = Some(Link::new(rank, called).map_err(lost(rank))?);
    }
    Ok(all)
}
