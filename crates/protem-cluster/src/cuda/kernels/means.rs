//! Points in the order of their labels, and the means of clusters.

use super::{DIGITS, Done, Kernels, OF_SORT, Shape, THREADS, config};
use cudarc::driver::{CudaSlice, CudaStream, PushKernelArg};

impl Kernels {
    /// How often each block has each value of the digit at `shift`, then the sums of those before.
    pub(in crate::cuda) fn count_digits(
        &self,
        stream: &CudaStream,
        labels: &CudaSlice<u32>,
        shift: u32,
        counts: &mut CudaSlice<u32>,
    ) -> Done {
        let blocks = labels.len().div_ceil(OF_SORT);
        assert_eq!(counts.len(), DIGITS * blocks, "a count per digit and block");
        let (n, length) = (labels.len() as u32, counts.len() as u32);
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
        (labels, from): (&CudaSlice<u32>, &CudaSlice<u32>),
        numbered: bool,
        shift: u32,
        counts: &CudaSlice<u32>,
        (sorted, to): (&mut CudaSlice<u32>, &mut CudaSlice<u32>),
    ) -> Done {
        let n = labels.len();
        let blocks = n.div_ceil(OF_SORT);
        assert_eq!(counts.len(), DIGITS * blocks, "a count per digit and block");
        assert!([from.len(), sorted.len(), to.len()] == [n; 3], "places");
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
        assert!(sorted.len() == shape.n && begins.len() == shape.k + 1);
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
        points: &CudaSlice<f32>,
        weights: Option<&CudaSlice<f32>>,
        (members, begins): (&CudaSlice<u32>, &CudaSlice<u32>),
        wanted: &CudaSlice<u8>,
        (centroids, sizes): (&mut CudaSlice<f32>, &mut CudaSlice<f64>),
    ) -> Done {
        let Shape { n, k, columns } = shape;
        assert!(points.len() == n * columns && centroids.len() == k * columns);
        assert!(weights.is_none_or(|weights| weights.len() == n));
        assert!(members.len() == n && begins.len() == k + 1);
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
            members,
            begins,
            wanted,
            centroids,
            sizes,
        )
    }
}
