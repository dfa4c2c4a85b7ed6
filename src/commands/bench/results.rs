//! What came out, as figures and as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use super::contenders::{Contender, Program, REFERENCE, Role};
use super::machine::Machine;
use super::measure::{Failure, Run};
use super::subject::Description;

/// Everything that was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Results {
    /// For a heading.
    pub title: String,
    /// What was measured.
    pub subject: Description,
    /// What it ran on.
    pub machine: Machine,
    /// How often each contender ran.
    pub rounds: u32,
    /// The contender that ratios are to, if it took part.
    pub reference: Option<&'static str>,
    /// The variables of the commands.
    pub variables: std::collections::BTreeMap<String, String>,
    /// Lines for `sh` after which each command can be run again; the variables above may name what is gone by then.
    pub setup: Vec<String>,
    /// The contenders that did the work, in the order in which they ran.
    pub results: Vec<Outcome>,
    /// Those that failed, in the same order.
    pub failed: Vec<Failed>,
    /// Those that could not take part.
    pub missing: Vec<Missing>,
}

/// How a contender did in all rounds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outcome {
    /// The contender.
    #[serde(flatten)]
    pub contender: Contender,
    /// The median of its times.
    pub median_seconds: f64,
    /// Its shortest time.
    pub min_seconds: f64,
    /// Its longest time.
    pub max_seconds: f64,
    /// Its median as a multiple of the limit's.
    pub times_limit: Option<f64>,
    /// Its median as a multiple of that of the reference.
    pub times_reference: Option<f64>,
    /// The most memory of any round.
    pub peak_memory_bytes: u64,
    /// The size of its output on disk.
    pub output_bytes: u64,
    /// Every round.
    pub runs: Vec<Run>,
}

/// A contender that failed; it takes no part in later rounds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failed {
    /// The contender.
    #[serde(flatten)]
    pub contender: Contender,
    /// Why.
    #[serde(flatten)]
    pub failure: Failure,
    /// The rounds before.
    pub runs: Vec<Run>,
}

impl Failed {
    /// Who and why, for a message.
    pub fn words(&self) -> String {
        format!("{} ({})", self.contender.name, self.failure.reason)
    }
}

/// A contender that could not take part.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// What it lacks.
    pub programs: Vec<Program>,
}

/// Computes the figures of all contenders from their runs.
pub fn outcomes(runs: Vec<(Contender, Vec<Run>)>) -> Vec<Outcome> {
    let median_of = |wanted: &dyn Fn(&Contender) -> bool| {
        runs.iter().find(|(contender, _)| wanted(contender)).map(|(_, runs)| median(runs))
    };
    let limit = median_of(&|contender| contender.role == Role::Limit);
    let reference = median_of(&|contender| contender.name == REFERENCE);
    runs.into_iter()
        .map(|(contender, runs)| {
            let median = median(&runs);
            let seconds = || runs.iter().map(|run| run.seconds);
            Outcome {
                median_seconds: median,
                min_seconds: seconds().fold(f64::INFINITY, f64::min),
                max_seconds: seconds().fold(0.0, f64::max),
                times_limit: limit.map(|limit| median / limit),
                times_reference: reference.map(|reference| median / reference),
                peak_memory_bytes: runs.iter().map(|run| run.peak_memory_bytes).max().unwrap_or(0),
                output_bytes: runs.last().map_or(0, |run| run.output_bytes),
                contender,
                runs,
            }
        })
        .collect()
}

/// The median time; of an even number of runs, the mean of the two in the middle.
fn median(runs: &[Run]) -> f64 {
    let mut seconds: Vec<f64> = runs.iter().map(|run| run.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.len() / 2;
    match (seconds.get(middle), middle.checked_sub(1).and_then(|before| seconds.get(before))) {
        (Some(after), Some(before)) if seconds.len().is_multiple_of(2) => f64::midpoint(*before, *after),
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(seconds: &[f64]) -> Vec<Run> {
        let run = |&seconds| Run {
            seconds,
            user_seconds: 0.0,
            system_seconds: 0.0,
            peak_memory_bytes: 1,
            output_bytes: 1,
        };
        seconds.iter().map(run).collect()
    }

    fn contender(name: &str, role: Role) -> Contender {
        role.contender(name, "", ": > $OUT")
    }

    #[test]
    fn ratios_are_of_medians() {
        let outcomes = outcomes(vec![
            (contender("cat", Role::Limit), runs(&[2.0, 1.0, 9.0])),
            (contender("qcow2", Role::Ours), runs(&[4.0, 4.0, 5.0])),
            (contender("slow", Role::Peer), runs(&[20.0, 10.0, 6.0, 40.0])),
        ]);
        let [cat, ours, slow] = &outcomes[..] else { panic!("three") };
        assert_eq!((cat.median_seconds, cat.min_seconds, cat.max_seconds), (2.0, 1.0, 9.0));
        assert_eq!((cat.times_limit, cat.times_reference), (Some(1.0), Some(0.5)));
        assert_eq!((ours.times_limit, ours.times_reference), (Some(2.0), Some(1.0)));
        assert_eq!((slow.median_seconds, slow.times_reference), (15.0, Some(3.75)));
    }

    #[test]
    fn without_the_limit_or_this_program_there_are_no_ratios() {
        let outcomes = outcomes(vec![(contender("slow", Role::Peer), runs(&[20.0]))]);
        assert_eq!((outcomes[0].times_limit, outcomes[0].times_reference), (None, None));
    }
}
