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

/// Is told how many ranks are missing, as rank 0 knows, or why rank 0 is not reached.
pub(crate) type Waiting<'a> = dyn FnMut(Result<usize, &io::Error>) + 'a;

/// What all that calls at a port says first; the last byte counts the versions of what follows.
const MAGIC: [u8; 8] = *b"protem\x00\x01";
/// How long somebody who calls may take to say who it is, and how many may do so at a time.
const GREETING: Duration = Duration::from_secs(5);
const SILENT: usize = 256;
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

/// Bytes that tell where a rank listens: address and port.
const PLACE: usize = 18;

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

    /// What has come, once all of it is there; none of somebody else.
    fn read(mut stream: &TcpStream) -> Heard {
        let mut bytes = [0; Self::BYTES];
        match stream.peek(&mut bytes) {
            Ok(Self::BYTES) => {}
            Ok(1..) => return Heard::NotYet,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::NotYet,
            _ => return Heard::Another, // who has gone again
        }
        if bytes[..8] != MAGIC || stream.read_exact(&mut bytes).is_err() {
            return Heard::Another;
        }
        let word = |at| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        Heard::Rank(Self {
            rank: word(8),
            world: word(12),
            word: u64::from_le_bytes(std::array::from_fn(|i| bytes[16 + i])),
        })
    }
}

/// What somebody who calls has said.
enum Heard {
    NotYet,
    Rank(Hello),
    Another,
}

/// A port and those who call there, who may be other programs: nobody has to wait until one of them says something.
struct Door {
    listener: TcpListener,
    /// Who has said nothing yet, and since when.
    silent: Vec<(TcpStream, SocketAddr, Instant)>,
}

impl Door {
    fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            silent: Vec::new(),
        })
    }

    /// A rank that has come, if there is one by now, and where it calls from.
    fn next(&mut self) -> Option<(Hello, TcpStream, SocketAddr)> {
        while self.silent.len() < SILENT
            && let Ok((stream, from)) = self.listener.accept()
        {
            if stream.set_nonblocking(true).is_ok() {
                self.silent.push((stream, from, Instant::now()));
            }
        }
        let mut i = 0;
        while let Some((stream, _, since)) = self.silent.get(i) {
            match Hello::read(stream) {
                Heard::NotYet if since.elapsed() < GREETING => i += 1,
                Heard::Rank(hello) => {
                    let (stream, from, _) = self.silent.swap_remove(i);
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    stream.set_nonblocking(false).ok()?;
                    return Some((hello, stream, from));
                }
                _ => drop(self.silent.swap_remove(i)),
            }
        }
        None
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
    waiting: &mut Waiting<'_>,
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

/// Rank 0's port.
fn listen(launch: &Launch) -> Result<Door, CommError> {
    let at = (launch.address.as_str(), launch.port);
    let listener = match is_exact(launch) {
        false => anywhere(launch.port),
        true => TcpListener::bind(at).or_else(|error| match error.kind() {
            // It is a gateway's.
            ErrorKind::AddrNotAvailable => anywhere(launch.port),
            _ => Err(error),
        }),
    };
    listener
        .and_then(Door::new)
        .map_err(|source| CommError::Listen {
            address: format!("{}:{}", launch.address, launch.port),
            source,
        })
}

/// Whether rank 0's place is one address. A name may mean another here than elsewhere: that of a machine is 127.0.1.1 to
/// itself in Debian's hosts file.
fn is_exact(launch: &Launch) -> bool {
    launch.address == "localhost" || launch.address.parse::<IpAddr>().is_ok()
}

/// At all addresses of this machine.
fn anywhere(port: u16) -> io::Result<TcpListener> {
    let (all, without_v6) = (Ipv6Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
    TcpListener::bind(&[SocketAddr::from((all, port)), (without_v6, port).into()][..])
}

/// Rank 0: hears from all, and tells each where those are that it has to call at.
fn lead(
    launch: &Launch,
    door: Door,
    patience: &mut Patience,
    waiting: &mut Waiting<'_>,
) -> Result<Links, CommError> {
    let mut callers = heard(launch, door, patience, waiting)?;
    let token = RandomState::new().hash_one(std::process::id());
    let mut table = token.to_le_bytes().to_vec();
    // Who is on this machine may have called within it: others find it where they found rank 0.
    let from_outside = callers.iter().find(|(_, at)| !at.ip().is_loopback());
    let outside = from_outside.and_then(|(stream, _)| Some(stream.local_addr().ok()?.ip()));
    for (_, at) in &callers {
        let ip = match outside {
            Some(ip) if at.ip().is_loopback() => ip,
            _ => at.ip(),
        };
        let ip = match ip {
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
    mut door: Door,
    patience: &mut Patience,
    waiting: &mut Waiting<'_>,
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
            let missing = callers.iter().filter(|caller| caller.is_none());
            waiting(Ok(missing.count()));
        }
        let Some((hello, stream, from)) = door.next() else {
            thread::sleep(PAUSE);
            continue;
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

/// Any other rank: calls at rank 0, which tells it where the others are.
fn follow(
    launch: &Launch,
    patience: &mut Patience,
    waiting: &mut Waiting<'_>,
) -> Result<Links, CommError> {
    let of_first = lost(0);
    let mut first = reach(launch, patience, waiting)?;
    let mut own = first.local_addr().map_err(of_first)?;
    own.set_port(0);
    let listener = match is_exact(launch) {
        true => TcpListener::bind(own),
        false => anywhere(0),
    };
    let listener = listener.map_err(of_first)?;
    let port = listener.local_addr().map_err(of_first)?.port();
    Hello::new(launch, u64::from(port))
        .write(&first)
        .map_err(of_first)?;
    // Rank 0 answers when all have called, or goes when its own patience ends, which may have begun just now.
    let wait = Some(patience.of + TRY);
    first.set_read_timeout(wait).map_err(of_first)?;
    let mut table = vec![0; 8 + (launch.world - 1) * PLACE];
    first.read_exact(&mut table).map_err(of_first)?;
    let (token, places) = table.split_at(8);
    let hello = Hello::new(
        launch,
        u64::from_le_bytes(std::array::from_fn(|i| token[i])),
    );
    let mut links: Links = vec![Some(Link::new(0, first).map_err(of_first)?)];
    links.resize_with(launch.world, || None);
    let door = Door::new(listener).map_err(of_first)?;
    meet(hello, places, door, &mut links)?;
    Ok(links)
}

/// Calls at the ranks between rank 0 and this one, and is called at by those behind it.
fn meet(hello: Hello, places: &[u8], mut door: Door, links: &mut Links) -> Result<(), CommError> {
    let (rank, world) = (hello.rank as usize, links.len());
    for (before, place) in (1..rank).zip(places.chunks_exact(PLACE)) {
        let ip = Ipv6Addr::from(std::array::from_fn(|i| place[i])).to_canonical();
        let at = SocketAddr::new(ip, u16::from_le_bytes([place[16], place[17]]));
        let stream = TcpStream::connect_timeout(&at, TRY).map_err(lost(before))?;
        hello.write(&stream).map_err(lost(before))?;
        links[before] = Some(Link::new(before, stream).map_err(lost(before))?);
    }
    let begun = Instant::now();
    while let Some(behind) = (rank + 1..world).find(|behind| links[*behind].is_none()) {
        if begun.elapsed() > TRY + GREETING {
            return Err(lost(behind)(ErrorKind::TimedOut.into()));
        }
        let Some((caller, stream, _)) = door.next() else {
            thread::sleep(PAUSE);
            continue;
        };
        let rank = caller.rank as usize;
        let is_of_run = caller.word == hello.word;
        if let Some(free @ None) = links.get_mut(rank).filter(|_| is_of_run) {
            *free = Some(Link::new(rank, stream).map_err(lost(rank))?);
        }
    }
    Ok(())
}

/// A connection with rank 0, which may begin later than this one.
fn reach(
    launch: &Launch,
    patience: &mut Patience,
    waiting: &mut Waiting<'_>,
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
            waiting(Err(&failed));
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
