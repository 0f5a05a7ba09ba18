//! The descent from first places to a map.

use super::affinities::Affinities;
use super::quadtree::{Push, Quadtree};
use rayon::prelude::*;

/// How places move: the Kullback-Leibler divergence of the map from the affinities, its gradient, and
/// the steps down it.
pub struct Descent<'a> {
    affinities: &'a Affinities,
    places: Vec<[f64; 2]>,
    speeds: Vec<[f64; 2]>,
    /// What each coordinate's steps are multiplied with (Jacobs 1988): more while it keeps its direction.
    gains: Vec<[f64; 2]>,
}

/// What one step is like.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// How many times as strong affinities are as they are.
    pub exaggeration: f64,
    pub momentum: f64,
    pub rate: f64,
    /// Of [`Quadtree::pushes`].
    pub theta: f64,
}

impl<'a> Descent<'a> {
    pub fn new(affinities: &'a Affinities, places: Vec<[f64; 2]>) -> Self {
        let count = places.len();
        Self {
            affinities,
            places,
            speeds: vec![[0.0; 2]; count],
            gains: vec![[1.0; 2]; count],
        }
    }

    /// Moves every place once.
    pub fn step(&mut self, step: &Step) {
        let gradient = gradient(self.affinities, &self.places, step.exaggeration, step.theta);
        let all = self.places.iter_mut().zip(&mut self.speeds);
        for (((place, speed), gain), slope) in all.zip(&mut self.gains).zip(gradient) {
            for axis in 0..2 {
                let onwards = slope[axis] * speed[axis] < 0.0;
                let other = if onwards {
                    gain[axis] + 0.2
                } else {
                    0.8 * gain[axis]
                };
                gain[axis] = other.max(0.01);
                speed[axis] = step.momentum * speed[axis] - step.rate * gain[axis] * slope[axis];
                place[axis] += speed[axis];
            }
        }
        self.centre();
    }

    /// Lays the mean of all places at zero.
    fn centre(&mut self) {
        for axis in 0..2 {
            let sum: f64 = self.places.iter().map(|place| place[axis]).sum();
            let mean = sum / self.places.len() as f64;
            self.places.iter_mut().for_each(|place| place[axis] -= mean);
        }
    }

    /// The places, and how far their map is from the affinities.
    pub fn end(self, theta: f64) -> (Vec<[f64; 2]>, f64) {
        let divergence = divergence(self.affinities, &self.places, theta);
        (self.places, divergence)
    }
}

/// `Σ q` over all pairs.
fn weight(pushes: &[Push]) -> f64 {
    pushes.iter().map(|push| push.weight).sum()
}

/// The derivative of the divergence by each coordinate.
pub fn gradient(
    affinities: &Affinities,
    places: &[[f64; 2]],
    exaggeration: f64,
    theta: f64,
) -> Vec<[f64; 2]> {
    let pushes = Quadtree::of(places).pushes(theta);
    let weight = weight(&pushes);
    let of = |(i, push): (usize, &Push)| {
        let place = places[i];
        let mut pull = [0.0; 2];
        for (j, p) in affinities.row(i) {
            let other = places[j as usize];
            let (dx, dy) = (place[0] - other[0], place[1] - other[1]);
            let pq = p / (1.0 + (dx * dx + dy * dy));
            pull = [pull[0] + pq * dx, pull[1] + pq * dy];
        }
        [0, 1].map(|axis| 4.0 * (exaggeration * pull[axis] - push.force[axis] / weight))
    };
    pushes.par_iter().enumerate().map(of).collect()
}

/// `Σ p ln(p/q)` over the pairs with an affinity, in nats: never less than 0, which the sum may be by rounding.
pub fn divergence(affinities: &Affinities, places: &[[f64; 2]], theta: f64) -> f64 {
    let weight = weight(&Quadtree::of(places).pushes(theta));
    let of_row = |i: usize| -> f64 {
        let of_pair = |(j, p): (u32, f64)| {
            let other = places[j as usize];
            let (dx, dy) = (places[i][0] - other[0], places[i][1] - other[1]);
            let q = 1.0 / ((1.0 + dx * dx + dy * dy) * weight);
            if p > 0.0 { p * (p / q).ln() } else { 0.0 }
        };
        affinities.row(i).map(of_pair).sum()
    };
    let rows: Vec<f64> = (0..affinities.rows()).into_par_iter().map(of_row).collect();
    rows.into_iter().sum::<f64>().max(0.0)
}
