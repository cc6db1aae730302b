//! What is looked for: the rows of `table.toml`, and those that the owner adds.

use std::collections::BTreeMap;

use capability::FactName;
use serde::{Deserialize, Serialize};

use super::exchange::{Query, Sought};
use super::reading::{self, DEFAULT_PATTERN};

/// The rows that come with the program.
const BUILT_IN: &str = include_str!("table.toml");

/// Rows that an owner may add: with the table and the facts of the system they still leave half of
/// what fits into an ad to the checks of projects.
pub const MAX_OWN: usize = 64;

/// Bytes of an owner's pattern, and of each word of a command.
const MAX_TEXT: usize = 512;

/// Words of an owner's command.
const MAX_WORDS: usize = 16;

/// All rows, by fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Table(BTreeMap<FactName, Row>);

/// One thing that may be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What kind of thing it is, in one word.
    pub group: String,
    /// The file that it depends on.
    pub sought: Sought,
    command: Vec<String>,
    pattern: String,
    /// How one comes by it.
    pub origin: Origin,
}

/// How one comes by a tool or a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A package of Debian; those of other distributions are called much alike.
    Debian(String),
    /// Whoever makes it says so here.
    Page(String),
    /// Its owner knows.
    Own,
    /// It comes with the system.
    System,
}

/// The group of the C libraries, which are told as `libc` and `libc.version`.
pub const LIBC: &str = "libc";

impl Table {
    /// The rows that come with the program.
    pub fn built_in() -> Self {
        let written: Written = toml::from_str(BUILT_IN).expect("a test reads it");
        written.table()
    }

    /// Adds the owner's tool.
    ///
    /// # Errors
    /// Why that cannot be, for people.
    pub fn add(&mut self, own: OwnTool) -> Result<(), String> {
        let OwnTool { name, command, pattern } = own;
        let fact = FactName::tool(&name).map_err(|error| error.to_string())?;
        if let Some(known) = self.0.get(&fact) {
            let who = match known.origin {
                Origin::Own => "is there twice",
                _ => "is looked for anyway; give yours another name",
            };
            return Err(format!("tool `{name}` {who}"));
        }
        let program = command.first().cloned().unwrap_or_default();
        let row = Row {
            group: "own".to_owned(),
            sought: Sought::Program(program),
            command,
            pattern,
            origin: Origin::Own,
        };
        self.0.insert(fact, row);
        Ok(())
    }

    /// The row of `fact`, and the fact itself.
    pub fn get_key_value(&self, fact: &str) -> Option<(&FactName, &Row)> {
        self.0.get_key_value(fact)
    }

    /// All rows, sorted by fact.
    pub fn iter(&self) -> impl Iterator<Item = (&FactName, &Row)> {
        self.0.iter()
    }

    /// What tells this table from any other.
    pub fn fingerprint(&self) -> String {
        let rows = serde_json::to_vec(&self.0).expect("rows are texts");
        blake3::hash(&rows).to_hex().to_string()
    }
}

impl Row {
    /// What the prober is asked for this row.
    pub fn query(&self, fact: &FactName) -> Query {
        Query {
            fact: fact.to_string(),
            sought: self.sought.clone(),
            command: self.command.clone(),
            known: None,
        }
    }

    /// The version in `answer`.
    pub fn version(&self, answer: &str) -> Option<String> {
        // Few are asked; to keep the compiled patterns of all rows would cost each start.
        let pattern = reading::pattern(&self.pattern).ok()?;
        reading::version(answer, &pattern)
    }
}

/// A tool that the owner adds in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenOwn")]
pub struct OwnTool {
    name: String,
    command: Vec<String>,
    pattern: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenOwn {
    name: String,
    command: Option<Vec<String>>,
    pattern: Option<String>,
}

impl TryFrom<WrittenOwn> for OwnTool {
    type Error = String;

    fn try_from(written: WrittenOwn) -> Result<Self, String> {
        let WrittenOwn { name, command, pattern } = written;
        FactName::tool(&name).map_err(|error| error.to_string())?;
        let command = command.unwrap_or_else(|| version_of(&name));
        let pattern = pattern.unwrap_or_else(|| DEFAULT_PATTERN.to_owned());
        check_own(&command, &pattern).map_err(|why| format!("tool `{name}`: {why}"))?;
        Ok(Self { name, command, pattern })
    }
}

fn check_own(command: &[String], pattern: &str) -> Result<(), String> {
    let program = command.first().map_or("", String::as_str);
    if program.is_empty() || command.len() > MAX_WORDS {
        return Err(format!(
            "its command has {} words, 1 to {MAX_WORDS} are allowed",
            command.len()
        ));
    }
    if program.contains('/') && !program.starts_with('/') {
        return Err(format!("{program:?} is neither a name nor an absolute path"));
    }
    let is_sound = |word: &String| word.len() <= MAX_TEXT && !word.contains(char::is_control);
    if !command.iter().all(is_sound) || pattern.len() > MAX_TEXT {
        return Err(format!("a text has control characters or over {MAX_TEXT} bytes"));
    }
    reading::pattern(pattern).map_err(|why| format!("`pattern` cannot be used: {why}"))?;
    Ok(())
}

fn version_of(program: &str) -> Vec<String> {
    vec![program.to_owned(), "--version".to_owned()]
}

// The file.

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tools: BTreeMap<String, BTreeMap<String, WrittenRow>>,
    libraries: BTreeMap<String, WrittenRow>,
    libc: BTreeMap<String, WrittenRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRow {
    command: Option<Vec<String>>,
    program: Option<String>,
    module: Option<String>,
    header: Option<String>,
    pattern: Option<String>,
    debian: Option<String>,
    get: Option<String>,
}

impl Written {
    fn table(self) -> Table {
        let tools = self.tools.into_iter().flat_map(|(group, rows)| {
            rows.into_iter().map(move |(name, row)| {
                let fact = FactName::tool(&name);
                (fact, row.tool(&name, group.clone()))
            })
        });
        let libraries = self.libraries.into_iter().map(|(name, row)| {
            let fact = format!("library.{name}").parse();
            (fact, row.library(name))
        });
        let libcs = self.libc.into_iter().map(|(name, row)| {
            let fact = format!("libc.{name}").parse();
            (fact, row.tool(&name, LIBC.to_owned()))
        });
        let rows = tools.chain(libraries).chain(libcs);
        Table(rows.map(|(fact, row)| (fact.expect("a test reads it"), row)).collect())
    }
}

impl WrittenRow {
    fn tool(self, name: &str, group: String) -> Row {
        let command = self.command.clone().unwrap_or_else(|| version_of(name));
        let program = self.program.clone().unwrap_or_else(|| command[0].clone());
        self.row(group, Sought::Program(program), command)
    }

    fn library(self, name: String) -> Row {
        let group = "library".to_owned();
        if let Some(header) = self.header.clone() {
            return self.row(group, Sought::Header(header), Vec::new());
        }
        let module = self.module.clone().unwrap_or(name);
        let command = ["pkg-config", "--modversion", &module].map(str::to_owned).to_vec();
        self.row(group, Sought::Module(module), command)
    }

    fn row(self, group: String, sought: Sought, command: Vec<String>) -> Row {
        let pattern = self.pattern.unwrap_or_else(|| DEFAULT_PATTERN.to_owned());
        let origin = match (self.debian, self.get) {
            (Some(package), _) => Origin::Debian(package),
            (None, Some(page)) => Origin::Page(page),
            (None, None) => Origin::System,
        };
        Row { group, sought, command, pattern, origin }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use capability::{LIBRARIES, TOOLS, parse_version};

    use super::*;

    /// What programs really said, and what is to be read from it.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answers {
        answer: Vec<Answer>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Answer {
        fact: String,
        output: String,
        version: String,
        /// The same as a semantic version.
        semver: String,
    }

    fn answers() -> Vec<Answer> {
        let answers: Answers = toml::from_str(include_str!("answers.toml")).expect("sound");
        answers.answer
    }

    #[test]
    fn every_row_has_a_name_a_pattern_and_an_origin() {
        let written: Written = toml::from_str(BUILT_IN).expect("a table");
        let written = written.tools.values().map(BTreeMap::len).sum::<usize>()
            + written.libraries.len()
            + written.libc.len();
        let table = Table::built_in();
        assert_eq!(table.0.len(), written, "a name is there twice");
        for (fact, row) in table.iter() {
            reading::pattern(&row.pattern).unwrap_or_else(|why| panic!("{fact}: {why}"));
            assert_eq!(row.origin == Origin::System, row.group == LIBC, "{fact}");
        }
    }

    #[test]
    fn what_is_looked_for_is_what_job_files_may_name() {
        let table = Table::built_in();
        let of = |family: &str| -> Vec<String> {
            let names = table.iter().filter_map(|(fact, _)| fact.as_str().strip_prefix(family));
            names.map(str::to_owned).collect()
        };
        assert_eq!(of("tool."), TOOLS);
        assert_eq!(of("library."), LIBRARIES);
    }

    #[test]
    fn every_row_reads_what_its_program_really_says() {
        let table = Table::built_in();
        for Answer { fact, output, version, semver } in answers() {
            let row =
                table.0.get(fact.as_str()).unwrap_or_else(|| panic!("{fact} is not in the table"));
            let pattern = reading::pattern(&row.pattern).expect("a pattern");
            let found = reading::version(&output, &pattern);
            assert_eq!(found.as_deref(), Some(version.as_str()), "{fact}: {output}");
            let read = parse_version(&version).expect("a version").to_string();
            assert_eq!(read, semver, "{fact}: {version}");
        }
    }

    #[test]
    fn every_row_has_a_real_answer() {
        let answered: BTreeSet<_> = answers().into_iter().map(|answer| answer.fact).collect();
        let table = Table::built_in();
        let silent: Vec<_> = table
            .iter()
            .map(|(fact, _)| fact.as_str())
            .filter(|it| !answered.contains(*it))
            .collect();
        assert_eq!(silent, [""; 0]);
    }

    #[test]
    fn odd_versions_are_read_as_people_mean_them() {
        let table = Table::built_in();
        let check = |fact: &str, output: &str, semver: &str| {
            let version = table.0[fact].version(output).expect(output);
            assert_eq!(parse_version(&version).expect(output).to_string(), semver, "{version}");
        };
        check("tool.java", "openjdk version \"1.8.0_382\"", "8.0.0");
        check("tool.java", "openjdk version \"22-ea\" 2024-03-19", "22.0.0");
        check("tool.javac", "javac 1.8.0_382", "8.0.0");
        check("tool.go", "go version go1.26.8 linux/amd64", "1.26.8");
        check("tool.go", "go version go1.27rc1 linux/amd64", "1.27.0");
        check("tool.pdflatex", "pdfTeX 3.14 (TeX Live 2024a)", "2024.0.0");
        check("tool.objdump", "GNU objdump (GNU Binutils) 2.47.50.20260101", "2.47.50");
        check("tool.cc", "cc (Debian 1:12.2.0-14+deb12u1) 12.2.0", "12.2.0");
        check("library.boost", "#define BOOST_LIB_VERSION \"1_87_1\"", "1.87.1");
    }

    #[test]
    fn words_that_are_no_version_are_none() {
        let table = Table::built_in();
        let check = |fact: &str, output: &str| {
            let pattern = reading::pattern(&table.0[fact].pattern);
            let found = reading::version(output, &pattern.expect("a pattern"));
            assert_eq!(found, None, "{fact}: {output}");
        };
        check("tool.cargo", "error: no default toolchain");
        check("tool.meson", "meson: not found");
        check("tool.gcc", "99999999999999999999999.0");
        check("tool.gcc", &format!("1.{}", "0".repeat(100)));
        check("tool.git", "git version \u{661}.2");
        check("tool.make", "");
    }

    #[test]
    fn an_owners_tool_is_as_good_as_any() {
        let own = |text: &str| toml::from_str::<OwnTool>(text);
        let mut table = Table::built_in();
        let before = table.fingerprint();
        table.add(own("name = \"frob\"").expect("sound")).expect("free");
        let row = &table.0["tool.frob"];
        assert_eq!(row.command, ["frob", "--version"]);
        assert_eq!(row.pattern, DEFAULT_PATTERN);
        assert_ne!(table.fingerprint(), before);

        let twice = table.add(own("name = \"frob\"").expect("sound"));
        assert_eq!(twice, Err("tool `frob` is there twice".to_owned()));
        let known = table.add(own("name = \"gcc\"").expect("sound"));
        let anyway = "tool `gcc` is looked for anyway; give yours another name";
        assert_eq!(known, Err(anyway.to_owned()));
    }

    #[test]
    fn an_owners_mistakes_are_named() {
        let check = |text: &str, expected: &str| {
            let error = toml::from_str::<OwnTool>(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("command = [\"frob\"]", "missing field `name`");
        check("name = \"Frob\"", "fact name \"tool.Frob\"");
        check("name = \"frob\"\npatern = '(1)'", "unknown field `patern`");
        check(
            "name = \"frob\"\npattern = '('",
            "tool `frob`: `pattern` cannot be used: unclosed group",
        );
        check("name = \"frob\"\npattern = 'v1'", "it has no group");
        check("name = \"frob\"\npattern = '(\\w{1000}){1000}'", "cannot be used");
        check("name = \"frob\"\ncommand = []", "has 0 words, 1 to 16");
        check("name = \"frob\"\ncommand = [\"bin/frob\"]", "neither a name nor an absolute path");
        check("name = \"frob\"\ncommand = [\"frob\", \"a\\u0000b\"]", "control characters");
    }
}
