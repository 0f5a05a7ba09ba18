//! What is compared: each case gives one row of the table.

/// Images, and what the encoders compute in.
#[derive(Clone, Copy)]
pub struct Case {
    pub set: Set,
    pub precision: &'static str,
}

/// The images, and the settings that go with them.
#[derive(Clone, Copy, PartialEq)]
pub enum Set {
    Tiny,
    Small,
}

pub const SETS: [Set; 2] = [Set::Tiny, Set::Small];

/// In the table's order.
pub const ALL: [Case; 4] = [
    case(Set::Tiny, "f32"),
    case(Set::Tiny, "bf16"),
    case(Set::Small, "f32"),
    case(Set::Small, "bf16"),
];

const fn case(set: Set, precision: &'static str) -> Case {
    Case { set, precision }
}

impl Set {
    /// The option that names its folder.
    pub fn flag(self) -> &'static str {
        match self {
            Set::Tiny => "--tiny",
            Set::Small => "--small",
        }
    }

    /// The config of the trainer.
    fn config(self) -> &'static str {
        match self {
            Set::Tiny => "cifar10",
            Set::Small => "photos",
        }
    }

    /// What the config says that the peer has to be told.
    fn told(self) -> [(&'static str, &'static str); 5] {
        match self {
            Set::Tiny => [
                ("--size", "32"),
                ("--stem", "cifar"),
                ("--blur", "off"),
                ("--lr", "0.06"),
                ("--weight-decay", "5e-4"),
            ],
            Set::Small => [
                ("--size", "128"),
                ("--stem", "imagenet"),
                ("--blur", "on"),
                ("--lr", "0.03"),
                ("--weight-decay", "1e-4"),
            ],
        }
    }
}

/// The keys of the trainer and the flags of the peer, and what all cases give both.
const SHARED: [(&str, &str, &str); 6] = [
    ("encoder.width", "--width", "32"),
    ("optim.batch", "--batch", "128"),
    ("method.clusters", "--clusters", "100,250,500"),
    ("method.queue", "--queue", "2048"),
    ("method.negatives", "--negatives", "2048"),
    ("method.momentum", "--momentum", "0.99"),
];

impl Case {
    /// Its row's name, which no other row has.
    pub fn name(&self) -> String {
        let set = match self.set {
            Set::Tiny => "images of 32",
            Set::Small => "photographs as views of 128",
        };
        format!("{set}, {}", self.precision)
    }

    /// Arguments of the trainer behind the images' folder.
    pub fn trainer(&self, epochs: u32) -> Vec<String> {
        let mut settings = vec![
            format!("precision={}", self.precision),
            format!("optim.epochs={epochs}"),
            format!("checkpoint.every_epochs={epochs}"),
            // The first epoch has no E-step, and what is not training is left out.
            "method.warmup_epochs=1".into(),
            "eval.knn_every=0".into(),
            "data.held_out=0".into(),
            "encoder.split_bn=1".into(),
        ];
        settings.extend(SHARED.map(|(key, _, value)| match value.contains(',') {
            true => format!("{key}=[{value}]"),
            false => format!("{key}={value}"),
        }));
        let mut arguments = vec!["--config".into(), self.set.config().into()];
        for setting in settings {
            arguments.extend(["--set".into(), setting]);
        }
        arguments
    }

    /// The same for the peer.
    pub fn peer(&self, epochs: u32, threads: usize) -> Vec<String> {
        let shared = SHARED.map(|(_, flag, value)| (flag, value));
        let mut arguments = vec!["--precision".into(), self.precision.into()];
        for (flag, value) in shared.into_iter().chain(self.set.told()) {
            arguments.extend([flag.into(), value.into()]);
        }
        arguments.extend(["--epochs".into(), epochs.to_string()]);
        arguments.extend(["--threads".into(), threads.to_string()]);
        arguments
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
    fn both_are_told_the_same() {
        let (trainer, peer) = (ALL[1].trainer(4), ALL[1].peer(4, 2));
        for setting in [
            "method.clusters=[100,250,500]",
            "precision=bf16",
            "optim.epochs=4",
        ] {
            assert!(trainer.contains(&setting.to_owned()), "{setting}");
        }
        let peer = peer.join(" ");
        for flags in [
            "--clusters 100,250,500",
            "--precision bf16",
            "--epochs 4 --threads 2",
        ] {
            assert!(peer.contains(flags), "{flags}");
        }
    }

    #[test]
    fn the_peer_is_told_what_the_configs_say() {
        for set in SETS {
            let file = format!("configs/{}.toml", set.config());
            let config = std::fs::read_to_string(crate::target::root().join(file)).unwrap();
            let config: toml::Table = config.parse().unwrap();
            let said = |section: &str, key: &str| config.get(section)?.get(key).cloned();
            let told = |flag: &str| set.told().into_iter().find(|told| told.0 == flag);
            let told = |flag: &str| told(flag).unwrap().1;
            let size = said("data", "image_size").unwrap().as_integer();
            assert_eq!(size, told("--size").parse().ok());
            assert_eq!(
                said("encoder", "stem").unwrap().as_str(),
                Some(told("--stem"))
            );
            let lr = said("optim", "lr").unwrap().as_float();
            assert_eq!(lr, told("--lr").parse().ok());
            let decay = said("optim", "weight_decay").map_or(Some(1e-4), |value| value.as_float());
            assert_eq!(decay, told("--weight-decay").parse().ok());
            let blur = said("augment", "blur").is_none_or(|blur| blur.as_bool().unwrap());
            assert_eq!(blur, told("--blur") == "on");
        }
    }

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let mut names = row_names();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
