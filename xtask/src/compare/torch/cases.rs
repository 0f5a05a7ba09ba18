//! What is compared: each case is one job for both programs and gives one or two rows of the table.

/// A job that both programs do.
#[derive(Clone, Copy)]
pub struct Case {
    pub job: Job,
    network: Network,
    precision: &'static str,
    pub threads: u32,
    /// Both programs held to AVX2, whatever the machine has.
    pub avx2: bool,
    memory: bool,
}

/// What is done with each batch.
#[derive(Clone, Copy)]
pub enum Job {
    /// Forward, backward and SGD, in training mode.
    Step,
    /// Forward up to the pooled features, in evaluation mode.
    Features,
}

#[derive(Clone, Copy)]
enum Network {
    ResNet18Cifar,
    ResNet50,
}

/// What of a run goes into a row.
#[derive(Clone, Copy)]
pub enum Metric {
    Time,
    Memory,
}

/// In the table's order.
pub const ALL: [Case; 9] = [
    step(Network::ResNet18Cifar, "f32", 1),
    step(Network::ResNet18Cifar, "bf16", 1),
    step(Network::ResNet18Cifar, "f32", 2),
    step(Network::ResNet18Cifar, "bf16", 2),
    Case {
        memory: true,
        ..step(Network::ResNet50, "f32", 2)
    },
    Case {
        memory: true,
        ..step(Network::ResNet50, "bf16", 2)
    },
    Case {
        avx2: true,
        ..step(Network::ResNet18Cifar, "f32", 1)
    },
    features(Network::ResNet18Cifar, 1),
    features(Network::ResNet50, 2),
];

const fn step(network: Network, precision: &'static str, threads: u32) -> Case {
    Case {
        job: Job::Step,
        network,
        precision,
        threads,
        avx2: false,
        memory: false,
    }
}

const fn features(network: Network, threads: u32) -> Case {
    Case {
        job: Job::Features,
        ..step(network, "bf16", threads)
    }
}

impl Case {
    /// The rows that a run of this case can fill.
    pub fn metrics(&self) -> &'static [Metric] {
        if self.memory {
            &[Metric::Time, Metric::Memory]
        } else {
            &[Metric::Time]
        }
    }

    /// The name of one of its rows, which no other row has.
    pub fn name(&self, metric: Metric) -> String {
        let memory = match metric {
            Metric::Time => "",
            Metric::Memory => "peak memory of ",
        };
        let job = match self.job {
            Job::Step => "step",
            Job::Features => "features",
        };
        let isa = if self.avx2 { " AVX2" } else { "" };
        let network = match self.network {
            Network::ResNet18Cifar => "ResNet-18 CIFAR",
            Network::ResNet50 => "ResNet-50 at 224",
        };
        let (precision, batch, threads) = (self.precision, self.network.batch(), self.threads);
        let plural = if threads == 1 { "" } else { "s" };
        format!(
            "{memory}{job} {precision}{isa}, {network}, batch {batch}, {threads} thread{plural}"
        )
    }

    /// The flags that say the job to either program.
    pub fn flags(&self, iters: u32) -> Vec<String> {
        let (encoder, stem) = match self.network {
            Network::ResNet18Cifar => ("resnet18", "cifar"),
            Network::ResNet50 => ("resnet50", "imagenet"),
        };
        let numbers = [self.network.batch(), self.threads, iters].map(|n| n.to_string());
        let [batch, threads, iters] = numbers.each_ref().map(String::as_str);
        [
            ["--encoder", encoder],
            ["--stem", stem],
            ["--batch", batch],
            ["--precision", self.precision],
            ["--threads", threads],
            ["--iters", iters],
        ]
        .concat()
        .iter()
        .map(|flag| flag.to_string())
        .collect()
    }

    /// On one thread a process's CPU time, which a busy machine does not stretch; CPU time
    /// would count two threads' work twice.
    pub fn clock(&self) -> &'static str {
        if self.threads == 1 { "cpu" } else { "wall" }
    }
}

impl Network {
    fn batch(self) -> u32 {
        match self {
            Network::ResNet18Cifar => 128,
            Network::ResNet50 => 32,
        }
    }
}

/// Every row of the table, in its order: times, then memory.
pub fn row_names() -> Vec<String> {
    let names = |memory: bool| {
        ALL.iter().flat_map(move |case| {
            let metrics = case.metrics().iter();
            metrics
                .filter(move |metric| matches!(metric, Metric::Memory) == memory)
                .map(|metric| case.name(*metric))
        })
    };
    names(false).chain(names(true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let mut names = row_names();
        assert_eq!(names.len(), 11);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 11);
    }
}
