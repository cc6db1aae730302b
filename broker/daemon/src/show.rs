//! How what the broker knows looks on a terminal.

use std::fmt::Write;

use capability::{Timestamp, format_bytes};
use mesh_shell::escape_line;
use serde_json::Value;

/// Needs that are named, of those for which machines cannot run a job.
const MAX_NEEDS: usize = 5;

/// A column of a table: its head, and what an entry has in it.
pub type Column = (&'static str, fn(&Value) -> String);

/// Who is connected.
pub const PEERS: &[Column] = &[
    ("PEER", |it| key(&it["peer"])),
    ("ROLE", |it| word(&it["role"])),
    ("DIALLED", |it| if it["direction"] == "inbound" { "us" } else { "by us" }.to_owned()),
    ("STATE", |it| match (&it["linked"], &it["waiting"]) {
        (Value::Bool(true), _) => "linked".to_owned(),
        (_, Value::Bool(true)) => "waiting".to_owned(),
        _ => String::new(),
    }),
];

/// The offers.
pub const OFFERS: &[Column] = &[
    ("OFFER", |it| short(&it["offer"])),
    ("PROJECT", |it| match it["project-name"].as_str() {
        Some(name) => name.to_owned(),
        None => short(&it["project"]),
    }),
    ("NAME", |it| word(&it["name"])),
    ("HOME", |it| short(&it["home"])),
    ("EPOCH", |it| number(&it["epoch"])),
    ("TASKS", |it| number(&it["tasks"])),
    ("OPEN", |it| number(&it["counts"]["open"])),
    ("LEASED", |it| number(&it["counts"]["leased"])),
    ("RETURNED", |it| number(&it["counts"]["returned"])),
    ("DONE", |it| number(&it["counts"]["done"])),
    ("EXPIRES", |it| time(&it["expires"])),
];

/// The own volunteers.
pub const ADS: &[Column] = &[
    ("VOLUNTEER", |it| key(&it["volunteer"])),
    ("FOR", |it| words(&it["shards"])),
    ("CORES", |it| number(&it["resources"]["cores"])),
    ("MEMORY", |it| bytes(&it["resources"]["memory"])),
    ("DISK", |it| bytes(&it["resources"]["disk"])),
    ("STATE", |it| match (&it["connected"], &it["waiting"]) {
        (Value::Bool(false), _) => "gone".to_owned(),
        (_, Value::Bool(true)) => "waiting".to_owned(),
        _ => "busy".to_owned(),
    }),
    ("EXPIRES", |it| time(&it["expires"])),
];

/// What is in custody.
pub const CUSTODY: &[Column] = &[
    ("STATEMENT", |it| short(&it["statement"])),
    ("KIND", |it| word(&it["kind"])),
    ("OFFER", |it| short(&it["offer"])),
    ("TASK", |it| number(&it["task"])),
    ("ORIGIN", |it| short(&it["origin"])),
    ("NEXT", |it| match &it["next"] {
        Value::String(_) => short(&it["next"]),
        _ => "no way".to_owned(),
    }),
    ("BLOBS", |it| bytes(&it["blob-bytes"])),
    ("EXPIRES", |it| time(&it["expires"])),
];

/// Who is turned away, or what was taken down.
pub const RULES: &[Column] = &[
    ("SUBJECT", |it| word(&it["subject"])),
    ("SINCE", |it| time(&it["since"])),
    ("REASON", |it| word(&it["reason"])),
];

/// Who was over a limit.
pub const LIMITED: &[Column] = &[
    ("WHO", |it| match (&it["who"]["key"], &it["who"]["address"]) {
        (Value::String(key), _) => key.clone(),
        (_, Value::String(class)) => format!("address {class}"),
        _ => "others".to_owned(),
    }),
    ("LIMIT", |it| word(&it["limit"])),
    ("TIMES", |it| number(&it["times"])),
];

/// A table of `items`: columns two spaces apart, each as wide as its widest cell.
pub fn table(columns: &[Column], items: &Value) -> String {
    let items = items.as_array().map_or(&[][..], Vec::as_slice);
    let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let row = |it: &Value| columns.iter().map(|(_, cell)| escape_line(&cell(it))).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(items.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(text, "{}", line.trim_end()).expect("a string takes all text");
    }
    text
}

/// Sums, and what keeps the broker from working.
pub fn status(status: &Value) -> String {
    let number = |name: &str| status[name].as_u64().unwrap_or_default();
    let mut text = format!("broker {}\n", word(&status["broker"]));
    for (name, value) in [
        ("connected", number("connected").to_string()),
        (
            "brokers",
            format!(
                "{} linked, {} reachable, {} known",
                number("links"),
                number("reachable"),
                number("brokers")
            ),
        ),
        ("volunteers", format!("{}, {} of them waiting", number("ads"), number("pulls"))),
        ("offers", format!("{}, {} live leases", number("known-offers"), number("leases"))),
        ("custody", format!("{} results and receipts", number("custody"))),
    ] {
        writeln!(text, "{name:<11} {value}").expect("a string takes all text");
    }
    if let Some(contact) = status["abuse-contact"].as_str() {
        writeln!(text, "{:<11} {}", "abuse", escape_line(contact))
            .expect("a string takes all text");
    }
    if status["admission"] != "open" {
        text += "it works only for whom its operator admits\n";
    }
    if status["limited"] != 0 {
        text +=
            &format!("{} were over a limit within the hour: see `limited`\n", number("limited"));
    }
    if status["leaving"] == true {
        text += "it is leaving: it takes no new work\n";
    }
    if status["disk-is-full"] == true {
        text += "the disk is nearly full: nothing new is taken\n";
    }
    text
}

/// How an offer stands, and who could run it.
pub fn explained(it: &Value) -> String {
    let mut text = format!("offer {} {}\n", word(&it["offer"]), escape_line(&word(&it["name"])));
    let home = short(&it["home"]);
    let grants = match it["grants"].as_str() {
        Some("here") => "granted here".to_owned(),
        Some("here-once-published") => {
            "this broker is the home, and waits for the master to publish the offer".to_owned()
        }
        Some("at-home") => format!("granted at {home}, which can be reached"),
        Some("out-of-reach") => {
            format!(
                "the home {home} cannot be reached: its tasks wait until it is back, or the \
                     master moves"
            )
        }
        _ => "no home of its project is known".to_owned(),
    };
    text += &format!("{grants}\n");
    if let Some(waits) = it["waits"].as_str() {
        text += &format!("{}\n", escape_line(waits));
    }
    let counts = &it["counts"];
    if counts.is_object() {
        let count = |name: &str| number(&counts[name]);
        text += &format!(
            "{} open, {} leased, {} returned, {} done, {} stopped\n",
            count("open"),
            count("leased"),
            count("returned"),
            count("done"),
            count("stopped")
        );
    }
    text + &machines(&it["machines"])
}

fn machines(machines: &Value) -> String {
    if machines.is_null() {
        return "its needs take too long to hold against the machines\n".to_owned();
    }
    let (known, matching) = (number(&machines["known"]), number(&machines["matching"]));
    let mut text = format!("{matching} of the {known} machines known here could run it\n");
    for obstacle in machines["obstacles"].as_array().into_iter().flatten().take(MAX_NEEDS) {
        let (excludes, alone) = (number(&obstacle["excludes"]), number(&obstacle["alone"]));
        let need = escape_line(&obstacle["need"].to_string());
        text += &format!("  {need}: excludes {excludes}, {alone} by itself\n");
    }
    text
}

fn key(value: &Value) -> String {
    value.as_str().unwrap_or("–").to_owned()
}

fn short(value: &Value) -> String {
    value.as_str().and_then(|key| key.get(..8)).unwrap_or("–").to_owned()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("?").to_owned()
}

fn words(value: &Value) -> String {
    let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| "–".to_owned(), |number| number.to_string())
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "–".to_owned(), format_bytes)
}

fn time(value: &Value) -> String {
    value.as_u64().map_or_else(|| "–".to_owned(), |time| Timestamp(time).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_strangers_do_not_move_the_cursor() {
        let columns: &[Column] = &[("A", |it| word(&it["a"])), ("LONG", |it| number(&it["b"]))];
        let items = json!([{ "a": "four", "b": 1 }, { "a": "\u{1b}[2J" }]);
        let text = table(columns, &items);
        assert_eq!(text, "A          LONG\nfour       1\n\\u{1b}[2J  –\n");
    }
}
