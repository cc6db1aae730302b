//! Who could run a job, and what keeps out the others.

use std::path::Path;

use mesh_shell::Outcome;

use super::{Form, print, read_job};
use crate::client::Client;
use crate::model::{
    CompareRequest, ComparisonView, ExplainRequest, ExplanationView, JobInQuestion,
};
use crate::show::explained;

/// Tells of a job, which is a job file or the name of an offer, how many machines could run it, or
/// how the machine of `volunteer` stands to it.
pub fn explain(client: &Client, job: &str, volunteer: Option<String>, form: Form) -> Outcome {
    let job = job_in_question(job)?;
    match volunteer {
        None => {
            let view: ExplanationView = client.post("/explain", &ExplainRequest { job })?;
            print(form, &view, || explained::explanation(&view))
        }
        Some(volunteer) => {
            let request = CompareRequest { job, volunteer };
            let view: ComparisonView = client.post("/compare", &request)?;
            print(form, &view, || explained::comparison(&view))
        }
    }
}

/// What is not a file and could be the name of an offer is taken for one.
fn job_in_question(job: &str) -> Outcome<JobInQuestion> {
    let path = Path::new(job);
    let hexadecimal = !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hexadecimal && !path.exists() {
        return Ok(JobInQuestion::Offer(job.to_ascii_lowercase()));
    }
    Ok(JobInQuestion::JobFile(read_job(path)?.0))
}
