//! Reads options from a template's objects with Packer's weak typing (a number where a text is wanted, a text with
//! commas where a list is wanted), renders the templates in them, and notes everything that is wrong with its place.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use crate::{
    domain::{Capability, duration},
    template::{
        context::ContextFolder,
        envelope::shorten,
        json::{
            pointer_token,
            reader::{Kind, Member, Node},
        },
        render::{Renderer, Scope},
        suggest::{did_you_mean, or_did_you_mean},
    },
};

use super::Treatment;

/// Something wrong in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// JSON pointer in the template.
    pub pointer: String,
    /// Byte offset in the template's text.
    pub at: u32,
    /// What is wrong, and what would be right.
    pub detail: String,
    /// It is right, but fournil does not do it yet.
    pub is_not_yet: bool,
}

/// What is noted while a template is read.
#[derive(Debug, Default)]
pub struct Findings {
    wrong: RefCell<Vec<Wrong>>,
    notices: RefCell<Vec<String>>,
}

impl Findings {
    /// Notes something wrong, once.
    pub fn wrong(&self, pointer: &str, at: u32, detail: impl Into<String>) {
        self.add(Wrong { pointer: pointer.to_owned(), at, detail: detail.into(), is_not_yet: false });
    }

    /// Notes something that is not done yet.
    pub fn not_yet(&self, pointer: &str, at: u32, detail: impl Into<String>) {
        self.add(Wrong { pointer: pointer.to_owned(), at, detail: detail.into(), is_not_yet: true });
    }

    fn add(&self, wrong: Wrong) {
        // A provisioner is read once for each build; its errors are the same. Far more are kept than are shown.
        let mut list = self.wrong.borrow_mut();
        if list.len() < 1000 && !list.contains(&wrong) {
            list.push(wrong);
        }
    }

    /// Notes something that the user should know, once.
    pub fn notice(&self, notice: impl Into<String>) {
        let notice = notice.into();
        let mut list = self.notices.borrow_mut();
        if list.len() < 200 && !list.contains(&notice) {
            list.push(notice);
        }
    }

    /// How much is wrong so far.
    pub fn count(&self) -> usize {
        self.wrong.borrow().len()
    }

    /// Everything that was noted.
    pub fn into_parts(self) -> (Vec<Wrong>, Vec<String>) {
        (self.wrong.into_inner(), self.notices.into_inner())
    }
}

/// What all options of a run are read with.
pub struct Reading<'a> {
    /// What is wrong.
    pub findings: &'a Findings,
    /// Renders the texts.
    pub renderer: &'a Renderer,
    /// The uploaded folder.
    pub folder: Option<&'a ContextFolder>,
    /// What templates may make the workers' hosts do.
    pub allowed: &'a BTreeSet<Capability>,
    /// Texts that must not appear in logs.
    pub secrets: &'a RefCell<Vec<String>>,
}

impl Reading<'_> {
    /// Keeps a text out of the logs, and each line of it that says something.
    pub fn keep_secret(&self, text: &str) {
        let mut secrets = self.secrets.borrow_mut();
        let lines = text.lines().map(str::trim).filter(|line| line.len() >= 4 && !line.starts_with("-----"));
        for part in std::iter::once(text).chain(lines) {
            if !part.trim().is_empty() && !secrets.iter().any(|known| known == part) {
                secrets.push(part.to_owned());
            }
        }
    }
}

/// An object whose members are options. A second layer (`override`) goes before the first.
pub struct Fields<'a> {
    /// What they are read with.
    pub reading: &'a Reading<'a>,
    layers: Vec<Layer<'a>>,
    asked: RefCell<Vec<&'static str>>,
    late: Cell<Option<Scope>>,
}

#[derive(Clone)]
struct Layer<'a> {
    members: &'a [Member],
    pointer: String,
    at: u32,
    /// What is in it is not known yet.
    is_unknown: bool,
}

/// A member that was found.
struct Found<'a> {
    node: &'a Node,
    pointer: String,
}

impl<'a> Fields<'a> {
    /// The members of an object. Anything else is wrong, and read as if it were empty.
    pub fn new(reading: &'a Reading<'a>, node: &'a Node, pointer: String) -> Self {
        let is_unknown = matches!(node.kind, Kind::Unknown);
        let members = node.members().unwrap_or_else(|| {
            if is_unknown {
                return &[];
            }
            reading.findings.wrong(&pointer, node.at, format!("must be an object, not {}", node.kind_name()));
            &[]
        });
        Self {
            reading,
            layers: vec![Layer { members, pointer, at: node.at, is_unknown }],
            asked: RefCell::default(),
            late: Cell::new(None),
        }
    }

    /// Puts another object before: what it has wins.
    pub fn overlay(&mut self, node: &'a Node, pointer: String) {
        let over = Self::new(self.reading, node, pointer);
        self.layers.splice(0..0, over.layers);
    }

    fn find(&self, name: &'static str) -> Option<Found<'a>> {
        if !self.asked.borrow().contains(&name) {
            self.asked.borrow_mut().push(name);
        }
        self.layers.iter().find_map(|layer| {
            let member = layer.members.iter().find(|member| member.name == name)?;
            let is_given = !matches!(member.value.kind, Kind::Null);
            is_given.then(|| Found {
                node: &member.value,
                pointer: format!("{}/{}", layer.pointer, pointer_token(name)),
            })
        })
    }

    /// Whether the option is there and not `null`.
    pub fn has(&self, name: &'static str) -> bool {
        self.find(name).is_some()
    }

    /// Something is wrong with this option, or with its absence. Nothing is wrong with a value that is not known yet.
    pub fn fail(&self, name: &'static str, detail: impl Into<String>) {
        let is_open = |layer: &Layer<'_>| layer.is_unknown;
        match self.find(name) {
            Some(found) if holds_unknown(found.node) => {}
            None if self.layers.iter().any(is_open) => {}
            Some(found) => self.reading.findings.wrong(&found.pointer, found.node.at, detail),
            None => {
                let last = self.layers.len() - 1;
                self.reading.findings.wrong(&self.layers[last].pointer, self.layers[last].at, detail);
            }
        }
    }

    /// This option is right, but its value is not done yet.
    pub fn fail_not_yet(&self, name: &'static str, detail: impl Into<String>) {
        if let Some(found) = self.find(name) {
            self.reading.findings.not_yet(&found.pointer, found.node.at, detail);
        }
    }

    /// A sentence for the user that begins with the place.
    pub fn notice(&self, name: &str, text: &str) {
        self.reading.findings.notice(format!("`{name}` {text}"));
    }

    /// A text, rendered.
    pub fn text(&self, name: &'static str) -> Option<String> {
        let found = self.find(name)?;
        self.scalar(found.node, &found.pointer)
    }

    /// A text that is not empty; Packer takes an empty text as absent.
    pub fn filled(&self, name: &'static str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// A text that must never appear in a log, nor in a message.
    pub fn secret(&self, name: &'static str) -> Option<String> {
        let text = self.filled(name)?;
        self.reading.keep_secret(&text);
        Some(text)
    }

    /// A text whose templates are rendered late.
    pub fn late_text(&self, name: &'static str, scope: Scope) -> Option<String> {
        self.late.set(Some(scope));
        let text = self.text(name);
        self.late.set(None);
        text
    }

    /// One of these words; an empty text is absent.
    pub fn word(&self, name: &'static str, words: &[&str]) -> Option<String> {
        let text = self.filled(name)?;
        if words.contains(&text.as_str()) {
            return Some(text);
        }
        let listed = format!("use one of {}", quoted(words));
        let hint = or_did_you_mean(&text, words.iter().copied(), &listed);
        self.fail(name, format!("`{name}` cannot be `{}`; {hint}", shorten(&text)));
        None
    }

    /// Yes or no.
    pub fn flag(&self, name: &'static str) -> Option<bool> {
        let found = self.find(name)?;
        match &found.node.kind {
            Kind::Bool(value) => Some(*value),
            Kind::Number(number) => Some(number.parse::<f64>().unwrap_or_default() != 0.0),
            Kind::String(_) => {
                let text = self.scalar(found.node, &found.pointer)?;
                match text.as_str() {
                    "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
                    "0" | "f" | "F" | "FALSE" | "false" | "False" | "" => Some(false),
                    other => {
                        self.fail(name, format!("`{name}` must be true or false, not `{}`", shorten(other)));
                        None
                    }
                }
            }
            Kind::Unknown => None,
            _ => {
                self.fail(name, format!("`{name}` must be true or false, not {}", found.node.kind_name()));
                None
            }
        }
    }

    /// A flag that is off when absent.
    pub fn is_on(&self, name: &'static str) -> bool {
        self.flag(name).unwrap_or_default()
    }

    /// A whole number in this range.
    pub fn whole(&self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let found = self.find(name)?;
        let text = match &found.node.kind {
            Kind::Number(_) | Kind::String(_) | Kind::Unknown => self.scalar(found.node, &found.pointer)?,
            _ => {
                self.fail(name, format!("`{name}` must be a whole number, not {}", found.node.kind_name()));
                return None;
            }
        };
        let Some(number) = whole_number(&text) else {
            self.fail(name, format!("`{name}` must be a whole number, not `{}`", shorten(&text)));
            return None;
        };
        if range.contains(&number) {
            return Some(number);
        }
        let wanted = match (*range.start(), *range.end()) {
            (least, i64::MAX) => format!("{least} or more"),
            (least, most) => format!("between {least} and {most}"),
        };
        self.fail(name, format!("`{name}` must be {wanted}, not {number}"));
        None
    }

    /// A duration as Go writes it.
    pub fn duration(&self, name: &'static str) -> Option<Duration> {
        let found = self.find(name)?;
        let (Kind::String(_) | Kind::Unknown) = found.node.kind else {
            self.fail(
                name,
                format!("`{name}` must be a duration such as `30s` or `10m`, not {}", found.node.kind_name()),
            );
            return None;
        };
        let text = self.scalar(found.node, &found.pointer)?;
        if text.is_empty() {
            return None;
        }
        match duration::parse(&text) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.fail(name, format!("`{name}`: {error}"));
                None
            }
        }
    }

    /// Like [`Fields::duration`], but a negative one means "off", as zero does.
    pub fn duration_or_off(&self, name: &'static str) -> Option<Duration> {
        match self.find(name)?.node.as_text() {
            Some(text)
                if text.trim_start().strip_prefix('-').is_some_and(|rest| duration::parse(rest).is_ok()) =>
            {
                Some(Duration::ZERO)
            }
            _ => self.duration(name),
        }
    }

    /// A list of texts; one text is cut at its commas.
    pub fn texts(&self, name: &'static str) -> Option<Vec<String>> {
        let found = self.find(name)?;
        match &found.node.kind {
            Kind::Array(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| self.scalar(item, &format!("{}/{index}", found.pointer)))
                    .collect(),
            ),
            Kind::Object(_) => {
                self.fail(name, format!("`{name}` must be a list, not an object"));
                None
            }
            _ => {
                let text = self.scalar(found.node, &found.pointer)?;
                if text.is_empty() {
                    return Some(Vec::new());
                }
                Some(text.split(',').map(str::to_owned).collect())
            }
        }
    }

    /// A list of lists of texts.
    pub fn lists(&self, name: &'static str) -> Option<Vec<Vec<String>>> {
        let found = self.find(name)?;
        let Kind::Array(rows) = &found.node.kind else {
            self.fail(name, format!("`{name}` must be a list of lists, not {}", found.node.kind_name()));
            return None;
        };
        let row = |(row, node): (usize, &Node)| {
            let Kind::Array(items) = &node.kind else {
                self.fail(name, format!("each entry of `{name}` must be a list, not {}", node.kind_name()));
                return None;
            };
            let text = |(index, item)| self.scalar(item, &format!("{}/{row}/{index}", found.pointer));
            Some(items.iter().enumerate().filter_map(text).collect())
        };
        Some(rows.iter().enumerate().filter_map(row).collect())
    }

    /// A list of texts, one per entry, whose templates are rendered late.
    pub fn late_texts(&self, name: &'static str, scope: Scope) -> Option<Vec<String>> {
        self.late.set(Some(scope));
        let texts = self.texts(name);
        self.late.set(None);
        texts
    }

    /// Names and texts.
    pub fn map(&self, name: &'static str) -> Option<BTreeMap<String, String>> {
        let found = self.find(name)?;
        let mut map = BTreeMap::new();
        let parts: Vec<(&Node, String)> = match &found.node.kind {
            Kind::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (item, format!("{}/{index}", found.pointer)))
                .collect(),
            _ => vec![(found.node, found.pointer.clone())],
        };
        for (node, pointer) in parts {
            let Some(members) = node.members() else {
                if matches!(node.kind, Kind::Unknown) {
                    continue;
                }
                self.reading.findings.wrong(
                    &pointer,
                    node.at,
                    format!("`{name}` must be an object of names and texts, not {}", node.kind_name()),
                );
                continue;
            };
            for member in members {
                let pointer = format!("{pointer}/{}", pointer_token(&member.name));
                let key = match self.late.get() {
                    Some(_) => self.render(&member.name, &pointer, member.at),
                    None => Some(member.name.clone()),
                };
                if let (Some(key), Some(value)) = (key, self.scalar(&member.value, &pointer)) {
                    map.insert(key, value);
                }
            }
        }
        Some(map)
    }

    /// Names and texts that are both rendered late.
    pub fn late_map(&self, name: &'static str, scope: Scope) -> Option<BTreeMap<String, String>> {
        self.late.set(Some(scope));
        let map = self.map(name);
        self.late.set(None);
        map
    }

    /// An object of options.
    pub fn object(&self, name: &'static str) -> Option<Fields<'a>> {
        let found = self.find(name)?;
        // Packer takes a list of one object for an object.
        if let Kind::Array(items) = &found.node.kind
            && let [only] = items.as_slice()
        {
            return Some(Fields::new(self.reading, only, format!("{}/0", found.pointer)));
        }
        Some(Fields::new(self.reading, found.node, found.pointer))
    }

    /// A list of objects of options.
    pub fn objects(&self, name: &'static str) -> Option<Vec<Fields<'a>>> {
        let found = self.find(name)?;
        match &found.node.kind {
            Kind::Array(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        Fields::new(self.reading, item, format!("{}/{index}", found.pointer))
                    })
                    .collect(),
            ),
            Kind::Object(_) | Kind::Unknown => {
                Some(vec![Fields::new(self.reading, found.node, found.pointer)])
            }
            _ => {
                self.fail(
                    name,
                    format!("`{name}` must be a list of objects, not {}", found.node.kind_name()),
                );
                None
            }
        }
    }

    /// What is there but was not asked for: unknown, without effect, or not supported yet.
    pub fn finish(&self, what: &str, treatments: &[(&'static str, Treatment)]) {
        let asked = self.asked.borrow();
        for (index, layer) in self.layers.iter().enumerate() {
            for member in layer.members {
                let name = member.name.as_str();
                let is_tolerated =
                    index + 1 == self.layers.len() && (name == "type" || name.starts_with("packer_"));
                if asked.contains(&name) || is_tolerated {
                    continue;
                }
                let pointer = format!("{}/{}", layer.pointer, pointer_token(name));
                let treatment =
                    treatments.iter().find(|(known, _)| *known == name).map(|(_, treatment)| treatment);
                let findings = self.reading.findings;
                match treatment {
                    Some(Treatment::Ignored(why)) => {
                        findings.notice(format!("`{name}` has no effect: {why}"))
                    }
                    _ if treatment.is_some() && is_neutral(&member.value) => {}
                    Some(Treatment::NotYet) => {
                        findings.not_yet(&pointer, member.at, format!("`{name}` is not supported yet"));
                    }
                    Some(Treatment::Never(why)) => {
                        findings.wrong(&pointer, member.at, format!("`{name}` is not possible here: {why}"));
                    }
                    None => {
                        let known = asked.iter().copied().chain(treatments.iter().map(|(known, _)| *known));
                        let hint = did_you_mean(name, known)
                            .map(|near| format!("; did you mean `{near}`?"))
                            .unwrap_or_default();
                        findings.wrong(
                            &pointer,
                            member.at,
                            format!("{what} has no option `{}`{hint}", shorten(name)),
                        );
                    }
                }
            }
        }
    }

    /// The names that were asked for, for tests of the table.
    #[cfg(test)]
    pub fn asked(&self) -> Vec<&'static str> {
        self.asked.borrow().clone()
    }

    /// A single value as a rendered text.
    fn scalar(&self, node: &Node, pointer: &str) -> Option<String> {
        match &node.kind {
            Kind::String(text) => self.render(text, pointer, node.at),
            Kind::Number(number) => Some(plain_number(number)),
            Kind::Bool(value) => Some(if *value { "1" } else { "0" }.to_owned()),
            Kind::Null => Some(String::new()),
            Kind::Unknown => None,
            Kind::Array(_) | Kind::Object(_) => {
                self.reading.findings.wrong(
                    pointer,
                    node.at,
                    format!("must be a text, not {}", node.kind_name()),
                );
                None
            }
        }
    }

    fn render(&self, text: &str, pointer: &str, at: u32) -> Option<String> {
        let rendered = match self.late.get() {
            None => self.reading.renderer.now(text, Scope::Option),
            Some(scope) => self.reading.renderer.later(text, scope),
        };
        rendered.map_err(|error| self.reading.findings.wrong(pointer, at, error)).ok()
    }
}

/// A number as Go prints it: without exponent, whole if it is whole.
pub fn plain_number(number: &str) -> String {
    match number.parse::<f64>() {
        Ok(value) if number.contains(['.', 'e', 'E']) && value.is_finite() && value.abs() < 1e15 => {
            value.to_string()
        }
        _ => number.to_owned(),
    }
}

fn whole_number(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.is_empty() {
        return Some(0);
    }
    text.parse().ok()
}

/// A value that says what its absence would say.
fn is_neutral(node: &Node) -> bool {
    match &node.kind {
        Kind::Null => true,
        Kind::Bool(value) => !value,
        Kind::Number(number) => number.parse::<f64>().is_ok_and(|number| number == 0.0),
        Kind::String(text) => text.is_empty() || text == "false" || text == "0",
        Kind::Array(items) => items.is_empty(),
        Kind::Object(members) => members.is_empty(),
        Kind::Unknown => false,
    }
}

/// Whether anything of it is not known yet.
pub fn holds_unknown(node: &Node) -> bool {
    match &node.kind {
        Kind::Unknown => true,
        Kind::Array(items) => items.iter().any(holds_unknown),
        Kind::Object(members) => members.iter().any(|member| holds_unknown(&member.value)),
        _ => false,
    }
}

/// `` `a`, `b` or `c` ``
pub fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
