//! What is learned one after the other: most models in one go, a student after its teacher.

use crate::experiment::{Experiment, Task};

/// What an epoch is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// All there is.
    Whole,
    /// The teacher learns `train.pretext` or `train.sections`.
    Teacher,
    /// The small network learns from the teacher.
    Match,
    /// The student learns from the small network, on normal inputs as they are.
    Student,
}

impl Stage {
    /// For people; empty where there is but one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Teacher => "teacher  ",
            Self::Match => "matching  ",
            Self::Student => "student  ",
        }
    }
}

/// Epochs of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What they are of.
    pub stage: Stage,
    /// The first one, from 0.
    pub first: usize,
    /// How many there are.
    pub epochs: usize,
}

impl Part {
    /// One past the last epoch.
    pub const fn end(&self) -> usize {
        self.first + self.epochs
    }
}

/// The stages of `experiment`, at least one.
pub fn parts(experiment: &Experiment) -> Vec<Part> {
    let (teacher, epochs) = (&experiment.teacher, experiment.train.epochs);
    let stages = match experiment.task {
        Task::Distilled => vec![(Stage::Teacher, teacher.epochs), (Stage::Match, epochs)],
        Task::Student => {
            vec![(Stage::Teacher, teacher.epochs), (Stage::Match, teacher.match_epochs), (Stage::Student, epochs)]
        }
        Task::Autoencoder | Task::Cnn | Task::Features | Task::OneClass => vec![(Stage::Whole, epochs)],
    };
    let mut first = 0;
    let part = |(stage, epochs)| {
        let part = Part { stage, first, epochs };
        first += epochs;
        part
    };
    stages.into_iter().map(part).collect()
}

/// The part that an epoch, from 0, is of; the last one after the end.
pub fn at(parts: &[Part], epoch: usize) -> Part {
    let found = parts.iter().find(|part| epoch < part.end()).or(parts.last());
    *found.expect("an experiment has a stage")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_student_follows_its_teacher() {
        let toml = "name = \"s\"\ntask = \"student\"\n[teacher]\nepochs = 2\nmatch_epochs = 3\n\
                    [train]\nepochs = 4\npretext = [\"augmentation\"]";
        let parts = parts(&Experiment::from_toml(toml, &[]).expect("an experiment"));
        let stages: Vec<Stage> = (0..10).map(|epoch| at(&parts, epoch).stage).collect();
        let (teacher, matching, student) = ([Stage::Teacher; 2], [Stage::Match; 3], [Stage::Student; 5]);
        assert_eq!(stages, [&teacher[..], &matching[..], &student[..]].concat());
        assert_eq!((at(&parts, 4).first, at(&parts, 5).first, parts[2].end()), (2, 5, 9));
    }
}
