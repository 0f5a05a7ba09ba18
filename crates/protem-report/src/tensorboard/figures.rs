//! The figures that events tell, by the tags that TensorBoard shows them under. It groups them by what
//! stands before the first slash:
//!
//! - `train`: those of each step
//! - `epoch`: means and times of whole epochs
//! - `eval`: kNN accuracy (between 0 and 1) and effective rank
//! - `clusters`: those of each clustering of an E-step
//!
//! All are told at the number of steps done. Tags keep to letters, digits, `_` and `/`, which every
//! program that takes them over leaves as they are.

use protem_em::{Evaluated, Event};

/// Tells events' figures.
#[derive(Debug, Default)]
pub struct Figures {
    /// Epoch of the E-step under way, and the numbers of clusters that it told of so far.
    e_step: (usize, Vec<usize>),
}

impl Figures {
    /// Steps done, and the figures by their tags; none of an event without any.
    pub fn of(&mut self, event: &Event) -> Option<(u64, Vec<(String, f64)>)> {
        match event {
            Event::Run { .. } => {
                self.e_step = Default::default(); // one that was stopped is told from its beginning
                None
            }
            Event::Step { step, .. } => Some((*step, of_step(event))),
            Event::Epoch { step, .. } => Some((*step, of_epoch(event))),
            Event::EStep { step, .. } => Some((*step, self.of_clustering(event))),
            Event::Eval {
                step,
                features,
                top1,
                ..
            } => {
                let tag = match features {
                    Evaluated::RawPixels => "eval/kNN_raw_pixels",
                    // The beginning of the curve.
                    Evaluated::Untrained | Evaluated::Given | Evaluated::Trained => "eval/kNN",
                };
                Some((*step, vec![(tag.into(), *top1)]))
            }
            Event::Note { .. }
            | Event::Quarantine { .. }
            | Event::Phase { .. }
            | Event::Save { .. }
            | Event::Done { .. } => None,
        }
    }

    fn of_clustering(&mut self, event: &Event) -> Vec<(String, f64)> {
        let Event::EStep {
            epoch,
            k,
            objective,
            ami_previous,
            empty,
            concentration_min,
            concentration_max,
            seconds,
            step: _,
        } = event
        else {
            return Vec::new();
        };
        let (of, told) = &mut self.e_step;
        if *of != *epoch {
            (*of, *told) = (*epoch, Vec::new());
        }
        // Two clusterings may have the same number of clusters.
        let name = match told.iter().filter(|other| *other == k).count() {
            0 => format!("K{k}"),
            others => format!("K{k}_{}", others + 1),
        };
        told.push(*k);
        let figures = [
            ("AMI_to_last", *ami_previous),
            ("objective", Some(*objective)),
            ("empty", Some(*empty as f64)),
            ("concentration_min", Some(*concentration_min)),
            ("concentration_max", Some(*concentration_max)),
            ("seconds", Some(*seconds)),
        ];
        let figures = figures.into_iter();
        figures
            .filter_map(|(figure, value)| Some((format!("clusters/{figure}/{name}"), value?)))
            .collect()
    }
}

fn of_step(event: &Event) -> Vec<(String, f64)> {
    let Event::Step {
        loss,
        loss_instance,
        loss_prototype,
        lr,
        images_per_second,
        epoch: _,
        step: _,
    } = event
    else {
        return Vec::new();
    };
    there([
        ("train/loss", Some(*loss)),
        ("train/InfoNCE", Some(*loss_instance)),
        ("train/ProtoNCE", *loss_prototype),
        ("train/lr", Some(*lr)),
        ("train/images_per_second", Some(*images_per_second)),
    ])
}

fn of_epoch(event: &Event) -> Vec<(String, f64)> {
    let Event::Epoch {
        loss,
        loss_instance,
        loss_prototype,
        knn_top1,
        effective_rank,
        ami_previous,
        images_per_second,
        seconds,
        e_step_seconds,
        waited_seconds,
        // A constant, and what the steps tell.
        chance: _,
        lr: _,
        epoch: _,
        step: _,
    } = event
    else {
        return Vec::new();
    };
    there([
        ("epoch/loss", Some(*loss)),
        ("epoch/InfoNCE", Some(*loss_instance)),
        ("epoch/ProtoNCE", *loss_prototype),
        ("epoch/AMI_to_last", *ami_previous),
        ("epoch/images_per_second", Some(*images_per_second)),
        ("epoch/seconds", Some(*seconds)),
        ("epoch/e_step_seconds", Some(*e_step_seconds)),
        ("epoch/waited_seconds", Some(*waited_seconds)),
        ("eval/kNN", *knn_top1),
        ("eval/effective_rank", *effective_rank),
    ])
}

/// Those that there are.
fn there<const N: usize>(figures: [(&str, Option<f64>); N]) -> Vec<(String, f64)> {
    let figures = figures.into_iter();
    figures
        .filter_map(|(tag, figure)| Some((tag.to_owned(), figure?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusterings_of_one_k_have_tags_of_their_own() {
        let line = |epoch| Event::EStep {
            epoch,
            step: 6,
            k: 20,
            objective: 1.5,
            ami_previous: None,
            empty: 2,
            concentration_min: 0.1,
            concentration_max: 0.2,
            seconds: 3.0,
        };
        let mut figures = Figures::default();
        let mut tags = |event: &Event| {
            let (step, figures) = figures.of(event).unwrap();
            assert_eq!(step, 6);
            figures
        };
        let first = tags(&line(2));
        assert_eq!(
            first[..2],
            [
                ("clusters/objective/K20".to_owned(), 1.5),
                ("clusters/empty/K20".to_owned(), 2.0)
            ]
        );
        assert_eq!(tags(&line(2))[0].0, "clusters/objective/K20_2");
        assert_eq!(tags(&line(3)), first);
    }
}
