//! Commands that ask the running broker.

use std::net::SocketAddr;

use mesh_shell::Outcome;
use mesh_shell::out::put;
use serde_json::Value;

use crate::cli::{Ask, Listed, Shown};
use crate::client::Client;
use crate::lists::{API, STATUS_PATH};
use crate::show::{self, Column};

/// Asks the broker, which is at `configured` unless the command says otherwise.
pub fn run(ask: Ask, configured: SocketAddr) -> Outcome {
    let reach = |shown: &Shown| Client::new(shown.http.unwrap_or(configured));
    match ask {
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
    if shown.json { put(&format!("{found:#}\n")) } else { put(&in_words(found)) }
}
