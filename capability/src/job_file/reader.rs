//! Reading TOML so that every error can say where it is and what would be right.
//!
//! The tables are walked by hand rather than through serde's derive, because what people need to
//! know, the place and the field of a wrong value and the fields that there are, does not survive
//! that way.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use super::{JobFileError, Problem};
use crate::facts::shortened;
use crate::vocabulary;

/// A table whose fields are taken out one by one.
pub(super) struct Section<'t> {
    text: &'t str,
    path: String,
    span: Range<usize>,
    fields: BTreeMap<String, Field<'t>>,
}

/// A value, and where it stands.
pub(super) struct Field<'t> {
    text: &'t str,
    path: String,
    key: Range<usize>,
    span: Range<usize>,
    value: DeValue<'t>,
}

impl<'t> Section<'t> {
    /// Reads the whole document, which has none but `known` fields.
    pub(super) fn root(text: &'t str, known: &[&str]) -> Result<Self, JobFileError> {
        Self::document(text)?.only(known)
    }

    /// Reads the whole document, whatever fields it has.
    pub(super) fn document(text: &'t str) -> Result<Self, JobFileError> {
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            located(text, at, "", Problem::Syntax(error.message().to_owned()))
        })?;
        Ok(Self::open(text, String::new(), 0..0, table.into_inner()))
    }

    fn open(text: &'t str, path: String, span: Range<usize>, table: DeTable<'t>) -> Self {
        let fields = table.into_iter().map(|(key, value)| {
            let (key_span, name) = (key.span(), key.into_inner().into_owned());
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let span = value.span();
            let field = Field { text, path, key: key_span, span, value: value.into_inner() };
            (name, field)
        });
        let fields = fields.collect();
        Self { text, path, span, fields }
    }

    /// Refuses fields that are not among `known`; the first one of the text is named.
    fn only(self, known: &[&str]) -> Result<Self, JobFileError> {
        let unknown = self.fields.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        match unknown.min_by_key(|(_, field)| field.key.start) {
            None => Ok(self),
            Some((name, field)) => Err(field.error_at_key(Problem::UnknownField {
                name: shortened(name),
                nearest: nearest(name, known),
                known: known.join(", "),
            })),
        }
    }

    /// Takes the field `name` out, if it is there.
    pub(super) fn take(&mut self, name: &str) -> Option<Field<'t>> {
        self.fields.remove(name)
    }

    /// Takes the field `name` out.
    pub(super) fn require(
        &mut self,
        name: &str,
        example: &'static str,
    ) -> Result<Field<'t>, JobFileError> {
        self.take(name).ok_or_else(|| {
            let path = self.path_of(name);
            located(
                self.text,
                self.span.start,
                &path,
                Problem::MissingField { field: path.clone(), example },
            )
        })
    }

    /// Takes the field `name` out and gives it to `parse`, or has `default` in its place.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        default: T,
        parse: impl FnOnce(Field<'t>) -> Result<T, JobFileError>,
    ) -> Result<T, JobFileError> {
        self.take(name).map_or(Ok(default), parse)
    }

    /// Takes the table `name` out; an empty one if it is not there.
    pub(super) fn section(&mut self, name: &str, known: &[&str]) -> Result<Self, JobFileError> {
        match self.take(name) {
            Some(field) => field.section(known),
            None => Ok(Self {
                text: self.text,
                path: self.path_of(name),
                span: 0..0,
                fields: BTreeMap::new(),
            }),
        }
    }

    /// A place to blame for the whole.
    pub(super) fn place(&self) -> Place<'t> {
        Place { text: self.text, path: self.path.clone(), start: self.span.start }
    }

    /// What is left, by name.
    pub(super) fn into_fields(self) -> impl Iterator<Item = (String, Field<'t>)> {
        self.fields.into_iter()
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

impl<'t> Field<'t> {
    pub(super) fn string(self) -> Result<String, JobFileError> {
        match self.value {
            DeValue::String(text) => Ok(text.into_owned()),
            _ => Err(self.wrong_type("text in quotes")),
        }
    }

    pub(super) fn is_string(&self) -> bool {
        self.value.is_str()
    }

    pub(super) fn is_text(&self, text: &str) -> bool {
        self.value.as_str() == Some(text)
    }

    pub(super) fn is_boolean(&self) -> bool {
        self.value.is_bool()
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// One of `words`.
    pub(super) fn one_of(self, words: &Words<'_>) -> Result<String, JobFileError> {
        let DeValue::String(word) = &self.value else {
            return Err(self.wrong_type("text in quotes"));
        };
        if words.known.contains(&word.as_ref()) {
            return Ok(word.clone().into_owned());
        }
        Err(self.error(Problem::UnknownValue {
            field: self.path.clone(),
            value: shortened(word),
            nearest: words.meant_by(word),
            known: words.known.join(", "),
        }))
    }

    pub(super) fn boolean(self) -> Result<bool, JobFileError> {
        match self.value {
            DeValue::Boolean(flag) => Ok(flag),
            _ => Err(self.wrong_type("true or false")),
        }
    }

    /// A whole number of `1..=max`.
    pub(super) fn count(self, max: u32) -> Result<u32, JobFileError> {
        self.whole(1..=max)
    }

    /// A whole number of `range`.
    pub(super) fn whole(self, range: RangeInclusive<u32>) -> Result<u32, JobFileError> {
        let DeValue::Integer(number) = &self.value else {
            return Err(self.wrong_type("a whole number"));
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(count) if range.contains(&count) => Ok(count),
            _ => {
                let (least, most) = range.into_inner();
                Err(self.refuse(format_args!("{number} is not between {least} and {most}")))
            }
        }
    }

    /// Text that `parse` understands.
    pub(super) fn parse<T, E: Display>(
        self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, JobFileError> {
        match &self.value {
            DeValue::String(text) => parse(text).map_err(|error| self.refuse(error)),
            _ => Err(self.wrong_type("text in quotes")),
        }
    }

    /// Like [`Field::parse`]; a whole number is taken as the text that it was written as.
    pub(super) fn parse_amount<T, E: Display>(
        self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, JobFileError> {
        match &self.value {
            DeValue::Integer(number) if number.radix() == 10 => {
                parse(number.as_str()).map_err(|error| self.refuse(error))
            }
            DeValue::String(text) => parse(text).map_err(|error| self.refuse(error)),
            _ => Err(self.wrong_type("an amount such as \"512 MiB\"")),
        }
    }

    /// The elements of an array.
    pub(super) fn elements(self) -> Result<Vec<Self>, JobFileError> {
        let DeValue::Array(array) = self.value else {
            return Err(self.wrong_type("an array in brackets"));
        };
        let elements = array.into_iter().enumerate().map(|(index, element)| Self {
            text: self.text,
            path: format!("{}[{index}]", self.path),
            key: element.span(),
            span: element.span(),
            value: element.into_inner(),
        });
        Ok(elements.collect())
    }

    /// A table with none but `known` fields.
    pub(super) fn section(self, known: &[&str]) -> Result<Section<'t>, JobFileError> {
        self.table()?.only(known)
    }

    /// A table with any fields.
    pub(super) fn table(self) -> Result<Section<'t>, JobFileError> {
        match self.value {
            DeValue::Table(table) => Ok(Section::open(self.text, self.path, self.span, table)),
            _ => Err(self.wrong_type("a table")),
        }
    }

    /// The value is not usable, for this reason.
    pub(super) fn refuse(&self, reason: impl Display) -> JobFileError {
        self.error(Problem::Value { field: self.path.clone(), reason: reason.to_string() })
    }

    pub(super) fn wrong_type(&self, expected: &'static str) -> JobFileError {
        let found = self.value.type_str();
        self.error(Problem::WrongType { field: self.path.clone(), expected, found })
    }

    /// A place to blame after the value itself has been taken.
    pub(super) fn place(&self) -> Place<'t> {
        Place { text: self.text, path: self.path.clone(), start: self.span.start }
    }

    /// A place to blame the name of the field rather than its value.
    pub(super) fn key_place(&self) -> Place<'t> {
        Place { text: self.text, path: self.path.clone(), start: self.key.start }
    }

    fn error(&self, problem: Problem) -> JobFileError {
        located(self.text, self.span.start, &self.path, problem)
    }

    fn error_at_key(&self, problem: Problem) -> JobFileError {
        located(self.text, self.key.start, &self.path, problem)
    }
}

/// Where in the text a field is.
pub(super) struct Place<'t> {
    text: &'t str,
    path: String,
    start: usize,
}

impl Place<'_> {
    /// What stands here is not usable, for this reason.
    pub(super) fn refuse(&self, reason: impl Display) -> JobFileError {
        let problem = Problem::Value { field: self.path.clone(), reason: reason.to_string() };
        located(self.text, self.start, &self.path, problem)
    }
}

/// The words that a value can be, and what others call the same.
pub(super) struct Words<'w> {
    pub(super) known: &'w [&'w str],
    pub(super) aliases: &'w [(&'w str, &'w str)],
}

impl Words<'_> {
    fn meant_by(&self, word: &str) -> Option<String> {
        let alias = self.aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(word));
        alias.map(|(_, word)| (*word).to_owned()).or_else(|| nearest(word, self.known))
    }
}

fn located(text: &str, at: usize, field: &str, problem: Problem) -> JobFileError {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    JobFileError {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        field: field.to_owned(),
        problem: Box::new(problem),
    }
}

fn nearest(word: &str, known: &[&str]) -> Option<String> {
    vocabulary::nearest(word, known.iter().copied()).map(str::to_owned)
}
