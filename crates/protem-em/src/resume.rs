//! Whether a run may go on from a checkpoint.

use crate::checkpoint::{Checkpoint, Origin};
use crate::error::EmError;
use crate::image_set::ImageSet;
use crate::settings::{Note, Plan, Settings};
use protem_data::Source;
use serde_json::Value;
use std::collections::BTreeMap;

/// Settings that a state cannot survive a change of: its tensors, its place in the epoch, or what
/// it has seen would no longer be those of the run.
const FIXED: [&str; 9] = [
    "seed",
    "mode",
    "precision",
    "encoder.",
    "data.image_size",
    "method.queue",
    "optim.batch",
    "optim.optimizer",
    "optim.accumulate",
];
/// Settings that results do not depend on.
const FREE: [&str; 5] = [
    "threads",
    "data.workers",
    "data.folder",
    "data.cache_mib",
    "checkpoint.",
];

/// Checks a checkpoint's settings against those of the plan, and its images against `now`. What
/// differs and may is noted.
///
/// # Errors
/// A setting that may not differ; other images.
pub(crate) fn check(from: &Origin, now: &Origin) -> Result<Vec<Note>, EmError> {
    // First: other images change what follows from them, such as the queue.
    of_images(from, &now.settings, &now.images)?;
    let was = flat(&from.settings);
    let mut notes = Vec::new();
    if from.ranks != now.ranks {
        notes.push(Note::RanksChanged {
            from: from.ranks,
            to: now.ranks,
        });
    }
    for (key, value) in flat(&now.settings) {
        let before = was.get(&key).cloned().unwrap_or_default();
        let one_of = |list: &[&str]| {
            list.iter()
                .any(|k| key == *k || (k.ends_with('.') && key.starts_with(*k)))
        };
        if before == value || one_of(&FREE) {
            continue;
        }
        if one_of(&FIXED) {
            return Err(EmError::Mismatch {
                what: key,
                found: before,
                wanted: value,
            });
        }
        notes.push(Note::SettingChanged {
            key,
            from: before,
            to: value,
        });
    }
    Ok(notes)
}

fn of_images(from: &Origin, settings: &Settings, now: &ImageSet) -> Result<(), EmError> {
    if from.images == *now {
        return Ok(());
    }
    // Where a setting is to blame, other folders would not help.
    let (was, is) = (flat(&from.settings), flat(settings));
    for key in choosing(&from.settings, settings) {
        let of = |flat: &BTreeMap<String, String>| flat.get(*key).cloned().unwrap_or_default();
        let (found, wanted) = (of(&was), of(&is));
        // Folders may move; whether there is one counts.
        let moved = *key == "data.test_folder" && found != NONE && wanted != NONE;
        if found != wanted && !moved {
            return Err(EmError::Mismatch {
                what: (*key).to_owned(),
                found,
                wanted,
            });
        }
    }
    Err(EmError::OtherImages {
        found: from.images,
        wanted: *now,
    })
}

/// Settings that choose the images to train on.
fn choosing(before: &Settings, now: &Settings) -> &'static [&'static str] {
    let both = |given: fn(&Settings) -> bool| given(before) && given(now);
    if both(|settings| settings.data.folder.is_none()) {
        return &["seed", "data.generated_images"];
    }
    if both(|settings| settings.data.test_folder.is_some()) {
        return &[]; // nothing is held out
    }
    &["data.test_folder", "seed", "data.held_out"]
}

impl Checkpoint {
    /// Whether it is of a run on these training images, which `settings` have chosen.
    ///
    /// # Errors
    /// It is of others; the setting that has chosen others.
    pub fn check_images(&self, settings: &Settings, train: &dyn Source) -> Result<(), EmError> {
        of_images(self.origin(), settings, &ImageSet::of(train))
    }

    /// Whether a run of this plan may go on from it; what has changed and may is noted.
    ///
    /// # Errors
    /// A setting that may not change within a run; other images.
    pub fn check_plan(&self, plan: &Plan, train: &dyn Source) -> Result<Vec<Note>, EmError> {
        check(self.origin(), &Origin::new(plan, ImageSet::of(train)))
    }
}

impl Origin {
    /// Of a plan and its training images.
    pub(crate) fn new(plan: &Plan, images: ImageSet) -> Self {
        Self {
            settings: plan.settings.clone(),
            images,
            ranks: plan.ranks,
        }
    }
}

/// What stands for a setting that is not given.
const NONE: &str = "not set";

/// Every setting by its dotted key, as JSON.
fn flat(settings: &Settings) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::Null => NONE.to_owned(),
        value => value.to_string(),
    };
    let value = serde_json::to_value(settings).expect("settings are JSON");
    let mut out = BTreeMap::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Object(section) => out.extend(
                section
                    .iter()
                    .map(|(key, value)| (format!("{name}.{key}"), text(value))),
            ),
            value => {
                out.insert(name.clone(), text(value));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_state_depends_on_may_not_change() {
        let origin = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            Origin {
                settings,
                images: ImageSet {
                    images: 5,
                    names_crc32: 7,
                },
                ranks: 1,
            }
        };
        let now = origin(&|_| ());
        let fixed: [&dyn Fn(&mut Settings); 4] = [
            &|s| s.seed = 1,
            &|s| s.encoder.width = 8,
            &|s| s.optim.batch = 8,
            &|s| s.method.queue = Some(512),
        ];
        for change in fixed {
            assert!(matches!(
                check(&origin(change), &now),
                Err(EmError::Mismatch { .. })
            ));
        }
        let free = origin(&|s| (s.threads, s.checkpoint.keep_last) = (Some(7), 9));
        assert_eq!(check(&free, &now).unwrap(), []);
        // A figure with another protocol is told.
        let notes = check(&origin(&|s| s.eval.knn_k = 1), &now).unwrap();
        assert!(notes[0].to_string().contains("eval.knn_k"), "{}", notes[0]);
        let notes = check(&origin(&|s| s.optim.lr = 0.5), &now).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].to_string().contains("optim.lr"), "{}", notes[0]);
        let mut other = origin(&|s| s.method.queue = Some(512));
        other.images.names_crc32 = 8;
        assert!(matches!(
            check(&other, &now),
            Err(EmError::OtherImages { .. })
        ));
        // Unless a setting has chosen them: of a folder, and of generated images.
        let folder = |s: &mut Settings| s.data.folder = Some("f".into());
        let other = |change: &dyn Fn(&mut Settings), folder: &dyn Fn(&mut Settings)| {
            let mut other = origin(&|s| {
                folder(s);
                change(s);
            });
            other.images.names_crc32 = 8;
            check(&other, &origin(&|s| folder(s))).unwrap_err()
        };
        let seed = |s: &mut Settings| s.seed = 1;
        let held_out = |s: &mut Settings| s.data.held_out = 0.2;
        let test = |s: &mut Settings| s.data.test_folder = Some("t".into());
        let generated = |s: &mut Settings| s.data.generated_images = 9;
        let blamed = |error: &EmError| match error {
            EmError::Mismatch { what, .. } => what.clone(),
            error => error.to_string(),
        };
        assert_eq!(blamed(&other(&seed, &folder)), "seed");
        assert_eq!(blamed(&other(&held_out, &folder)), "data.held_out");
        assert_eq!(blamed(&other(&generated, &|_| ())), "data.generated_images");
        let of_test = other(&test, &folder);
        assert_eq!(blamed(&of_test), "data.test_folder");
        assert!(of_test.to_string().contains("not set"), "{of_test}");
        // Not one that chooses nothing.
        let both = |s: &mut Settings| {
            folder(s);
            test(s);
        };
        for error in [other(&held_out, &both), other(&generated, &folder)] {
            assert!(matches!(error, EmError::OtherImages { .. }), "{error}");
        }
    }
}
