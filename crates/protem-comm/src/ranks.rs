//! The ranks of a run, and what they do together.

use crate::error::CommError;
use crate::join;
use crate::launch::Launch;
use crate::link::{Call, Kind, Link};
use bytemuck::Pod;
use std::io;
use std::ops::Range;
use std::thread;
use std::time::Duration;

/// This process among those of a run. What it does with the others is called by all of them, in one order; an error ends that for good: the
/// connections are closed, so that nobody waits for what will not come.
#[derive(Debug)]
pub struct Ranks {
    rank: usize,
    /// With each other rank, by its number; none with itself.
    links: Vec<Option<Link>>,
    /// Collectives so far.
    calls: u32,
}

impl Ranks {
    /// One that has everything to itself.
    pub fn alone() -> Self {
        Self::of_links(0, vec![None])
    }

    /// Finds the others within `patience` and connects with each. `waiting` is told now and then what for: on rank 0 how many are still
    /// missing, on others why rank 0 is not reached yet.
    ///
    /// # Errors
    /// Ranks that do not come or do not belong together; a port that cannot be had.
    pub fn join(
        launch: &Launch,
        patience: Duration,
        waiting: &mut dyn FnMut(Result<usize, &io::Error>),
    ) -> Result<Self, CommError> {
        let links = join::join(launch, patience, waiting)?;
        Ok(Self::of_links(launch.rank, links))
    }

    /// `world` ranks in this process, for a thread each.
    ///
    /// # Errors
    /// A machine without ports to spare.
    pub fn within_process(world: usize) -> Result<Vec<Self>, CommError> {
        let links = join::within_process(world)?.into_iter().enumerate();
        Ok(links
            .map(|(rank, links)| Self::of_links(rank, links))
            .collect())
    }

    fn of_links(rank: usize, links: Vec<Option<Link>>) -> Self {
        Self {
            rank,
            links,
            calls: 0,
        }
    }

    /// Its number, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn world(&self) -> usize {
        self.links.len()
    }

    /// Whether this is rank 0, which alone writes and tells.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// This rank's part of `n` things in a row; parts differ by one at most, and follow each other as ranks do.
    pub fn share(&self, n: usize) -> Range<usize> {
        part(n, self.rank, self.world())
    }

    /// The bytes of every rank, by its number.
    ///
    /// # Errors
    /// A rank that is gone, or out of step.
    pub fn gather(&mut self, own: &[u8]) -> Result<Vec<Vec<u8>>, CommError> {
        let mut all = vec![Vec::new(); self.world()];
        all[self.rank] = own.to_vec();
        self.exchange(
            Kind::Gather,
            |_| own,
            |call, from, link| {
                all[from] = link.receive(call)?;
                Ok(())
            },
        )?;
        Ok(all)
    }

    /// The values of all ranks, one rank's behind the other's.
    ///
    /// # Errors
    /// As [`Self::gather`].
    pub fn gather_values<T: Pod>(&mut self, own: &[T]) -> Result<Vec<T>, CommError> {
        if self.world() == 1 {
            return Ok(own.to_vec());
        }
        let lens = self.gather(&(own.len() as u64).to_le_bytes())?;
        let mut places = Vec::new();
        let mut end = 0;
        for (rank, len) in lens.iter().enumerate() {
            let len = <[u8; 8]>::try_from(len.as_slice()).map_err(|_| self.odd(rank, len.len()))?;
            let start = end;
            end += u64::from_le_bytes(len) as usize;
            places.push(start..end);
        }
        let mut all = vec![T::zeroed(); end];
        all[places[self.rank].clone()].copy_from_slice(own);
        let bytes: &[u8] = bytemuck::cast_slice(own);
        self.exchange(
            Kind::Gather,
            |_| bytes,
            |call, from, link| {
                link.receive_into(
                    call,
                    bytemuck::cast_slice_mut(&mut all[places[from].clone()]),
                )
            },
        )?;
        Ok(all)
    }

    fn odd(&self, rank: usize, len: usize) -> CommError {
        self.close();
        CommError::OutOfStep {
            rank,
            found: format!("{len} bytes"),
            expected: "a length".into(),
        }
    }

    /// What rank `from` has; what others pass is of no account.
    ///
    /// # Errors
    /// As [`Self::gather`].
    ///
    /// # Panics
    /// If there is no rank `from`.
    pub fn broadcast(&mut self, from: usize, own: Vec<u8>) -> Result<Vec<u8>, CommError> {
        let call = self.next(Kind::Broadcast);
        let done = match &self.links[from] {
            Some(link) => link.receive(call),
            None => {
                let mut others = self.links.iter().flatten();
                others
                    .try_for_each(|link| link.send(call, &own))
                    .map(|()| own)
            }
        };
        done.inspect_err(|_| self.close())
    }

    /// The same of values.
    ///
    /// # Errors
    /// As [`Self::gather`]; bytes that are no such values.
    ///
    /// # Panics
    /// As [`Self::broadcast`].
    pub fn broadcast_values<T: Pod>(
        &mut self,
        from: usize,
        own: Vec<T>,
    ) -> Result<Vec<T>, CommError> {
        if from == self.rank {
            let call = self.next(Kind::Broadcast);
            let mut others = self.links.iter().flatten();
            let sent = others.try_for_each(|link| link.send(call, bytemuck::cast_slice(&own)));
            return sent.map(|()| own).inspect_err(|_| self.close());
        }
        let bytes = self.broadcast(from, Vec::new())?;
        if !bytes.len().is_multiple_of(size_of::<T>().max(1)) {
            return Err(self.odd(from, bytes.len()));
        }
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    /// Each value becomes the sum of all ranks' values at its place, added in the order of the ranks; the same bits on each.
    ///
    /// # Errors
    /// As [`Self::gather`]; ranks with another number of values.
    pub fn sum(&mut self, values: &mut [f32]) -> Result<(), CommError> {
        let (rank, world) = (self.rank, self.world());
        if world == 1 {
            return Ok(());
        }
        // Each rank adds up its part of the values for all.
        let place = |rank| part(values.len(), rank, world);
        let places: Vec<Range<usize>> = (0..world).map(place).collect();
        let own = places[rank].clone();
        let mut parts = vec![Vec::new(); world];
        parts[rank] = values[own.clone()].to_vec();
        let of = |to: usize| bytemuck::cast_slice(&values[places[to].clone()]);
        self.exchange(Kind::Scatter, of, |call, from, link| {
            parts[from] = vec![0.0f32; own.len()];
            link.receive_into(call, bytemuck::cast_slice_mut(&mut parts[from]))
        })?;
        let (sum, others) = parts.split_first_mut().expect("at least one rank");
        for part in others {
            sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += *x);
        }
        values[own].copy_from_slice(sum);
        let sum = bytemuck::cast_slice(sum);
        self.exchange(
            Kind::Collect,
            |_| sum,
            |call, from, link| {
                link.receive_into(
                    call,
                    bytemuck::cast_slice_mut(&mut values[places[from].clone()]),
                )
            },
        )
    }

    /// Whether it holds for any rank.
    ///
    /// # Errors
    /// As [`Self::gather`].
    pub fn any(&mut self, own: bool) -> Result<bool, CommError> {
        Ok(self.gather(&[u8::from(own)])?.iter().any(|of| of == &[1]))
    }

    /// Makes sure that all ranks have the same text.
    ///
    /// # Errors
    /// One that differs from rank 0's; and as [`Self::gather`].
    pub fn agree(&mut self, what: &'static str, own: &str) -> Result<(), CommError> {
        let all = self.gather(own.as_bytes())?;
        let Some(rank) = all.iter().position(|of| *of != all[0]) else {
            return Ok(());
        };
        self.close();
        let text = |of: &[u8]| String::from_utf8_lossy(of).into_owned();
        Err(CommError::Differ {
            what,
            rank,
            found: text(&all[rank]),
            of_first: text(&all[0]),
        })
    }

    /// Sends `outgoing(to)` to each other rank while what comes from each is taken by `incoming`. In turn k everyone sends to the rank k places
    /// further and takes from that k places before, so that each message meets a reader.
    fn exchange<'a>(
        &mut self,
        kind: Kind,
        outgoing: impl Fn(usize) -> &'a [u8] + Sync,
        mut incoming: impl FnMut(Call, usize, &Link) -> Result<(), CommError>,
    ) -> Result<(), CommError> {
        let call = self.next(kind);
        let (rank, world, links) = (self.rank, self.world(), &self.links);
        if world == 1 {
            return Ok(());
        }
        let link = |of: usize| links[of].as_ref().expect("another rank");
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut turns = (1..world).map(|k| (rank + k) % world);
                turns.try_for_each(|to| link(to).send(call, outgoing(to)))
            });
            let mut turns = (1..world).map(|k| (rank + world - k) % world);
            let received = turns.try_for_each(|from| incoming(call, from, link(from)));
            if received.is_err() {
                self.close(); // or the sender may wait for ever
            }
            let sent = sender.join().expect("sending does not panic");
            received.and(sent)
        })
        .inspect_err(|_| self.close())
    }

    fn next(&mut self, kind: Kind) -> Call {
        let number = self.calls;
        self.calls = number.wrapping_add(1);
        Call { kind, number }
    }

    pub(crate) fn close(&self) {
        self.links.iter().flatten().for_each(Link::close);
    }
}

/// The part of `n` things that is one of `world` ranks'.
fn part(n: usize, rank: usize, world: usize) -> Range<usize> {
    let begin = |rank: usize| (n as u128 * rank as u128 / world as u128) as usize;
    begin(rank)..begin(rank + 1)
}
