//! What is compared: each case gives one row of the table.

/// A job that both programs do, or protem twice.
#[derive(Clone, Copy)]
pub struct Case {
    pub job: Job,
    pub set: Set,
    /// From pixels instead of encoded files.
    pub decoded: bool,
    /// Beside protem on two threads stands protem on one.
    pub threads: bool,
}

/// Which views.
#[derive(Clone, Copy)]
pub enum Job {
    /// Two of PCL v2.
    Views { blur: bool },
    /// Resize and centre crop.
    Evaluation,
}

/// The images.
#[derive(Clone, Copy, PartialEq)]
pub enum Set {
    Photos,
    Small,
    Tiny,
}

/// In the table's order.
pub const ALL: [Case; 7] = [
    views(Set::Photos, false, true),
    views(Set::Small, false, true),
    views(Set::Tiny, true, false),
    views(Set::Tiny, true, true),
    Case {
        job: Job::Evaluation,
        ..views(Set::Photos, false, true)
    },
    Case {
        job: Job::Evaluation,
        ..views(Set::Photos, true, true)
    },
    Case {
        threads: true,
        ..views(Set::Photos, false, true)
    },
];

const fn views(set: Set, decoded: bool, blur: bool) -> Case {
    Case {
        job: Job::Views { blur },
        set,
        decoded,
        threads: false,
    }
}

impl Case {
    /// Its row's name, which no other row has.
    pub fn name(&self) -> String {
        let size = self.set.size();
        let decode = if self.decoded { "" } else { "decoding and " };
        let job = match self.job {
            Job::Views { blur } => {
                let blur = if blur { "" } else { " without blur" };
                format!("{decode}2 views of {size}{blur}")
            }
            Job::Evaluation => format!("{decode}resize {}, crop {size}", size * 8 / 7),
        };
        let threads = if self.threads {
            " on two threads beside one"
        } else {
            ""
        };
        format!("{job}, {}{threads}", self.set.name())
    }

    /// The flags that say the job to either program.
    pub fn flags(&self, iters: u32) -> Vec<String> {
        let mut flags = vec!["--size".into(), self.set.size().to_string()];
        flags.extend(["--iters".into(), iters.to_string()]);
        match self.job {
            Job::Views { blur } => {
                let blur = if blur { "on" } else { "off" };
                let views = ["--recipe", "v2", "--views", "2", "--blur", blur];
                flags.extend(views.map(String::from));
            }
            Job::Evaluation => flags.extend(["--what", "evaluation"].map(String::from)),
        }
        if self.decoded {
            flags.push("--decoded".into());
        }
        flags
    }
}

impl Set {
    /// The option that names its folder.
    pub fn flag(self) -> &'static str {
        match self {
            Set::Photos => "--photos",
            Set::Small => "--small",
            Set::Tiny => "--tiny",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Set::Photos => "photographs",
            Set::Small => "small photographs",
            Set::Tiny => "images of 32",
        }
    }

    fn size(self) -> u32 {
        match self {
            Set::Photos | Set::Small => 224,
            Set::Tiny => 32,
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
