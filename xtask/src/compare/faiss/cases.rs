//! What is compared: each case gives one row of the table.

/// A job that both programs do, or protem twice.
#[derive(Clone, Copy)]
pub struct Case {
    pub job: Job,
    pub set: Set,
    pub k: u32,
}

/// What is timed.
#[derive(Clone, Copy)]
pub enum Job {
    /// An iteration of several, of `most` at most, at a level of instructions.
    Iteration { level: Level, most: u32 },
    /// An iteration of protem on two threads, and beside it one on one thread.
    Threads,
    /// A whole clustering, in which protem leaves out what cannot change.
    Pruned,
    /// protem begins where points that have drifted since left it, and stops at faiss's objective.
    Warm { cosine: &'static str },
}

/// The points.
#[derive(Clone, Copy, PartialEq)]
pub enum Set {
    Sphere,
    Mixture,
    /// The user's own.
    Features,
}

/// A level of instructions that protem is held to.
#[derive(Clone, Copy, PartialEq)]
pub enum Level {
    Amx,
    Avx512,
    /// faiss is held to it too.
    Avx2,
}

/// Iterations of a whole clustering.
pub const WHOLE: u32 = 20;

/// In the table's order.
pub const ALL: [Case; 13] = [
    iteration(Set::Sphere, 1000, Level::Amx),
    iteration(Set::Sphere, 1000, Level::Avx512),
    iteration(Set::Sphere, 1000, Level::Avx2),
    iteration(Set::Features, 4000, Level::Amx),
    iteration(Set::Features, 4000, Level::Avx512),
    iteration(Set::Mixture, 5000, Level::Amx),
    iteration(Set::Mixture, 5000, Level::Avx512),
    many(Level::Amx),
    many(Level::Avx512),
    mixture(Job::Threads),
    mixture(Job::Pruned),
    mixture(Job::Warm { cosine: "0.98" }),
    mixture(Job::Warm { cosine: "0.92" }),
];

const fn iteration(set: Set, k: u32, level: Level) -> Case {
    let job = Job::Iteration {
        level,
        most: u32::MAX,
    };
    Case { job, set, k }
}

/// So many clusters that two iterations take long enough.
const fn many(level: Level) -> Case {
    Case {
        job: Job::Iteration { level, most: 2 },
        set: Set::Mixture,
        k: 25000,
    }
}

const fn mixture(job: Job) -> Case {
    Case {
        job,
        set: Set::Mixture,
        k: 5000,
    }
}

impl Case {
    /// A name that no other row has.
    pub fn name(&self) -> String {
        let (set, k) = (self.set.name(), self.k);
        match self.job {
            Job::Iteration { level, .. } => {
                format!("iteration, {set}, K {k}, {}", level.title())
            }
            Job::Threads => format!("iteration on two threads beside one, {set}, K {k}"),
            Job::Pruned => format!("{WHOLE} iterations with pruning, {set}, K {k}"),
            Job::Warm { cosine } => {
                format!("warm start after a drift to cosine {cosine}, {set}, K {k}")
            }
        }
    }
}

impl Set {
    pub fn name(self) -> &'static str {
        match self {
            Set::Sphere => "sphere50k",
            Set::Mixture => "mixture200k",
            Set::Features => "features",
        }
    }
}

impl Level {
    /// What `PROTEM_ISA` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Amx => "amx",
            Level::Avx512 => "avx512",
            Level::Avx2 => "avx2",
        }
    }

    /// How a CPU says that it has it.
    pub fn flag(self) -> &'static str {
        match self {
            Level::Amx => "amx_bf16",
            Level::Avx512 => "avx512f",
            Level::Avx2 => "avx2",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Level::Amx => "AMX",
            Level::Avx512 => "AVX-512",
            Level::Avx2 => "AVX2",
        }
    }
}

/// Every row of the table, in its order.
pub fn row_names() -> Vec<String> {
    ALL.iter().map(Case::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let mut names = row_names();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
