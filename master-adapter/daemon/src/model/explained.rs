//! What the REST interface says of who could run a job, and what keeps out the others.

use std::cmp::Reverse;

use capability::{
    Clause, Comparison, Explanation, Limits, Need, Obstacle, PublicKey, Relaxed, Requirements,
    Resource, Runtime,
};
use serde::{Deserialize, Serialize};

/// Which job is meant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobInQuestion {
    /// One that need not be submitted: the text of its file.
    JobFile(String),
    /// The offer's name, or its first characters.
    Offer(String),
}

/// `POST /api/v1/explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Which job.
    pub job: JobInQuestion,
}

/// `POST /api/v1/compare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareRequest {
    /// Which job.
    pub job: JobInQuestion,
    /// The volunteer's key. The beginning of its key or of its label will do for one that has
    /// returned a result.
    pub volunteer: String,
}

/// The answer to `POST /api/v1/explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplanationView {
    /// The job's name.
    pub name: String,
    /// The broker that has told.
    pub broker: PublicKey,
    /// Machines that it has looked at.
    pub known: u64,
    /// Those of them that could run the job.
    pub matching: u64,
    /// Every requirement: what keeps out most alone first, then what excludes most.
    pub needs: Vec<NeedView>,
    /// The one change that would gain most, if one gains anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
}

/// A requirement, and whom it keeps out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeedView {
    /// As a job file says it.
    pub line: String,
    /// As offers say it.
    pub need: Need,
    /// Machines that do not meet it.
    pub excludes: u64,
    /// Machines that could run the job without it.
    pub alone: u64,
    /// Something milder, if there is such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relaxed: Option<RelaxedView>,
}

/// Something milder than a requirement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelaxedView {
    /// As a job file says it.
    pub line: String,
    /// As offers say it.
    pub clause: Clause,
    /// How many more machines could run the job.
    pub gains: u64,
}

/// What to change in a job file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The line to replace; the job file may say it in other words.
    pub instead_of: String,
    /// What to write there. Nothing if the line had better go or, of runtimes, if the job had better
    /// run in another one too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<String>,
    /// How many more machines could run the job.
    pub gains: u64,
}

/// The answer to `POST /api/v1/compare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonView {
    /// The job's name.
    pub name: String,
    /// The broker that has given the volunteer's ad.
    pub broker: PublicKey,
    /// Whose ad it is.
    pub volunteer: PublicKey,
    /// What the volunteer calls its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The runtime in which it could run the job, if it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// How well it suits the job's preferences in that runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<u64>,
    /// Every requirement with the fact beside it.
    pub comparison: Comparison,
}

impl ExplanationView {
    /// What `broker` says of a job. What it says of needs that are not the job's is left out.
    pub fn of(
        name: String,
        requirements: &Requirements,
        limits: &Limits,
        broker: PublicKey,
        told: Explanation,
    ) -> Self {
        let Explanation { known, matching, obstacles } = told;
        let clauses = requirements.clauses.iter().cloned().map(Need::Clause);
        let needs = std::iter::once(Need::Runtimes(requirements.runtimes.clone())).chain(clauses);
        let mut needs: Vec<_> = needs.map(|need| NeedView::of(need, &obstacles, limits)).collect();
        needs.sort_by_key(|need| Reverse((need.alone, need.excludes)));
        let advice = Advice::of(&needs);
        Self { name, broker, known, matching, needs, advice }
    }
}

impl NeedView {
    fn of(need: Need, obstacles: &[Obstacle], limits: &Limits) -> Self {
        let line = need.in_job_file();
        let obstacle = obstacles.iter().find(|obstacle| obstacle.need == need);
        let (excludes, alone) = obstacle.map_or((0, 0), |it| (it.excludes, it.alone));
        let relaxed = obstacle.and_then(|obstacle| obstacle.relaxed.as_ref());
        let relaxed = relaxed.map(|relaxed| RelaxedView::of(relaxed, limits));
        Self { line, need, excludes, alone, relaxed }
    }
}

impl RelaxedView {
    fn of(relaxed: &Relaxed, limits: &Limits) -> Self {
        let Relaxed { clause, gains } = relaxed.clone();
        let line = clause.in_job_file();
        let line = match clause {
            // No machine gets a job of which one task may use more than it has free.
            Clause::Donates { resource: Resource::Memory, amount } if amount < limits.memory => {
                line.replacen("requirements.", "limits.", 1)
            }
            _ => line,
        };
        Self { line, clause, gains }
    }
}

impl Advice {
    fn of(needs: &[NeedView]) -> Option<Self> {
        let gains = |need: &NeedView| need.relaxed.as_ref().map_or(need.alone, |it| it.gains);
        // Of equals the first, where `max_by_key` gives the last.
        let best = needs.iter().rev().max_by_key(|need| gains(need))?;
        let write = best.relaxed.as_ref().map(|relaxed| relaxed.line.clone());
        let advice = Self { instead_of: best.line.clone(), write, gains: gains(best) };
        (advice.gains > 0).then_some(advice)
    }
}

#[cfg(test)]
mod tests {
    use capability::JobFile;

    use super::*;

    fn broker() -> PublicKey {
        PublicKey::from_bytes([1; 32])
    }

    fn job(needs: &str) -> JobFile {
        let text = format!(
            "name = \"hello\"\nrequirements.runtimes = [\"native\"]\n{needs}\n\
             [[step]]\nname = \"greet\"\nrun = [\"echo\"]\n"
        );
        JobFile::parse(&text).expect("a job file")
    }

    fn view(job: &JobFile, obstacles: Vec<Obstacle>) -> ExplanationView {
        let told = Explanation { known: 9, matching: 1, obstacles };
        let (name, limits) = (job.name.clone(), &job.job.limits);
        ExplanationView::of(name, &job.requirements, limits, broker(), told)
    }

    fn obstacle(clause: &Clause, alone: u64, relaxed: Option<(Clause, u64)>) -> Obstacle {
        let relaxed = relaxed.map(|(clause, gains)| Relaxed { clause, gains });
        Obstacle { need: Need::Clause(clause.clone()), excludes: alone + 1, alone, relaxed }
    }

    #[test]
    fn every_requirement_is_told_and_the_change_that_gains_most() {
        let job = job("requirements.tools.cmake = \">=3.25\"\nrequirements.facts.label = \"*\"");
        let [.., cmake, label] = &*job.requirements.clauses else { panic!("two clauses") };
        let range = ">=3.22".parse().expect("a range");
        let milder = Clause::Version { fact: cmake.fact().expect("of cmake").clone(), range };
        let needs = vec![obstacle(label, 3, None), obstacle(cmake, 6, Some((milder, 2)))];
        let view = view(&job, needs);
        let lines: Vec<_> =
            view.needs.iter().map(|need| (need.line.as_str(), need.excludes, need.alone)).collect();
        assert_eq!(
            lines,
            [
                ("requirements.tools.cmake = \">=3.25\"", 7, 6),
                ("requirements.facts.label = \"*\"", 4, 3),
                ("requirements.runtimes = [\"native\"]", 0, 0),
                ("requirements.cores = 1", 0, 0),
                ("requirements.memory = \"1 GiB\"", 0, 0),
                ("limits.disk = \"1 GiB\"", 0, 0),
            ]
        );
        let advice = view.advice.expect("one");
        assert_eq!(advice.instead_of, "requirements.facts.label = \"*\"");
        assert_eq!((advice.write, advice.gains), (None, 3));
    }

    #[test]
    fn less_memory_means_a_lower_limit_where_that_would_be_above() {
        let donates = |amount| Clause::Donates { resource: Resource::Memory, amount };
        let advised = |needs: &str, milder: u64| {
            let job = job(needs);
            let memory = &job.requirements.clauses[1];
            let view = view(&job, vec![obstacle(memory, 3, Some((donates(milder), 2)))]);
            view.advice.and_then(|advice| advice.write).expect("something milder")
        };
        assert_eq!(advised("", 512 << 20), "limits.memory = \"512 MiB\"");
        let more = "requirements.memory = \"4 GiB\"";
        assert_eq!(advised(more, 2 << 30), "requirements.memory = \"2 GiB\"");
    }

    #[test]
    fn what_a_broker_says_of_other_needs_is_left_out() {
        let strange = Clause::Present { fact: "label".parse().expect("a name") };
        let view = view(&job(""), vec![obstacle(&strange, 3, None)]);
        assert_eq!((view.needs.len(), view.advice), (4, None));
    }
}
