//! A run on several ranks: how they find each other, and what rank 0 tells the others.

use crate::console;
use crate::failure::{Failure, explain};
use crate::images::Sets;
use crate::room::check_memory;
use crate::system::{start_threads, stop_flag};
use crate::{advice, config};
use protem_comm::{CommError, Launch, LaunchError, Ranks};
use protem_em::{Checkpoint, EmError, Outcome, Settings, Trainer};
use protem_report::Listed;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long ranks wait for each other: machines of a cluster may begin minutes apart.
const PATIENCE: Duration = Duration::from_secs(600);

/// What rank 0 tells the others of the run: its settings, from its command line, environment and files, are those of all.
#[derive(Serialize, Deserialize)]
pub struct Brief {
    /// Settings.
    pub settings: Settings,
    /// Images to leave out, where the run goes on.
    pub left_out: Option<Listed>,
    /// Whether nothing is trained.
    pub dry_run: bool,
}

/// The ranks that were started with this process; itself alone where nothing tells of others.
pub fn join() -> Result<Ranks, Failure> {
    let launch = Launch::from_env().map_err(of_launch)?;
    let Some(launch) = launch else {
        return Ok(Ranks::alone());
    };
    if launch.rank > 0 {
        console::speak_as(launch.rank);
    }
    let [rank, world] = launch.told_by;
    let at = format!("{}:{}", launch.address, launch.port);
    let joined = Ranks::join(&launch, PATIENCE, &mut |missing| {
        console::warn(match missing {
            Ok(missing) => format!(
                "waiting at {at} for {missing} of {} ranks ({world})",
                launch.world
            ),
            Err(why) => format!(
                "waiting for rank 0 at {at} ({rank} = {}): {why}",
                launch.rank
            ),
        });
    });
    let mut ranks = joined.map_err(|error| of_joining(&error, &launch))?;
    // Before anything else is said, which another version may say otherwise.
    let version = ranks.agree("their version of protem", env!("CARGO_PKG_VERSION"));
    version.map_err(lost)?;
    Ok(ranks)
}

/// The machine, which this rank may share with others.
pub struct Machine {
    /// Threads, where neither a setting nor the environment tells: as many as there are, divided by the ranks that may use the same
    /// processors. None for one rank, which has them all.
    pub threads: Option<usize>,
    /// Ranks that have its memory between them.
    pub ranks: usize,
}

/// Finds out which ranks share a machine.
pub fn machine(ranks: &mut Ranks) -> Result<Machine, Failure> {
    if ranks.world() == 1 {
        return Ok(Machine {
            threads: None,
            ranks: 1,
        });
    }
    // One boot of one machine; what of it the process may use; and its container, of which each may have memory of its own.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = status
        .lines()
        .find(|line| line.starts_with("Cpus_allowed:"));
    let container = std::fs::read_link("/proc/self/ns/mnt").ok();
    let own = (boot, allowed.map(str::to_owned), container);
    let all = ranks.gather_data(own.clone()).map_err(lost)?;
    let beside = |alike: &dyn Fn(&(_, _, _)) -> bool| all.iter().filter(|of| alike(of)).count();
    let of_processors = beside(&|(boot, allowed, _)| (boot, allowed) == (&own.0, &own.1));
    let told = std::env::var_os("RAYON_NUM_THREADS").is_some();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Machine {
        threads: (!told).then_some((processors / of_processors).max(1)),
        ranks: beside(&|(boot, _, container)| (boot, container) == (&own.0, &own.2)),
    })
}

/// Follows rank 0 through its run; it tells and keeps what comes of it.
pub fn follow(mut ranks: Ranks) -> Result<(), Failure> {
    let machine = machine(&mut ranks)?;
    let brief: Brief = ranks.broadcast_data(0, None).map_err(lost)?;
    let settings = &brief.settings;
    start_threads("threads", settings.threads.or(machine.threads))?;
    let sets = Sets::list(settings)?;
    let images = sets.readable(settings, brief.left_out.as_ref(), &mut ranks)?;
    let plan = config::plan(settings, images.train.len(), ranks.world())?;
    check_memory(&plan, &images, machine.ranks)?;
    if brief.dry_run {
        return Ok(());
    }
    let stop = stop_flag(None)?;
    let (train, test) = (images.train.clone(), images.test.clone());
    let trainer = match received(&mut ranks)? {
        Some(from) => Trainer::resume(plan, train, test, PathBuf::new(), from),
        None => Trainer::new(plan, train, test, PathBuf::new()),
    };
    let mut trainer = trainer
        .and_then(|t| t.among(ranks))
        .map_err(before_training)?;
    match trainer.run(&mut |_| (), &stop).map_err(advice::em)? {
        Outcome::Finished => Ok(()),
        Outcome::Interrupted { .. } => Err(Failure::interrupted("stopped with the others")),
    }
}

/// Whether a run that was begun with these settings can go on with so many ranks: its parts of a batch stay.
pub fn check_parts(settings: &Settings, ranks: usize) -> Result<(), Failure> {
    let parts = settings.encoder.split_bn;
    if parts.is_multiple_of(ranks) {
        return Ok(());
    }
    let numbers = (1..=parts).filter(|ranks| parts.is_multiple_of(*ranks));
    let numbers: Vec<String> = numbers.map(|ranks| ranks.to_string()).collect();
    Err(Failure::usage(format!(
        "there are {ranks} ranks, and the run was begun with encoder.split_bn = {parts}, which stays: it can go on with {}",
        numbers.join(", ")
    )))
}

/// Sends the checkpoint to go on from, if there is one, to all.
pub fn send(ranks: &mut Ranks, from: Option<&Checkpoint>) -> Result<(), Failure> {
    if ranks.world() == 1 {
        return Ok(());
    }
    let path = from.map(|from| from.path().to_path_buf());
    let path = ranks.broadcast_data(0, Some(path)).map_err(lost)?;
    if let Some(path) = path {
        let bytes = std::fs::read(&path)
            .map_err(|e| Failure::running(format!("cannot read {}: {e}", path.display())))?;
        ranks.broadcast(0, bytes).map_err(lost)?;
    }
    Ok(())
}

fn received(ranks: &mut Ranks) -> Result<Option<Checkpoint>, Failure> {
    let path: Option<PathBuf> = ranks.broadcast_data(0, None).map_err(lost)?;
    let Some(path) = path else {
        return Ok(None);
    };
    let bytes = ranks.broadcast(0, Vec::new()).map_err(lost)?;
    let from = Checkpoint::from_bytes(Path::new(&path), &bytes);
    from.map(Some).map_err(advice::em)
}

/// What the user can do where ranks lose each other before there is a run.
pub fn lost(error: CommError) -> Failure {
    match error {
        error @ CommError::Differ { .. } => advice::em(error.into()),
        error => Failure::running(format!("{}; what it printed tells why", explain(&error))),
    }
}

/// The same of all that can come between.
pub fn before_training(error: EmError) -> Failure {
    match error {
        EmError::Comm(error) => lost(error),
        error => advice::em(error),
    }
}

fn of_launch(error: LaunchError) -> Failure {
    let text = explain(&error);
    Failure::usage(match error {
        LaunchError::NoAddress { .. } => format!(
            "{text}: set it to the name or address of rank 0's machine for all of them (mpirun -x MASTER_ADDR=…, or -genv)"
        ),
        _ => format!(
            "{text}: set RANK and WORLD_SIZE both, for several processes that train together, or neither"
        ),
    })
}

fn of_joining(error: &CommError, launch: &Launch) -> Failure {
    let text = explain(error);
    let advice = match error {
        CommError::Listen { .. } => {
            "name a free port of that machine by MASTER_PORT, the same for all ranks"
        }
        CommError::NoLeader { .. } | CommError::Missing { .. } => {
            "look whether all ranks run, and whether MASTER_ADDR and MASTER_PORT are rank 0's for all of them and can be reached"
        }
        CommError::Stranger { .. } => {
            "start each rank once, or name another MASTER_PORT if another run uses this one"
        }
        _ => "look at what it printed",
    };
    let [rank, world] = launch.told_by;
    Failure::running(format!(
        "{text}: {advice}. (This is rank {} of {} by {rank} and {world}.)",
        launch.rank, launch.world
    ))
}
