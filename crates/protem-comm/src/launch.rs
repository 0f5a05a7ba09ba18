//! What the environment tells of a process's place among those it was started with.

use std::num::NonZeroU16;
use std::str::FromStr;

/// Where rank 0 listens unless told: torch.distributed's port.
const PORT: u16 = 29_500;

/// A process's place among those of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Its number, from 0.
    pub rank: usize,
    /// How many there are.
    pub world: usize,
    /// Name or address of rank 0's machine.
    pub address: String,
    /// Where rank 0 listens there.
    pub port: u16,
    /// The variables that told rank and number.
    pub told_by: [&'static str; 2],
}

/// An environment that contradicts itself or tells too little.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// One variable of two.
    #[error("{set} is set, and {unset} is not")]
    Half {
        /// The one that is.
        set: &'static str,
        /// The one that is not.
        unset: &'static str,
    },
    /// Something else than the number that should be there.
    #[error("{name} = {value:?} is no {what}")]
    NotANumber {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        what: &'static str,
    },
    /// A rank that there is not.
    #[error("{} = {rank}, and {} = {world}: ranks are numbered from 0", names[0], names[1])]
    Rank {
        /// The variables.
        names: [&'static str; 2],
        /// The rank.
        rank: usize,
        /// How many there are.
        world: usize,
    },
    /// None named as rank 0's machine, and nothing that tells of one machine.
    #[error("MASTER_ADDR is not set, and nothing tells that the {world} ranks of {} are on one machine", names[1])]
    NoAddress {
        /// The variables that tell of ranks.
        names: [&'static str; 2],
        /// How many ranks there are.
        world: usize,
    },
}

/// The variables of those who start processes: rank, number of ranks, and how many ranks or machines mean one machine.
struct Launcher {
    names: [&'static str; 2],
    one_machine: OneMachine,
}

enum OneMachine {
    /// As many ranks here as there are.
    Local(&'static str),
    /// One node.
    Nodes(&'static str),
}

/// In the order in which they are looked for: what is set by hand or by torchrun goes before what a launcher sets besides.
const LAUNCHERS: [Launcher; 4] = [
    Launcher {
        names: ["RANK", "WORLD_SIZE"],
        one_machine: OneMachine::Local("LOCAL_WORLD_SIZE"),
    },
    Launcher {
        names: ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
        one_machine: OneMachine::Local("OMPI_COMM_WORLD_LOCAL_SIZE"),
    },
    Launcher {
        names: ["PMI_RANK", "PMI_SIZE"],
        one_machine: OneMachine::Local("MPI_LOCALNRANKS"),
    },
    // Of a step: a batch script, which runs once, has SLURM_NTASKS too.
    Launcher {
        names: ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
        one_machine: OneMachine::Nodes("SLURM_STEP_NUM_NODES"),
    },
];

impl Launch {
    /// This process's place by its environment; none where nothing tells of others.
    ///
    /// Ranks come from `RANK` and `WORLD_SIZE` (torchrun), Open MPI's, MPICH's (PMI) or Slurm's variables, the place of rank 0 from
    /// `MASTER_ADDR` and `MASTER_PORT`. Without an address it is this machine where all ranks are here, and the first of a Slurm step's nodes.
    ///
    /// # Errors
    /// Variables that do not fit together, or tell too little.
    pub fn from_env() -> Result<Option<Self>, LaunchError> {
        Self::by(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn by(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, LaunchError> {
        for launcher in &LAUNCHERS {
            let Some(place) = launcher.place(get)? else {
                continue;
            };
            let (rank, world) = place;
            if world == 1 {
                return Ok(None);
            }
            // Slurm sets MPICH's variables too (srun --mpi=pmi2), and tells of its nodes by its own.
            let mut of_place = LAUNCHERS
                .iter()
                .filter(|other| other.place(get) == Ok(Some(place)));
            let named = get("MASTER_ADDR");
            let address = named.or_else(|| of_place.find_map(|other| other.address(world, get)));
            return Ok(Some(Self {
                rank,
                world,
                address: address.ok_or(LaunchError::NoAddress {
                    names: launcher.names,
                    world,
                })?,
                port: port(get)?,
                told_by: launcher.names,
            }));
        }
        Ok(None)
    }
}

impl Launcher {
    /// Rank and number of ranks, if it tells of them.
    fn place(
        &self,
        get: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<(usize, usize)>, LaunchError> {
        let names = self.names;
        let (rank, world) = match names.map(get) {
            [None, None] => return Ok(None),
            [Some(rank), Some(world)] => (rank, world),
            // Both are always set by who sets one, but for these, which are anybody's names.
            [Some(_), None] if names[0] != "RANK" => return Ok(None),
            [Some(_), None] => return Err(half(names[0], names[1])),
            [None, Some(_)] => return Err(half(names[1], names[0])),
        };
        let rank = number::<u16>(names[0], rank, "rank")?.into();
        let world = number::<u16>(names[1], world, "number of ranks")?.into();
        match rank < world {
            true => Ok(Some((rank, world))),
            false => Err(LaunchError::Rank { names, rank, world }),
        }
    }

    /// Rank 0's machine, where it tells of that.
    fn address(&self, world: usize, get: &dyn Fn(&str) -> Option<String>) -> Option<String> {
        let here = match self.one_machine {
            OneMachine::Local(name) => get(name).is_some_and(|n| n == world.to_string()),
            OneMachine::Nodes(name) => get(name).is_some_and(|n| n == "1"),
        };
        match self.one_machine {
            _ if here => Some("127.0.0.1".into()),
            OneMachine::Nodes(_) => first_node(&get("SLURM_STEP_NODELIST")?),
            OneMachine::Local(_) => None,
        }
    }
}

/// Where rank 0 listens. The port that torchrun names is its own store's; the one above is ours.
fn port(get: &dyn Fn(&str) -> Option<String>) -> Result<u16, LaunchError> {
    let Some(port) = get("MASTER_PORT") else {
        return Ok(PORT);
    };
    let port = number::<NonZeroU16>("MASTER_PORT", port, "port")?.get();
    let of_store = get("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|used| used == "True");
    Ok(match (of_store, port) {
        (true, u16::MAX) => port - 1,
        (true, _) => port + 1,
        (false, _) => port,
    })
}

fn half(set: &'static str, unset: &'static str) -> LaunchError {
    LaunchError::Half { set, unset }
}

fn number<T: FromStr>(
    name: &'static str,
    value: String,
    what: &'static str,
) -> Result<T, LaunchError> {
    match value.trim().parse() {
        Ok(number) => Ok(number),
        Err(_) => Err(LaunchError::NotANumber { name, value, what }),
    }
}

/// The first of a Slurm list of nodes, such as `login,node[03-07,11]`.
fn first_node(list: &str) -> Option<String> {
    let end = list.find([',', '[']).unwrap_or(list.len());
    let (head, rest) = list.split_at(end);
    let name = match rest.strip_prefix('[') {
        None => head.to_owned(),
        Some(ranges) => {
            let (ranges, behind) = ranges.split_once(']')?;
            let first = ranges.split([',', '-']).next()?;
            let behind = &behind[..behind.find(',').unwrap_or(behind.len())];
            format!("{head}{first}{behind}")
        }
    };
    (!name.is_empty() && !name.contains(['[', ']'])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Launch>, LaunchError> {
        Launch::by(&|name| {
            let found = variables.iter().find(|(of, _)| *of == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn place(variables: &[(&str, &str)]) -> (usize, usize, String, u16) {
        let launch = of(variables).expect("it fits").expect("several");
        (launch.rank, launch.world, launch.address, launch.port)
    }

    #[test]
    fn launchers_are_understood() {
        let by_hand = [
            ("RANK", "1"),
            ("WORLD_SIZE", "4"),
            ("MASTER_ADDR", "10.0.0.7"),
            ("MASTER_PORT", "5000"),
        ];
        assert_eq!(place(&by_hand), (1, 4, "10.0.0.7".into(), 5000));
        let torchrun = [&by_hand[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True")]].concat();
        assert_eq!(place(&torchrun).3, 5001);
        let open_mpi = [
            ("OMPI_COMM_WORLD_RANK", "0"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
        ];
        assert_eq!(place(&open_mpi), (0, 2, "127.0.0.1".into(), PORT));
        let mpich = [
            ("PMI_RANK", "1"),
            ("PMI_SIZE", "2"),
            ("MPI_LOCALNRANKS", "2"),
        ];
        assert_eq!(place(&mpich).2, "127.0.0.1");
        let slurm = [
            ("SLURM_PROCID", "3"),
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("SLURM_STEP_NUM_NODES", "2"),
            ("SLURM_STEP_NODELIST", "gpu[07-08]"),
        ];
        assert_eq!(place(&slurm), (3, 8, "gpu07".into(), PORT));
        let by_pmi2 = [&slurm[..], &[("PMI_RANK", "3"), ("PMI_SIZE", "8")]].concat();
        assert_eq!(place(&by_pmi2).2, "gpu07");
        // Launched by Slurm, one on each node, and by those then: Slurm's nodes are not these ranks'.
        let within = [&slurm[..], &[("PMI_RANK", "3"), ("PMI_SIZE", "16")]].concat();
        assert!(matches!(of(&within), Err(LaunchError::NoAddress { .. })));
    }

    #[test]
    fn nothing_and_one_rank_are_one_process() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("RANK", "0"), ("WORLD_SIZE", "1")]), Ok(None));
        // A batch script of Slurm's, which is no step of several.
        assert_eq!(
            of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]),
            Ok(None)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |variables: &[(&str, &str)]| of(variables).expect_err("no place").to_string();
        assert_eq!(
            refused(&[("RANK", "0")]),
            "RANK is set, and WORLD_SIZE is not"
        );
        assert_eq!(
            refused(&[("WORLD_SIZE", "2")]),
            "WORLD_SIZE is set, and RANK is not"
        );
        assert_eq!(
            refused(&[("RANK", "2"), ("WORLD_SIZE", "2")]),
            "RANK = 2, and WORLD_SIZE = 2: ranks are numbered from 0"
        );
        assert_eq!(
            refused(&[("RANK", "-1"), ("WORLD_SIZE", "2")]),
            "RANK = \"-1\" is no rank"
        );
        assert_eq!(
            refused(&[
                ("PMI_RANK", "0"),
                ("PMI_SIZE", "4"),
                ("MPI_LOCALNRANKS", "2")
            ]),
            "MASTER_ADDR is not set, and nothing tells that the 4 ranks of PMI_SIZE are on one machine"
        );
        assert_eq!(
            refused(&[("RANK", "0"), ("WORLD_SIZE", "10000000000")]),
            "WORLD_SIZE = \"10000000000\" is no number of ranks"
        );
        for port in ["70000", "0"] {
            let by_hand = [
                ("RANK", "0"),
                ("WORLD_SIZE", "2"),
                ("MASTER_ADDR", "a"),
                ("MASTER_PORT", port),
            ];
            let told = format!("MASTER_PORT = {port:?} is no port");
            assert_eq!(refused(&by_hand), told);
        }
    }

    #[test]
    fn first_nodes_of_slurm_lists() {
        for (list, first) in [
            ("node1", Some("node1")),
            ("node1,node2", Some("node1")),
            ("node[03-07,11]", Some("node03")),
            ("rack2-node[9,12]-ib,x", Some("rack2-node9-ib")),
            ("a[1-2][3-4]", None),
            ("a[", None),
            ("", None),
        ] {
            assert_eq!(first_node(list).as_deref(), first, "{list}");
        }
    }
}
