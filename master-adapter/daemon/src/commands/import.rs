//! `import`: hands in what somebody has brought as a file.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use mesh_shell::{Exit, Failure, OrExit, Outcome, escape_line, outln, write_whole};

use super::Form;
use crate::client::Client;
use crate::model::{FateView, ImportView};
use crate::show;

/// Hands in the results in the parcel `path`; writes their receipts to `receipts`.
pub fn import(client: &Client, path: &Path, receipts: Option<&Path>, form: Form) -> Outcome {
    let shown = path.display();
    let file =
        File::open(path).with_context(|| format!("cannot read {shown}")).or_exit(Exit::Input)?;
    let view: ImportView = client.import(file)?;
    // First of all: they are what the way back needs.
    if let Some(receipts) = receipts {
        write_whole(receipts, list(&view).as_bytes(), 0o644)?;
    }
    match form {
        Form::Json => super::print(form, &view, String::new)?,
        Form::Text => print(&view),
    }
    let refused = view.results.iter().filter(|it| it.fate == FateView::Refused).count();
    let not_taken = refused + view.unsound.len();
    if let Some(complaint) = &view.complaint {
        let complaint = escape_line(complaint);
        return Err(Failure::say(Exit::Input, format!("the rest of {shown}: {complaint}"))
            .hint("what is listed holds; have the file brought once more for the rest"));
    }
    if not_taken > 0 {
        let taken = view.results.len() - refused;
        let message = format!("{not_taken} of {} results were not taken", taken + not_taken);
        return Err(Failure::say(Exit::Input, message)
            .hint("the volunteer keeps them; once the reason is gone import the file again"));
    }
    if receipts.is_none() && !view.results.is_empty() {
        eprintln!(
            "a volunteer at a broker hears of it there; for one without a network add -o RECEIPTS, \
             and give it that file: talkoot-volunteer results --take RECEIPTS"
        );
    }
    Ok(())
}

fn print(view: &ImportView) {
    for it in &view.results {
        let (volunteer, offer, task) = (it.volunteer.short(), it.offer.short(), it.task);
        let known = if it.known { ", as before: nothing has changed" } else { "" };
        let reason = if it.reason.is_empty() { String::new() } else { format!(": {}", it.reason) };
        let line =
            format!("task {task} of {offer} by {volunteer} {}{reason}{known}", it.fate.word());
        outln!("{}", escape_line(&line));
    }
    for unsound in &view.unsound {
        outln!("{}", escape_line(&format!("a result that is not sound: {unsound}")));
    }
    let new = view.results.iter().filter(|it| !it.known && it.receipt.is_some()).count();
    let count = u64::try_from(new).unwrap_or(u64::MAX);
    eprintln!("{} new here", show::plural(count, "result"));
}

/// The receipts as a list that volunteers take.
fn list(view: &ImportView) -> String {
    let receipts = view.results.iter().filter_map(|it| it.receipt.as_deref());
    ["# receipts of a project for results that were brought as a file\n"]
        .into_iter()
        .chain(receipts)
        .collect()
}
