//! Who could run a job: the home broker is asked, with the job's needs instead of its name, so that
//! the job need not be offered.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use capability::statements::Ad;
use capability::{
    Capabilities, Fact, JobFile, Limits, PublicKey, Requirements, Verified, compare, rank,
};
use mesh_core::{Answer, Ask, JobNeeds, Refusal};
use thiserror::Error;
use tokio::sync::oneshot;

use super::{Api, Command, NotReached, Problem, ending, no_such_job, not_found};
use crate::model::{
    CompareRequest, ComparisonView, ExplainRequest, ExplanationView, JobInQuestion,
};

/// Volunteers whose ads are looked through for a label: an answer each.
const MAX_LABELS: usize = 64;

/// The home broker has not answered.
#[derive(Debug, Error)]
pub enum NoAnswer {
    /// It was not asked.
    #[error(transparent)]
    NotReached(#[from] NotReached),
    /// It was asked in vain.
    #[error("the home broker {}: {why}", .home.short())]
    Failed {
        /// Which.
        home: PublicKey,
        /// What went wrong.
        why: String,
    },
}

impl From<NoAnswer> for Problem {
    fn from(error: NoAnswer) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// What is asked about a job.
struct Job {
    name: String,
    requirements: Requirements,
    limits: Limits,
}

/// `POST /api/v1/explain`.
pub async fn explain(
    State(api): State<Api>,
    Json(request): Json<ExplainRequest>,
) -> Result<Json<ExplanationView>, Problem> {
    let Job { name, requirements, limits } = api.job_in_question(&request.job)?;
    let ask = Ask::Explain(JobNeeds::Requirements(requirements.clone()));
    match api.ask_home(ask).await? {
        (home, Answer::Explanation(told)) => {
            Ok(Json(ExplanationView::of(name, &requirements, &limits, home, told)))
        }
        (home, answer) => Err(refused(home, answer)),
    }
}

/// `POST /api/v1/compare`.
pub async fn compare_one(
    State(api): State<Api>,
    Json(request): Json<CompareRequest>,
) -> Result<Json<ComparisonView>, Problem> {
    let Job { name, requirements, .. } = api.job_in_question(&request.job)?;
    let (broker, ad) = api.ad_of(&request.volunteer).await?;
    let comparison = compare(&ad.capabilities, &requirements);
    let fits = |it: &&capability::InRuntime| it.inside.as_ref().is_some_and(|inside| inside.fits);
    let runtime = comparison.runtimes.iter().find(fits).map(|it| it.runtime.clone());
    let rank = runtime.as_ref().map(|it| rank(&ad.capabilities, it, &requirements.rank));
    let label = label(&ad.capabilities).map(str::to_owned);
    let volunteer = ad.signer();
    Ok(Json(ComparisonView { name, broker, volunteer, label, runtime, rank, comparison }))
}

impl Api {
    fn job_in_question(&self, job: &JobInQuestion) -> Result<Job, Problem> {
        match job {
            JobInQuestion::JobFile(text) => {
                let file = JobFile::parse_for(text, &self.registration);
                let file = file.map_err(|error| {
                    Problem(StatusCode::UNPROCESSABLE_ENTITY, format!("job file:{error}"))
                })?;
                let JobFile { name, requirements, job, .. } = file;
                Ok(Job { name, requirements, limits: job.limits })
            }
            JobInQuestion::Offer(name) => {
                let id = self.offer(name)?;
                let offer = self.read(|board| board.archive.offer(id).cloned());
                let offer = offer.ok_or_else(no_such_job)?;
                let (name, requirements) = (offer.name.clone(), offer.requirements.clone());
                Ok(Job { name, requirements, limits: offer.job.limits })
            }
        }
    }

    pub(super) async fn ask_home(&self, ask: Ask) -> Result<(PublicKey, Answer), Problem> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::AskHome { ask, reply }).await?;
        Ok(answer.await.map_err(|_| ending())??)
    }

    /// The ad of the volunteer of that key, or of the one that has returned a result and whose key or,
    /// if there is none, whose label begins like that.
    async fn ad_of(&self, volunteer: &str) -> Result<(PublicKey, Verified<Ad>), Problem> {
        if volunteer.is_empty() {
            return Err(not_found("a volunteer is named by its key or its label"));
        }
        let known = self.read(|board| board.archive.volunteers());
        let by_key = known.iter().filter(|key| key.to_string().starts_with(volunteer));
        let by_key: Vec<_> =
            volunteer.parse().map_or_else(|_| by_key.copied().collect(), |key| vec![key]);
        let key = match *by_key {
            [] => return self.ad_by_label(volunteer, &known).await,
            [key] => key,
            _ => return Err(several()),
        };
        let (home, ad) = self.ad(key).await?;
        ad.map(|ad| (home, ad)).ok_or_else(|| no_ad(home, key))
    }

    async fn ad_by_label(
        &self,
        beginning: &str,
        known: &[PublicKey],
    ) -> Result<(PublicKey, Verified<Ad>), Problem> {
        let mut found = None;
        for key in known.iter().take(MAX_LABELS) {
            let (home, Some(ad)) = self.ad(*key).await? else { continue };
            if label(&ad.capabilities).is_some_and(|label| label.starts_with(beginning))
                && found.replace((home, ad)).is_some()
            {
                return Err(several());
            }
        }
        found.ok_or_else(|| {
            not_found(
                "no volunteer that has returned a result is called that; of others give the whole \
                 key, which `talkoot-volunteer status` shows",
            )
        })
    }

    /// The ad of the volunteer of that key, and who has given it or has none.
    pub(super) async fn ad(
        &self,
        volunteer: PublicKey,
    ) -> Result<(PublicKey, Option<Verified<Ad>>), Problem> {
        match self.ask_home(Ask::Ad { volunteer }).await? {
            // Brokers make no ads, but may give another's.
            (home, Answer::Ads(ads)) => {
                Ok((home, ads.into_iter().find(|ad| ad.signer() == volunteer)))
            }
            (home, answer) => Err(refused(home, answer)),
        }
    }
}

/// What a volunteer calls its machine. All runtimes state the same.
fn label(machine: &Capabilities) -> Option<&str> {
    machine.runtimes.iter().find_map(|(_, inside)| match inside.facts.get("label") {
        Some(Fact::Text(label)) => Some(label.as_str()),
        _ => None,
    })
}

fn refused(home: PublicKey, answer: Answer) -> Problem {
    let why = match answer {
        Answer::Refused(Refusal::Full(_)) => "it is asked too much, ask again".to_owned(),
        Answer::Refused(refusal) => refusal.to_string(),
        _ => "the answer does not fit the question".to_owned(),
    };
    NoAnswer::Failed { home, why }.into()
}

fn no_ad(home: PublicKey, volunteer: PublicKey) -> Problem {
    not_found(&format!(
        "the home broker {} has no ad of volunteer {}: it is away, or at a broker that is not linked",
        home.short(),
        volunteer.short()
    ))
}

fn several() -> Problem {
    Problem(StatusCode::BAD_REQUEST, "several volunteers are called that; give more of it".into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capability::{
        DecryptionKey, Facts, Platform, Resources, Runtime, RuntimeFacts, SecretKey, Timestamp,
    };
    use capability::{Explanation, Need, Obstacle};
    use mesh_shell::{Exit, Failure, Outcome};

    use super::super::tests::{Bench, JOB, ask, bench};
    use super::*;
    use crate::client::Client;

    fn home() -> PublicKey {
        PublicKey::from_bytes([9; 32])
    }

    fn job() -> JobInQuestion {
        JobInQuestion::JobFile(JOB.to_owned())
    }

    /// Puts `path` the question whether the home says `answer`; gives what that was asked too.
    async fn answered<T>(
        bench: &mut Bench,
        path: &'static str,
        question: impl serde::Serialize + Send + 'static,
        answer: Result<Answer, NoAnswer>,
    ) -> (Ask, Outcome<T>)
    where
        T: serde::de::DeserializeOwned + Send + 'static,
    {
        let client = Client::at(&bench.address, "secret".into());
        let asked = tokio::task::spawn_blocking(move || client.post(path, &question));
        let Some(Command::AskHome { ask, reply }) = bench.commands.recv().await else {
            panic!("a question")
        };
        reply.send(answer.map(|answer| (home(), answer))).expect("somebody waits");
        (ask, asked.await.expect("no panic"))
    }

    async fn explained(
        bench: &mut Bench,
        answer: Result<Answer, NoAnswer>,
    ) -> (Ask, Outcome<ExplanationView>) {
        answered(bench, "/explain", ExplainRequest { job: job() }, answer).await
    }

    fn failure<T>(outcome: Outcome<T>) -> Failure {
        outcome.map(drop).expect_err("refused")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_home_is_asked_about_a_job_that_nobody_has_submitted() {
        let mut bench = bench().await;
        let requirements = JobFile::parse(JOB).expect("a job file").requirements;
        let need = Need::Clause(requirements.clauses[0].clone());
        let obstacle = Obstacle { need, excludes: 2, alone: 1, relaxed: None };
        let told = Explanation { known: 3, matching: 1, obstacles: vec![obstacle] };
        let (asked, view) = explained(&mut bench, Ok(Answer::Explanation(told))).await;
        assert_eq!(asked, Ask::Explain(JobNeeds::Requirements(requirements)));
        let view = view.expect("explained");
        assert_eq!((view.broker, view.known, view.matching), (home(), 3, 1));
        assert_eq!(view.advice.expect("one").instead_of, "requirements.cores = 1");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn why_the_home_has_not_answered_is_said() {
        let mut bench = bench().await;
        let failed = || NoAnswer::Failed { home: home(), why: "lost".into() };
        for (answer, says) in [
            (Err(NotReached::NoHome.into()), "no home broker yet"),
            (Err(NotReached::Away(home()).into()), "is not connected"),
            (Err(failed()), "lost"),
            (Ok(Answer::Refused(Refusal::Full("questions".into()))), "ask again"),
            (Ok(Answer::Refused(Refusal::Invalid("fewer clauses".into()))), "fewer clauses"),
            (Ok(Answer::Done), "does not fit"),
        ] {
            let failure = failure(explained(&mut bench, answer).await.1);
            assert!(failure.to_string().contains(says), "{failure}");
            assert_eq!(failure.exit(), Exit::Network, "{failure}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_file_is_read_with_the_checks_of_the_project() {
        let bench = bench().await;
        let text = JOB.replacen("[[step]]", "facts.\"check.simd\" = true\n[[step]]", 1);
        let request = ExplainRequest { job: JobInQuestion::JobFile(text) };
        let answer = ask(&bench, "secret", move |client| {
            client.post::<ExplanationView>("/explain", &request)
        });
        let failure = failure(answer.await);
        assert!(failure.to_string().contains("job file:4:"), "{failure}");
        assert!(failure.to_string().contains("no check \"simd\""), "{failure}");
        assert_eq!(failure.exit(), Exit::Input);
    }

    /// A machine with a core and no tools, and whose it is.
    fn ad(seed: u8) -> Verified<Ad> {
        let secret = SecretKey::from_seed(&[seed; 32]);
        let mut facts = Facts::new();
        facts.insert("label", "big-one").expect("a fact");
        let inside = RuntimeFacts { strength: String::new(), facts };
        let capabilities = Capabilities {
            platform: Platform::new("linux", "x86_64").expect("a platform"),
            resources: Resources { cores: 1, memory: 2 << 30, disk: 2 << 30 },
            runtimes: [(Runtime::Native, inside)].into(),
        };
        let expires = Timestamp(0) + Duration::from_secs(60);
        let encryption = DecryptionKey::from_seed(&[seed; 32]).public();
        let ad = Ad { seq: 1, broker: home(), capabilities, encryption, expires };
        Verified::sign(ad, &secret)
    }

    async fn compared(
        bench: &mut Bench,
        volunteer: PublicKey,
        answer: Answer,
    ) -> (Ask, Outcome<ComparisonView>) {
        let request = CompareRequest { job: job(), volunteer: volunteer.to_string() };
        answered(bench, "/compare", request, Ok(answer)).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_is_held_against_the_ad_of_a_volunteer() {
        let mut bench = bench().await;
        let (mine, other) = (ad(1), ad(2));
        let volunteer = mine.signer();
        let (asked, view) = compared(&mut bench, volunteer, Answer::Ads(vec![mine])).await;
        assert_eq!(asked, Ask::Ad { volunteer });
        let view = view.expect("compared");
        assert_eq!((view.volunteer, view.label.as_deref()), (volunteer, Some("big-one")));
        assert_eq!((view.runtime, view.rank), (Some(Runtime::Native), Some(0)));

        for ads in [vec![], vec![other]] {
            let (_, view) = compared(&mut bench, volunteer, Answer::Ads(ads)).await;
            let failure = failure(view);
            assert!(failure.to_string().contains("has no ad of volunteer"), "{failure}");
            assert_eq!(failure.exit(), Exit::Input);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_is_called_like_that() {
        let bench = bench().await;
        for volunteer in ["", "big"] {
            let request = CompareRequest { job: job(), volunteer: volunteer.into() };
            let answer = ask(&bench, "secret", move |client| {
                client.post::<ComparisonView>("/compare", &request)
            });
            let failure = failure(answer.await);
            assert!(failure.to_string().contains("key"), "{failure}");
            assert_eq!(failure.exit(), Exit::Input);
        }
    }
}
