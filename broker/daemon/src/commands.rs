//! Commands that ask the running broker.

use std::net::SocketAddr;
use std::path::Path;

use mesh_shell::out::put;
use mesh_shell::{Outcome, escape_json, outln};
use serde_json::{Value, json};

use crate::cli::{Ask, At, Listed, Shown};
use crate::client::Client;
use crate::lists::{API, STATUS_PATH};
use crate::operator::Token;
use crate::show::{self, Column};

/// Asks the broker, which is at `configured` unless the command says otherwise.
pub fn run(ask: Ask, configured: SocketAddr, state: &Path) -> Outcome {
    let reach = |shown: &Shown| Client::new(shown.http.unwrap_or(configured));
    let order = |at: &At, name: &str, body: Value| {
        let client = Client::new(at.http.unwrap_or(configured));
        client.reached()?;
        client.post(&format!("{API}/{name}"), &Token::of_running(state)?, &body).map(drop)
    };
    match ask {
        Ask::Block { subject, reason, at } => {
            order(&at, "block", json!({ "subject": subject, "reason": reason }))
        }
        Ask::Unblock { subject, at } => order(&at, "unblock", json!({ "subject": subject })),
        Ask::TakeDown { subject, reason, at } => {
            order(&at, "take-down", json!({ "subject": subject, "reason": reason }))
        }
        Ask::PutBack { subject, at } => order(&at, "put-back", json!({ "subject": subject })),
        Ask::Drain { within, at } => {
            order(&at, "drain", json!({ "seconds": within.as_secs() }))?;
            outln!("it takes no new work, and ends within {}", humantime::format_duration(within));
            Ok(())
        }
        Ask::Blocked(part) => list(&reach(&part.shown), "blocked", show::RULES, &part),
        Ask::TakenDown(part) => list(&reach(&part.shown), "taken-down", show::RULES, &part),
        Ask::Limited(shown) => {
            let found = reach(&shown).get(&format!("{API}/limited"), &[])?;
            print(&found, &shown, |found| show::table(show::LIMITED, &found["items"]))
        }
        Ask::Status(shown) => {
            let found = reach(&shown).get(STATUS_PATH, &[])?;
            print(&found, &shown, show::status)
        }
        Ask::Explain { offer, shown } => {
            let found = reach(&shown).get(&format!("{API}/explain"), &[("offer", offer)])?;
            print(&found, &shown, show::explained)
        }
        Ask::Peers(part) => list(&reach(&part.shown), "peers", show::PEERS, &part),
        Ask::Offers(part) => list(&reach(&part.shown), "offers", show::OFFERS, &part),
        Ask::Ads(part) => list(&reach(&part.shown), "ads", show::ADS, &part),
        Ask::Custody(part) => list(&reach(&part.shown), "custody", show::CUSTODY, &part),
    }
}

/// Prints a part of the list `name`, and says where it goes on.
fn list(client: &Client, name: &str, columns: &[Column], part: &Listed) -> Outcome {
    let mut query = vec![("limit", part.limit.to_string())];
    query.extend(part.after.clone().map(|after| ("after", after)));
    let page = client.get(&format!("{API}/{name}"), &query)?;
    print(&page, &part.shown, |page| show::table(columns, &page["items"]))?;
    if let Some(next) = page["next"].as_str().filter(|_| !part.shown.json) {
        eprintln!("there are more: --after {next}");
    }
    Ok(())
}

fn print(found: &Value, shown: &Shown, in_words: impl Fn(&Value) -> String) -> Outcome {
    if shown.json { put(&escape_json(&format!("{found:#}\n"))) } else { put(&in_words(found)) }
}
