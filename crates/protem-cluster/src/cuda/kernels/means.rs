//! Points in the order of their labels, and the means of clusters.
//!
//! Of points that are fewer than there is room for, the first `n` values of each buffer count.

use super::{DIGITS, Done, Kernels, OF_SORT, Shape, THREADS, config};
use cudarc::driver::{CudaSlice, CudaStream, CudaView, PushKernelArg};

/// Points by cluster: which they are, and where each cluster begins.
pub(in crate::cuda) type Members<'a> = (&'a CudaSlice<u32>, &'a CudaSlice<u32>);

impl Kernels {
    /// How often each block has each value of the digit at `shift`, then the sums of those before.
    pub(in crate::cuda) fn count_digits(
        &self,
        stream: &CudaStream,
        n: usize,
        labels: &CudaSlice<u32>,
        shift: u32,
        counts: &mut CudaSlice<u32>,
    ) -> Done {
        let blocks = n.div_ceil(OF_SORT);
        assert!(n <= labels.len() && DIGITS * blocks <= counts.len());
        let (n, length) = (n as u32, (DIGITS * blocks) as u32);
        let counted: Done = launch!(
            stream,
            self.count_digits,
            config((blocks, 1), DIGITS),
            labels,
            &n,
            &shift,
            &mut *counts,
        );
        counted?;
        launch!(
            stream,
            self.sum_counts,
            config((1, 1), DIGITS),
            counts,
            &length
        )
    }

    /// Labels and their points in the order of one digit; the first time points are `numbered` in
    /// turn. `counts` are those of these labels.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::cuda) fn move_by_digit(
        &self,
        stream: &CudaStream,
        n: usize,
        (labels, from): (&CudaSlice<u32>, &CudaSlice<u32>),
        numbered: bool,
        shift: u32,
        counts: &CudaSlice<u32>,
        (sorted, to): (&mut CudaSlice<u32>, &mut CudaSlice<u32>),
    ) -> Done {
        let blocks = n.div_ceil(OF_SORT);
        assert!(
            DIGITS * blocks <= counts.len(),
            "a count per digit and block"
        );
        let lengths = [labels.len(), from.len(), sorted.len(), to.len()];
        assert!(lengths.iter().all(|length| n <= *length), "places");
        let (n, numbered) = (n as u32, u32::from(numbered));
        launch!(
            stream,
            self.move_by_digit,
            config((blocks, 1), DIGITS),
            labels,
            from,
            &numbered,
            &n,
            &shift,
            counts,
            sorted,
            to,
        )
    }

    /// Where each cluster begins among labels that are sorted and below k.
    pub(in crate::cuda) fn find_begins(
        &self,
        stream: &CudaStream,
        shape: Shape,
        sorted: &CudaSlice<u32>,
        begins: &mut CudaSlice<u32>,
    ) -> Done {
        assert!(sorted.len() >= shape.n && begins.len() == shape.k + 1);
        let config = config((shape.n.div_ceil(DIGITS), 1), DIGITS);
        let (n, k) = (shape.n as u32, shape.k as u32);
        launch!(stream, self.find_begins, config, sorted, &n, &k, begins)
    }

    /// Means of the wanted clusters, weights of all. `members` are points, by cluster.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::cuda) fn mean_of_members(
        &self,
        stream: &CudaStream,
        shape: Shape,
        points: &CudaView<'_, f32>,
        weights: Option<&CudaView<'_, f32>>,
        members: Members<'_>,
        wanted: &CudaSlice<u8>,
        (centroids, sizes): (&mut CudaSlice<f32>, &mut CudaSlice<f64>),
    ) -> Done {
        let (k, columns) = (shape.k, shape.columns);
        assert_members(shape, points, weights, members);
        assert_eq!(centroids.len(), k * columns, "centroids");
        assert!(wanted.len() == k && sizes.len() == k);
        let config = config((k, 1), THREADS);
        let (weighted, columns) = (u32::from(weights.is_some()), columns as u32);
        // Not read unless there are weights.
        let weights = weights.unwrap_or(points);
        launch!(
            stream,
            self.mean_of_members,
            config,
            points,
            weights,
            &weighted,
            &columns,
            members.0,
            members.1,
            wanted,
            centroids,
            sizes,
        )
    }

    /// Adds members to the sums and weights of their clusters.
    pub(in crate::cuda) fn add_members(
        &self,
        stream: &CudaStream,
        shape: Shape,
        points: &CudaView<'_, f32>,
        weights: Option<&CudaView<'_, f32>>,
        members: Members<'_>,
        (sums, sizes): (&mut CudaSlice<f64>, &mut CudaSlice<f64>),
    ) -> Done {
        let (k, columns) = (shape.k, shape.columns);
        assert_members(shape, points, weights, members);
        assert!(sums.len() == k * columns && sizes.len() == k);
        let config = config((k, 1), THREADS);
        let (weighted, columns) = (u32::from(weights.is_some()), columns as u32);
        // Not read unless there are weights.
        let weights = weights.unwrap_or(points);
        launch!(
            stream,
            self.add_members,
            config,
            points,
            weights,
            &weighted,
            &columns,
            members.0,
            members.1,
            sums,
            sizes,
        )
    }

    /// Means of the wanted clusters from such sums.
    pub(in crate::cuda) fn divide_sums(
        &self,
        stream: &CudaStream,
        shape: Shape,
        (sums, sizes): (&CudaSlice<f64>, &CudaSlice<f64>),
        wanted: &CudaSlice<u8>,
        centroids: &mut CudaSlice<f32>,
    ) -> Done {
        let (k, columns) = (shape.k, shape.columns);
        assert!(sums.len() == k * columns && centroids.len() == k * columns);
        assert!(wanted.len() == k && sizes.len() == k);
        let config = config((k, 1), THREADS);
        let columns = columns as u32;
        launch!(
            stream,
            self.divide_sums,
            config,
            sums,
            sizes,
            wanted,
            &columns,
            centroids,
        )
    }
}

fn assert_members(
    shape: Shape,
    points: &CudaView<'_, f32>,
    weights: Option<&CudaView<'_, f32>>,
    (members, begins): Members<'_>,
) {
    assert_eq!(points.len(), shape.n * shape.columns, "points");
    assert!(weights.is_none_or(|weights| weights.len() == shape.n));
    assert!(members.len() >= shape.n && begins.len() == shape.k + 1);
}
