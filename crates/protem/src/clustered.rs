//! The clusterings of a run's checkpoint, and the images they are of.

use crate::failure::{Failure, explain, explain_em};
use crate::images::Sets;
use protem_data::Source;
use protem_em::{Checkpoint, Clustering, Position, Ranks, Settings};
use protem_report::{RunFolder, counted};
use std::path::Path;
use std::sync::Arc;

/// A checkpoint's clusterings, at least one; or why there is none.
pub fn clusterings(checkpoint: &Checkpoint) -> Result<Result<Vec<Clustering>, String>, Failure> {
    let own = &checkpoint.origin().settings;
    if !own.mode.has_prototypes() {
        return Ok(Err("The run is one of MoCo: it makes no clusters.".into()));
    }
    let clusterings = checkpoint
        .clusterings()
        .map_err(|e| Failure::running(explain(&e)))?;
    if !clusterings.is_empty() {
        return Ok(Ok(clusterings));
    }
    let warmup = counted(own.method.warmup_epochs, "epoch");
    Ok(Err(match own.method.warmup_epochs >= own.optim.epochs {
        true => format!("There are no clusters: the warm-up of {warmup} is the whole run."),
        false => {
            format!("The checkpoint holds no clusters: the first E-step comes after {warmup}.")
        }
    }))
}

/// The epoch, from 1, whose E-step made a checkpoint's clusterings. Its batches may all be to come.
pub fn epoch(position: &Position) -> usize {
    // Earlier versions do not tell the E-step.
    let under_way = usize::from(position.batch > 0);
    let clustered = position.clustered.map(|before| before + 1);
    clustered.unwrap_or(position.epoch + under_way)
}

/// Images of each cluster.
pub fn sizes(clustering: &Clustering) -> Vec<usize> {
    let mut sizes = vec![0; clustering.k()];
    for label in &clustering.labels {
        sizes[*label as usize] += 1;
    }
    sizes
}

/// The images that a checkpoint's labels are of, or why they are not to be had.
pub fn images(
    root: &Path,
    settings: &Settings,
    checkpoint: &Checkpoint,
) -> Result<Arc<dyn Source>, String> {
    let known = RunFolder::left_out(root).map_err(|e| explain(&e))?;
    // The training images alone: where others are measured on, none of these is held out.
    let mut alone = settings.clone();
    if alone.data.test_folder.take().is_some() {
        alone.data.held_out = 0.0;
    }
    let images = Sets::list(&alone)
        .and_then(|sets| sets.readable(&alone, Some(&known), &mut Ranks::alone()));
    let train = images.map_err(|failure| failure.to_string())?.train;
    match checkpoint.check_images(settings, &*train) {
        Ok(()) => Ok(train),
        Err(error) => Err(explain_em(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_e_step_is_of_its_epoch_before_and_behind_the_batches() {
        let position = |epoch, batch, clustered| Position {
            epoch,
            batch,
            clustered,
            ..Position::default()
        };
        for clustered in [Some(4), None] {
            assert_eq!(epoch(&position(5, 0, clustered)), 5);
            assert_eq!(epoch(&position(4, 2, clustered)), 5);
        }
        assert_eq!(epoch(&position(4, 0, Some(4))), 5);
    }
}
