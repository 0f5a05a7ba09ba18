//! Batches from worker threads, in a fixed order.

use crate::augment::{Augment, Stream};
use crate::error::{DataError, ReadError};
use crate::evaluation::Evaluation;
use crate::order::epoch_order;
use crate::source::{Source, Unreadable, unreadable};
use image::RgbImage;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Batches that wait while one is in use.
const PREFETCH: usize = 2;

/// Images that a worker takes at once. With more, some wait for others at the end of each batch.
const AT_ONCE: usize = 1;

/// Images in a row that may be unreadable before a loader gives up: a disk that is gone should not
/// be asked for all of a million images.
const TRIES: usize = 100;

/// Views of each of a batch's images, two unless another number is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewBatch<const VIEWS: usize = 2> {
    /// Image of each row.
    pub indices: Vec<u32>,
    /// First views, second views and so on: `batch × size × size × 3` bytes each.
    pub views: [Vec<u8>; VIEWS],
    /// Images that could not be read; the next readable one of the epoch's order took the place
    /// of each.
    pub skipped: Vec<Unreadable>,
}

/// A rank's part of every epoch.
///
/// All ranks draw the same order and cut it into pieces of `world × batch` images, of which rank 0
/// takes the first `batch`, and so on: over all ranks an image comes once an epoch. The images
/// behind the last whole piece, fewer than `world × batch`, are left out of this epoch, others of
/// the next; so all ranks have equally many batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// This rank, below `world`.
    pub rank: usize,
    /// How many ranks there are, at least one.
    pub world: usize,
}

impl Share {
    /// One rank that has everything.
    pub const ALL: Self = Self { rank: 0, world: 1 };
}

/// What a [`ViewLoader`] loads.
#[derive(Clone)]
pub struct ViewPlan {
    /// Images.
    pub source: Arc<dyn Source>,
    /// What makes the views.
    pub augment: Augment,
    /// Seed of the order and the views.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Images of a batch.
    pub batch: usize,
    /// Which of the ranks that train together this is.
    pub share: Share,
    /// First batch of the epoch to load.
    pub start: usize,
    /// Worker threads.
    pub workers: usize,
}

/// One epoch of [`ViewBatch`]es. Dropping it stops the workers.
///
/// An item is an error when no readable image can be found for a row. A panic of the source is
/// passed on by `next`.
pub struct ViewLoader<const VIEWS: usize = 2>(Prefetch<Result<ViewBatch<VIEWS>, DataError>>);

impl<const VIEWS: usize> ViewLoader<VIEWS> {
    /// Starts loading.
    ///
    /// # Errors
    /// Fewer images than a batch of every rank.
    ///
    /// # Panics
    /// If the rank is not below the number of ranks.
    pub fn new(plan: ViewPlan) -> Result<Self, DataError> {
        let Share { rank, world } = plan.share;
        assert!(rank < world, "rank {rank} of {world}");
        let n = plan.source.len();
        let piece = plan.batch.saturating_mul(world);
        if piece == 0 || n < piece {
            return Err(DataError::FewerThanBatch {
                images: n,
                batch: piece,
            });
        }
        let order = epoch_order(plan.seed, plan.epoch, n);
        let batches = plan.start..n / piece;
        Ok(Self(Prefetch::start(plan.workers, batches, move |batch| {
            view_batch(&plan, &order, batch)
        })))
    }
}

impl<const VIEWS: usize> Iterator for ViewLoader<VIEWS> {
    type Item = Result<ViewBatch<VIEWS>, DataError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

fn view_batch<const VIEWS: usize>(
    plan: &ViewPlan,
    order: &[u32],
    batch: usize,
) -> Result<ViewBatch<VIEWS>, DataError> {
    let Share { rank, world } = plan.share;
    let first = (batch * world + rank) * plan.batch;
    let side = plan.augment.config().size as usize;
    let bytes = side * side * 3;
    let mut views = [(); VIEWS].map(|()| vec![0; plan.batch * bytes]);
    let mut of_view = views.each_mut().map(|v| v.chunks_exact_mut(bytes));
    let of_row = |_| of_view.each_mut().map(|v| v.next().expect("one a row"));
    let of_rows: Vec<[&mut [u8]; VIEWS]> = (0..plan.batch).map(of_row).collect();
    let rows: Vec<Row> = of_rows
        .into_par_iter()
        .enumerate()
        .with_max_len(AT_ONCE)
        .map(|(row, views)| view_row(plan, order, first + row, views))
        .collect::<Result<_, _>>()?;
    let mut out = ViewBatch {
        indices: Vec::new(),
        views,
        skipped: Vec::new(),
    };
    for row in rows {
        out.indices.push(row.index);
        for bad in row.skipped {
            if !out.skipped.contains(&bad) {
                out.skipped.push(bad); // rows next to each other meet the same images
            }
        }
    }
    Ok(out)
}

struct Row {
    index: u32,
    skipped: Vec<Unreadable>,
}

fn view_row<const VIEWS: usize>(
    plan: &ViewPlan,
    order: &[u32],
    slot: usize,
    views: [&mut [u8]; VIEWS],
) -> Result<Row, DataError> {
    let mut skipped = Vec::new();
    for step in 0..order.len().min(TRIES) {
        let index = order[(slot + step) % order.len()];
        match seen(&*plan.source, index as usize) {
            Ok(image) => {
                for (view, out) in (0..).zip(views) {
                    let stream = Stream {
                        seed: plan.seed,
                        epoch: plan.epoch,
                        index: u64::from(index),
                        view,
                    };
                    plan.augment.view_into(&image, stream, out);
                }
                return Ok(Row { index, skipped });
            }
            Err(error) => skipped.push(unreadable(&*plan.source, index, &error)),
        }
    }
    Err(DataError::UnreadableInARow {
        unreadable: skipped,
    })
}

/// An image that has pixels: a source of somebody's own may give one without.
fn seen(source: &dyn Source, index: usize) -> Result<RgbImage, ReadError> {
    let image = source.read(index)?;
    match image.dimensions() {
        (0, _) | (_, 0) => Err(ReadError::Empty {
            width: image.width(),
            height: image.height(),
        }),
        _ => Ok(image),
    }
}

/// Centre crops of consecutive images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillBatch {
    /// Image of each row.
    pub indices: Vec<u32>,
    /// `rows × crop × crop × 3` bytes.
    pub images: Vec<u8>,
    /// Images that could not be read; their rows are black.
    pub unreadable: Vec<Unreadable>,
}

/// All images of a source in its order; the last batch may be short. Dropping it stops the
/// workers.
///
/// An image that cannot be read is a black row, so that rows stay images. A panic of the source
/// is passed on by `next`.
pub struct StillLoader(Prefetch<StillBatch>);

impl StillLoader {
    /// Starts loading batches of `batch` with this many threads.
    ///
    /// # Panics
    /// If `batch` is zero. `next`, if the crop is zero or larger than what images are resized to.
    pub fn new(
        source: Arc<dyn Source>,
        evaluation: Evaluation,
        batch: usize,
        workers: usize,
    ) -> Self {
        let batches = 0..source.len().div_ceil(batch);
        Self(Prefetch::start(workers, batches, move |at| {
            let rows = at * batch..((at + 1) * batch).min(source.len());
            still_batch(&*source, evaluation, rows)
        }))
    }
}

fn still_batch(source: &dyn Source, evaluation: Evaluation, rows: Range<usize>) -> StillBatch {
    let bytes = (evaluation.crop * evaluation.crop * 3) as usize;
    // Black, until there is something to see.
    let mut images = vec![0; rows.len() * bytes];
    let bad: Vec<Option<Unreadable>> = images
        .par_chunks_exact_mut(bytes)
        .zip(rows.clone())
        .with_max_len(AT_ONCE)
        .map(|(out, i)| match seen(source, i) {
            Ok(image) => {
                evaluation.view_into(&image, out);
                None
            }
            Err(error) => Some(unreadable(source, i as u32, &error)),
        })
        .collect();
    StillBatch {
        indices: rows.map(|i| i as u32).collect(),
        images,
        unreadable: bad.into_iter().flatten().collect(),
    }
}

impl Iterator for StillLoader {
    type Item = StillBatch;
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

/// A pool of the caller's own: loading must not wait for training's parallel work, whose threads may all
/// be waiting for what is loaded. Where no threads are to be had it is of this one: slower, the same items.
fn pool_of(workers: usize) -> rayon::ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers.max(1));
    pool.build().unwrap_or_else(|_| pool_of_this_thread())
}

fn pool_of_this_thread() -> rayon::ThreadPool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
    let pool = pool.use_current_thread().build();
    pool.expect("a pool that starts no thread")
}

/// A thread that makes items in order, a few ahead of who takes them.
struct Prefetch<T> {
    items: Option<Receiver<T>>,
    maker: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Prefetch<T> {
    fn start(
        workers: usize,
        range: Range<usize>,
        make: impl Fn(usize) -> T + Send + Sync + 'static,
    ) -> Self {
        let (sender, receiver) = sync_channel(PREFETCH);
        let maker = std::thread::spawn(move || {
            let pool = pool_of(workers);
            for at in range {
                if sender.send(pool.install(|| make(at))).is_err() {
                    return; // nobody listens any more
                }
            }
        });
        Self {
            items: Some(receiver),
            maker: Some(maker),
        }
    }

    fn next(&mut self) -> Option<T> {
        if let Ok(item) = self.items.as_ref()?.recv() {
            return Some(item);
        }
        self.items = None;
        // The end, or a panic: that must not pass for the end.
        if let Err(panic) = self.maker.take()?.join() {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        self.items = None; // the maker's next send fails
        if let Some(maker) = self.maker.take() {
            let _ = maker.join(); // a panic there has been printed by its thread
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{current, spawn};

    #[test]
    fn a_pool_without_threads_of_its_own_works_on_the_callers() {
        let worked = spawn(|| {
            let own = current().id();
            let on = |_: usize| current().id() == own;
            pool_of_this_thread().install(|| (0..100).into_par_iter().all(on))
        });
        assert!(worked.join().expect("no panic"));
    }
}
