//! What a person sees while a run goes.

use crate::args::LogFormat;
use crate::console::{say, word};
use crate::system::time;
use indicatif::{ProgressBar, ProgressStyle};
use protem_em::{Evaluated, Event, Phase};
use protem_report::Pace;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines about one phase, in JSON or where there is no bar: often enough not to look hung.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Tells events: a bar and lines on a terminal, lines elsewhere, JSON if asked.
pub struct Progress {
    format: LogFormat,
    bar: ProgressBar,
    steps_per_epoch: u64,
    epochs: usize,
    /// The phase under way, and when it began or was told of for the last time.
    phase: Option<(Phase, Instant)>,
    /// When the last of them was made, if nothing else has happened since.
    stepped: Option<Instant>,
    /// Images of the steps of an epoch, and keys in the queue.
    epoch_images: usize,
    queue: usize,
    pace: Pace,
}

/// How a bar looks.
pub fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("a fixed template");
    style.progress_chars("=> ")
}

impl Progress {
    /// For a run that has not begun.
    pub fn new(format: LogFormat) -> Self {
        let shown = format == LogFormat::Text && std::io::stderr().is_terminal();
        let bar = if shown {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        bar.set_style(style("{spinner} {prefix} {msg}"));
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            format,
            bar,
            steps_per_epoch: 0,
            epochs: 0,
            phase: None,
            stepped: None,
            epoch_images: 0,
            queue: 0,
            pace: Pace::default(),
        }
    }

    /// Tells one event.
    pub fn tell(&mut self, event: &Event) {
        if self.format == LogFormat::Json {
            if self.is_line(event) {
                say(serde_json::to_string(event).expect("plain data"));
            }
            return;
        }
        match event {
            Event::Run { step, .. } => {
                self.begin(event);
                self.bar.set_position(*step);
            }
            Event::Step {
                epoch, step, loss, ..
            } => self.step(*epoch, *step, *loss),
            Event::Phase {
                epoch,
                phase,
                done,
                of,
            } => {
                self.stepped = None;
                self.name_epoch(*epoch);
                self.tell_phase(*epoch, *phase, *done, *of);
            }
            Event::Epoch { .. } => self.stepped = None,
            _ => {}
        }
        if let Some(line) = describe(event, self.epochs) {
            let filling = match self.fills_queue(event) {
                true => "  (the queue held random keys at first)",
                false => "",
            };
            let line = line + filling;
            let left = self.left(event).unwrap_or_default();
            self.bar.suspend(|| say(format!("{line}{left}")));
        }
    }

    /// Whether an event is a line of JSON.
    fn is_line(&mut self, event: &Event) -> bool {
        match event {
            Event::Phase { phase, .. } => self.is_due(*phase, Instant::now()),
            Event::Step { .. } => {
                self.phase = None;
                true
            }
            Event::Save { .. } => false,
            _ => true,
        }
    }

    /// What a run's other events are told with.
    fn begin(&mut self, event: &Event) {
        let Event::Run {
            steps_per_epoch,
            epochs,
            clusters,
            warmup_epochs,
            images,
            queue,
            ..
        } = event
        else {
            return;
        };
        self.pace = Pace::begin(!clusters.is_empty() && warmup_epochs < epochs);
        self.steps_per_epoch = *steps_per_epoch as u64;
        (self.epochs, self.epoch_images, self.queue) = (*epochs, *images, *queue);
        self.bar.set_length(self.steps());
    }

    /// Steps of the whole run.
    fn steps(&self) -> u64 {
        self.steps_per_epoch.saturating_mul(self.epochs as u64)
    }

    fn step(&mut self, epoch: usize, step: u64, loss: f64) {
        self.phase = None;
        if let Some(before) = self.stepped.replace(Instant::now()) {
            self.pace.step(before.elapsed().as_secs_f64());
        }
        self.name_epoch(epoch);
        self.bar.set_position(step);
        if self.pace.steps() == 0 {
            return; // nothing yet that a time left could be told from
        }
        if self.pace.steps() == 1 {
            self.bar.set_style(style(
                "{spinner} {prefix} [{bar:30}] {pos}/{len} steps, {msg}",
            ));
        }
        let left = self.steps().saturating_sub(step);
        let left = time(self.pace.of_steps(left, self.steps_per_epoch));
        let but = self.pace.without_e_steps();
        self.bar
            .set_message(format!("{left} left{but}, loss {loss:.3}"));
    }

    /// The time left, behind an epoch's line where there is no bar to tell it.
    fn left(&mut self, event: &Event) -> Option<String> {
        let Event::Epoch {
            epoch,
            seconds,
            e_step_seconds,
            ..
        } = event
        else {
            return None;
        };
        self.pace.epoch(*seconds, *e_step_seconds);
        let left = self.epochs.checked_sub(*epoch).filter(|left| *left > 0)?;
        let but = self.pace.without_e_steps();
        let told = || format!("  {} left{but}", time(self.pace.of(left)));
        self.bar.is_hidden().then(told)
    }

    /// Whether an epoch began before the queue was full of images' keys: random ones are told apart
    /// easily, and InfoNCE is low.
    fn fills_queue(&self, event: &Event) -> bool {
        let before = |epoch: usize| epoch.saturating_sub(1).saturating_mul(self.epoch_images);
        matches!(event, Event::Epoch { epoch, .. } if before(*epoch) < self.queue)
    }

    fn name_epoch(&self, epoch: usize) {
        self.bar
            .set_prefix(format!("epoch {epoch}/{}", self.epochs));
    }

    /// On the bar at once; as a line when a phase goes on for a while.
    fn tell_phase(&mut self, epoch: usize, phase: Phase, done: usize, of: usize) {
        let what = match phase {
            Phase::Embedding => format!("E-step: embedding {done}/{of} images"),
            Phase::Clustering => format!("E-step: clustering {}/{of}", done + 1),
            Phase::Measuring => format!("measuring {done}/{of} images"),
            Phase::Comparing => format!("measuring: kNN of {done}/{of} test images"),
        };
        if self.is_due(phase, Instant::now()) && self.bar.is_hidden() {
            say(format!("epoch {epoch:>3}/{}  {what}", self.epochs));
        }
        self.bar.set_message(what);
    }

    /// Whether a phase has gone on for so long, since it began or was told of, that a line is due.
    fn is_due(&mut self, phase: Phase, now: Instant) -> bool {
        let since = match self.phase {
            Some((under_way, since)) if under_way == phase => since,
            _ => now,
        };
        let due = now.duration_since(since) > LINE_EVERY;
        self.phase = Some((phase, if due { now } else { since }));
        due
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// An event as a line, where it is one.
fn describe(event: &Event, epochs: usize) -> Option<String> {
    match event {
        Event::Run { .. } => of_run(event),
        Event::Note { text } => Some(format!("note: {text}")),
        Event::Quarantine { name, reason, .. } => Some(format!("skipped {name}: {reason}")),
        Event::Eval {
            features,
            top1,
            chance,
            ..
        } => Some(format!(
            "kNN of {}: {:.1} % (chance {:.1} %)",
            match features {
                Evaluated::RawPixels => "raw pixels",
                Evaluated::Untrained => "the untrained encoder",
                Evaluated::Given => "the given weights",
                Evaluated::Trained => "the trained encoder",
            },
            100.0 * top1,
            100.0 * chance
        )),
        Event::Epoch { .. } => of_epoch(event, epochs),
        Event::Step { .. }
        | Event::EStep { .. }
        | Event::Phase { .. }
        | Event::Save { .. }
        | Event::Done { .. } => None,
    }
}

/// What a run is.
fn of_run(event: &Event) -> Option<String> {
    let Event::Run {
        mode,
        images,
        parameters,
        batch,
        queue,
        clusters,
        negatives,
        chance,
        resumed_from,
        source,
        step,
        test_images,
        encoder,
        precision,
        image_size,
        ranks,
        ..
    } = event
    else {
        return None;
    };
    let of = match source {
        Some(path) => format!("images of {}", path.display()),
        None => "generated images".into(),
    };
    let begun = match resumed_from {
        Some(path) => format!("Going on from {} (step {step}).\n", path.display()),
        None => String::new(),
    };
    let kept = match test_images {
        0 => String::new(),
        images => format!(", kNN on {images} others"),
    };
    let encoder = encoder.map_or(String::new(), |e| {
        format!(
            "{} (stem {}, width {}, {}), views of {image_size} pixels, ",
            word(e.arch),
            word(e.stem),
            e.width,
            word(precision)
        )
    });
    let prototypes = match clusters.is_empty() {
        true => String::new(),
        false => format!(", K {clusters:?}, {negatives} negative prototypes"),
    };
    let ranks = match ranks {
        1 => String::new(),
        ranks => format!(" on {ranks} ranks"),
    };
    Some(format!(
        "{begun}{mode} on {images} {of}{kept}: {encoder}{:.2} M parameters, batch {batch}{ranks}, queue {queue}{prototypes}; InfoNCE at chance is {chance:.3}",
        *parameters as f64 / 1e6
    ))
}

/// What an epoch came to.
fn of_epoch(event: &Event, epochs: usize) -> Option<String> {
    let Event::Epoch {
        epoch,
        loss_instance,
        loss_prototype,
        chance,
        knn_top1,
        effective_rank,
        ami_previous,
        images_per_second,
        seconds,
        e_step_seconds,
        ..
    } = event
    else {
        return None;
    };
    let mut line =
        format!("epoch {epoch:>3}/{epochs}  InfoNCE {loss_instance:.3} (chance {chance:.2})");
    let optional = [
        loss_prototype.map(|l| format!("  ProtoNCE {l:.3}")),
        knn_top1.map(|k| format!("  kNN {:.1} %", 100.0 * k)),
        effective_rank.map(|r| format!("  rank {r:.0}")),
        ami_previous.map(|a| format!("  AMI to last {a:.2}")),
    ];
    let e_step = match e_step_seconds {
        0.0 => String::new(),
        e_step => format!(" (E-step {e_step:.1})"),
    };
    line.extend(optional.into_iter().flatten());
    Some(line + &format!("  {images_per_second:.0} img/s  {seconds:.1} s{e_step}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_told_when_it_goes_on_for_long() {
        let mut progress = Progress::new(LogFormat::Json);
        let begun = Instant::now();
        let mut due = |phase, second| progress.is_due(phase, begun + Duration::from_secs(second));
        let told: Vec<u64> = (0..40)
            .filter(|&second| due(Phase::Embedding, second))
            .collect();
        assert_eq!(told, [11, 22, 33]);
        // Another one begins anew.
        assert!(!due(Phase::Clustering, 60) && !due(Phase::Clustering, 70));
        assert!(due(Phase::Clustering, 71));
        // So does the same one behind a step.
        let step = Event::Step {
            epoch: 1,
            step: 1,
            loss: 0.1,
            loss_instance: 0.1,
            loss_prototype: None,
            lr: 0.1,
            images_per_second: 1.0,
        };
        assert!(progress.is_line(&step) && !progress.is_line(&Event::Save { step: 1 }));
        assert!(!progress.is_due(Phase::Clustering, begun + Duration::from_secs(90)));
    }
}
