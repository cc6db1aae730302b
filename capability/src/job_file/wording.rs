//! Needs as a job file says them: the way back from what was read.

use crate::explanation::Need;
use crate::facts::{Fact, FactName};
use crate::quantity::{format_bytes, parse_bytes};
use crate::requirements::{Clause, Resource};
use crate::vocabulary::{FactKind, fact_kind, misspelt_tool};

impl Need {
    /// What a job file says that needs this, as a line of its own.
    pub fn in_job_file(&self) -> String {
        match self {
            Self::Runtimes(runtimes) => {
                let runtimes = runtimes.iter().map(|runtime| quoted(&runtime.to_string()));
                format!("requirements.runtimes = {}", array(runtimes))
            }
            Self::Clause(clause) => clause.in_job_file(),
        }
    }
}

impl Clause {
    /// What a job file says that requires this, as a line of its own.
    ///
    /// What was read from a job file is read from the line again. A clause that no job file can say
    /// is shown in as similar a way as there is.
    ///
    /// ```
    /// use capability::{Clause, Resource};
    ///
    /// let cmake = Clause::Version { fact: "tool.cmake".parse()?, range: ">=3.22".parse()? };
    /// assert_eq!(cmake.in_job_file(), "requirements.tools.cmake = \">=3.22\"");
    /// let memory = Clause::Donates { resource: Resource::Memory, amount: 2 << 30 };
    /// let either = Clause::Any(vec![cmake, memory]);
    /// assert_eq!(
    ///     either.in_job_file(),
    ///     "requirements.any = [{ tools.cmake = \">=3.22\" }, { memory = \"2 GiB\" }]"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_job_file(&self) -> String {
        let Field { key, value } = Field::of(self);
        // Disk is no requirement of its own there.
        let table = if key.starts_with("limits.") { "" } else { "requirements." };
        format!("{table}{key} = {value}")
    }
}

/// A field of a table, in TOML.
struct Field {
    key: String,
    value: String,
}

impl Field {
    fn of(clause: &Clause) -> Self {
        match clause {
            Clause::Equals { fact, value: Fact::Text(text) } if is_field(fact) => {
                Self::new(fact.as_str(), quoted(text))
            }
            Clause::Includes { fact, words } if fact.as_str() == "cpu.features" => {
                Self::new("cpu", array(words.iter().map(|word| quoted(word))))
            }
            Clause::Donates { resource, amount } => match resource {
                Resource::Cores => Self::new("cores", amount.to_string()),
                Resource::Memory => Self::new("memory", bytes(*amount)),
                Resource::Disk => Self::new("limits.disk", bytes(*amount)),
            },
            Clause::All(clauses) => range(clauses)
                .unwrap_or_else(|| Self::new("all", array([group(clauses)].into_iter()))),
            Clause::Any(clauses) => {
                let groups = clauses.iter().map(|clause| group(std::slice::from_ref(clause)));
                Self::new("any", array(groups))
            }
            Clause::Not(clause) => {
                let inner = group(std::slice::from_ref(&**clause));
                Self::new("not", array([inner].into_iter()))
            }
            Clause::Absent { fact } => {
                let present = group(&[Clause::Present { fact: fact.clone() }]);
                Self::new("not", array([present].into_iter()))
            }
            Clause::Unknown { kind } => Self::new("unknown", quoted(kind)),
            about_a_fact => Self::about(about_a_fact),
        }
    }

    fn new(key: &str, value: String) -> Self {
        Self { key: key.to_owned(), value }
    }

    /// A clause that the tables `tools` and `facts` can hold.
    fn about(clause: &Clause) -> Self {
        let fact = clause.fact().expect("all other clauses are about a fact");
        let value = match clause {
            Clause::Equals { value, .. } => shown(value),
            Clause::OneOf { values, .. } => array(values.iter().map(shown)),
            Clause::Includes { words, .. } => array(words.iter().map(|word| quoted(word))),
            Clause::AtLeast { amount, .. } => {
                format!("{{ at-least = {} }}", quantity(fact, *amount))
            }
            Clause::AtMost { amount, .. } => {
                format!("{{ at-most = {} }}", quantity(fact, *amount))
            }
            Clause::Version { range, .. } => quoted(&range.to_string()),
            _ => quoted("*"),
        };
        let tool = fact.as_str().strip_prefix("tool.");
        let versions = matches!(clause, Clause::Version { .. } | Clause::Present { .. });
        // What looks like a slip is refused among the tools.
        let key = match tool.filter(|tool| versions && misspelt_tool(tool).is_none()) {
            Some(tool) => format!("tools.{}", key(tool)),
            None => format!("facts.{}", key(fact.as_str())),
        };
        Self { key, value }
    }
}

/// Whether a fact has a field of its own.
fn is_field(fact: &FactName) -> bool {
    ["os", "arch"].contains(&fact.as_str())
}

/// A table that requires all of `clauses`.
fn group(clauses: &[Clause]) -> String {
    let within = match clauses {
        // A table in a table would be one more level for nothing.
        [Clause::All(inner)] if range(inner).is_none() => inner,
        other => other,
    };
    let fields: Vec<_> = within.iter().map(Field::of).collect();
    let twice = |(index, field): (usize, &Field)| {
        fields[..index].iter().any(|earlier| earlier.key == field.key)
    };
    let fields: Vec<_> = if fields.iter().enumerate().any(twice) {
        // A table has each field once, and `all` as many tables as are needed.
        let each = within.iter().map(|clause| group(std::slice::from_ref(clause)));
        vec![Field::new("all", array(each))]
    } else {
        fields
    };
    let lines = fields.iter().map(|Field { key, value }| format!("{key} = {value}"));
    format!("{{ {} }}", listed(lines))
}

/// Both bounds of one fact, which are one field.
fn range(clauses: &[Clause]) -> Option<Field> {
    let [Clause::AtLeast { fact, amount: low }, Clause::AtMost { fact: same, amount: high }] =
        clauses
    else {
        return None;
    };
    let (low, high) = (quantity(fact, *low), quantity(fact, *high));
    (fact == same).then(|| {
        let value = format!("{{ at-least = {low}, at-most = {high} }}");
        Field { key: format!("facts.{}", key(fact.as_str())), value }
    })
}

fn shown(fact: &Fact) -> String {
    match fact {
        Fact::Text(text) => quoted(text),
        Fact::Flag(flag) => flag.to_string(),
        Fact::Set(words) => array(words.iter().map(|word| quoted(word))),
        Fact::Number(number) => number.to_string(),
        Fact::Unknown => quoted(&fact.to_string()),
    }
}

fn quantity(fact: &FactName, amount: u64) -> String {
    match fact_kind(fact.as_str()) {
        Some(FactKind::Bytes) => bytes(amount),
        Some(FactKind::Seconds) => quoted(&format!("{amount}s")),
        _ => amount.to_string(),
    }
}

/// An amount with a unit, where that is as exact.
fn bytes(amount: u64) -> String {
    let text = format_bytes(amount);
    if parse_bytes(&text) == Ok(amount) { quoted(&text) } else { amount.to_string() }
}

fn array(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", listed(values))
}

fn listed(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<_>>().join(", ")
}

/// A key, in quotes where it needs them.
fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.bytes().all(bare) { name.to_owned() } else { quoted(name) }
}

/// A text without control characters, which texts of statements have none of.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
