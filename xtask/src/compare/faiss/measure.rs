//! Measuring a case: its points, its tasks, both programs in turn.

use std::path::{Path, PathBuf};

use super::cases::{Case, Job, Level, WHOLE};
use super::data::Data;
use super::programs::{Answer, Programs, Task};
use crate::compare::rounds::{Pair, Rounds, in_turn, seconds};
use crate::compare::{Outcome, machine};

/// Programs, points, and how often.
pub struct Bench {
    pub programs: Programs,
    pub data: Data,
    pub rounds: u32,
    pub iters: u32,
}

/// A case's rounds, or why there are none.
pub enum Measured {
    Rounds(Rounds<Sample>),
    Skipped(String),
}

/// What goes into a row.
pub struct Sample {
    pub seconds: f64,
    pub objective: f64,
    /// What is said in brackets.
    pub note: String,
}

impl Answer {
    /// Itself, unless it ended before all iterations: nothing changed any more, and times would be of
    /// other work than the row says.
    fn all(self, task: &Task) -> Outcome<Self> {
        if self.iterations == f64::from(task.iters) {
            return Ok(self);
        }
        Err(format!(
            "{} iterations were made of {}: then nothing changed, and the times are of other work than \
             the row says; {}",
            self.iterations,
            task.iters,
            match task.iters {
                WHOLE => "--only SUBSTRING chooses other rows",
                _ => "--iters N asks for fewer",
            }
        ))
    }

    fn of_an_iteration(self) -> Sample {
        Sample {
            seconds: self.per_iteration,
            objective: self.objective,
            note: self.instructions,
        }
    }

    fn of_the_whole(self) -> Sample {
        Sample {
            seconds: self.seconds,
            objective: self.objective,
            note: self.instructions,
        }
    }
}

impl Bench {
    pub fn measure(&self, case: &Case) -> Outcome<Measured> {
        if let Some(why) = self.obstacle(case) {
            return Ok(Measured::Skipped(why));
        }
        let Some(points) = self.data.points(case.set)? else {
            return Ok(Measured::Skipped(
                "points of your own are given with --features FILE.npy".into(),
            ));
        };
        let init = self.data.centroids(&points, case.k)?;
        let task = Task {
            input: &points,
            init: &init,
            k: case.k,
            iters: self.iters,
            threads: 1,
            level: None,
            prune: Some(false),
        };
        let rounds = match case.job {
            Job::Iteration { level, most } => self.iteration(case, task, level, most),
            Job::Threads => self.threads(case, task),
            Job::Pruned => self.pruned(case, task),
            Job::Warm { cosine } => return self.warm(case, &task, cosine),
        }?;
        Ok(Measured::Rounds(rounds))
    }

    /// Why a case cannot be measured with this machine and this protem.
    fn obstacle(&self, case: &Case) -> Option<String> {
        match case.job {
            Job::Iteration { level, .. } if !machine::has(level.flag()) => {
                Some(format!("this machine has no {}", level.flag()))
            }
            Job::Pruned if !self.programs.prunes => {
                Some("`protem cluster --help` tells of no --prune".into())
            }
            _ => None,
        }
    }

    fn iteration(
        &self,
        case: &Case,
        task: Task,
        level: Level,
        most: u32,
    ) -> Outcome<Rounds<Sample>> {
        let task = Task {
            level: Some(level),
            iters: task.iters.min(most),
            ..task
        };
        self.in_turn(
            case,
            || Ok(self.programs.protem(&task)?.all(&task)?.of_an_iteration()),
            || Ok(self.programs.faiss(&task)?.all(&task)?.of_an_iteration()),
        )
    }

    fn threads(&self, case: &Case, task: Task) -> Outcome<Rounds<Sample>> {
        let two = Task { threads: 2, ..task };
        let sample = |task: &Task, note: &str| {
            let mut sample = self.programs.protem(task)?.all(task)?.of_an_iteration();
            sample.note += note;
            Ok(sample)
        };
        self.in_turn(
            case,
            || sample(&two, ", two threads"),
            || sample(&task, ", protem on one thread"),
        )
    }

    fn pruned(&self, case: &Case, task: Task) -> Outcome<Rounds<Sample>> {
        let task = Task {
            iters: WHOLE,
            prune: Some(true),
            ..task
        };
        self.in_turn(
            case,
            || Ok(self.programs.protem(&task)?.all(&task)?.of_the_whole()),
            || Ok(self.programs.faiss(&task)?.all(&task)?.of_the_whole()),
        )
    }

    /// faiss begins with points drawn, as it always must; protem with the centroids of the points
    /// as they were, and makes as many iterations as bring it to where faiss ends.
    fn warm(&self, case: &Case, cold: &Task, cosine: &str) -> Outcome<Measured> {
        let cold = Task {
            iters: WHOLE,
            prune: None,
            ..*cold
        };
        let init = self.earlier_centroids(case, &cold, cosine)?;
        let warm = Task {
            init: &init,
            ..cold
        };
        eprintln!("{}: looking for the number of iterations", case.name());
        let goal = self.programs.faiss(&cold)?.objective;
        let whole = self.programs.protem(&warm)?;
        if whole.objectives.is_empty() {
            let why =
                "this protem's JSON has no objectives of iterations; without --protem it is built";
            return Ok(Measured::Skipped(why.into()));
        }
        let Some(iters) = updates(&whole, goal) else {
            let why = format!("{WHOLE} iterations do not come down to faiss's objective");
            return Ok(Measured::Skipped(why));
        };
        let short = Task { iters, ..warm };
        let sample = |answer: Answer, iters: u32| {
            let mut sample = answer.of_the_whole();
            let plural = if iters == 1 { "" } else { "s" };
            sample.note += &format!(", {iters} iteration{plural}");
            sample
        };
        let rounds = self.in_turn(
            case,
            || Ok(sample(self.programs.protem(&short)?.all(&short)?, iters)),
            || Ok(sample(self.programs.faiss(&cold)?.all(&cold)?, WHOLE)),
        );
        rounds.map(Measured::Rounds)
    }

    /// What protem made of the points as they were before they drifted.
    fn earlier_centroids(&self, case: &Case, cold: &Task, cosine: &str) -> Outcome<PathBuf> {
        let earlier: &Path = &self.data.drifted(case.set, cold.input, cosine)?;
        let init = self.data.centroids(earlier, case.k)?;
        eprintln!("{}: clustering the points as they were", case.name());
        self.programs.protem(&Task {
            input: earlier,
            init: &init,
            ..*cold
        })?;
        // The next clustering writes into the same folder.
        let (made, kept) = (
            self.programs.scratch.join("centroids.npy"),
            self.programs.scratch.join(format!("earlier-{cosine}.npy")),
        );
        std::fs::rename(&made, &kept).map_err(|e| {
            format!(
                "{}, where protem should have written centroids: {e}",
                made.display()
            )
        })?;
        Ok(kept)
    }

    fn in_turn(
        &self,
        case: &Case,
        protem: impl FnMut() -> Outcome<Sample>,
        peer: impl FnMut() -> Outcome<Sample>,
    ) -> Outcome<Rounds<Sample>> {
        let rounds = in_turn(&case.name(), self.rounds, protem, peer, |pair| {
            let Pair { protem, peer } = pair;
            Ok(format!(
                "{} ({}) beside {} ({})",
                seconds(protem.seconds),
                protem.note,
                seconds(peer.seconds),
                peer.note
            ))
        })?;
        // All times are wall times.
        rounds.warn_of_others();
        Ok(rounds)
    }
}

/// After how many updates of the centroids the objective is no higher than the goal; at least one,
/// as any clustering makes. An iteration's objective is that before its update.
fn updates(whole: &Answer, goal: f64) -> Option<u32> {
    let all = whole.objectives.iter().chain([&whole.objective]);
    (0..)
        .zip(all)
        .find(|(_, objective)| **objective <= goal)
        .map(|(updates, _)| updates.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_up_to_a_goal() {
        let whole = Answer {
            seconds: 1.0,
            per_iteration: 1.0,
            iterations: 3.0,
            objective: 3.0,
            objectives: vec![9.0, 5.0, 4.0],
            instructions: "amx".into(),
        };
        assert_eq!(updates(&whole, 10.0), Some(1));
        assert_eq!(updates(&whole, 5.0), Some(1));
        assert_eq!(updates(&whole, 4.5), Some(2));
        assert_eq!(updates(&whole, 3.0), Some(3));
        assert_eq!(updates(&whole, 2.0), None);
        let task = |iters| Task {
            input: Path::new("x"),
            init: Path::new("c"),
            k: 2,
            iters,
            threads: 1,
            level: None,
            prune: None,
        };
        assert!(
            whole
                .all(&task(3))
                .is_ok_and(|whole| whole.all(&task(4)).is_err())
        );
    }
}
