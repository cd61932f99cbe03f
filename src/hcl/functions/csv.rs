//! `csvdecode`: a table as RFC 4180 has it, whose first row names the columns, as a list of objects.

use std::collections::BTreeMap;

use super::{Answer, Arguments, Failure, Function, Parameter};
use crate::hcl::Value;

pub const FUNCTIONS: &[Function] = &[Function {
    name: "csvdecode",
    parameters: &[Parameter::Text],
    rest: None,
    moves_only: false,
    body: decode,
}];

fn decode(args: &Arguments<'_>) -> Answer {
    args.room(args.text(0).len())?;
    let mut reader = Reader { rest: args.text(0), line: 1 };
    let Some(header) = reader.row()? else {
        return Err(Failure::at(0, "has no first row that names the columns"));
    };
    let mut sorted = header.clone();
    sorted.sort_unstable();
    if sorted.array_windows().any(|[left, right]| left == right) {
        return Err(Failure::at(0, "names a column twice in its first row"));
    }
    let names: usize = header.iter().map(|name| name.len() + 16).sum();
    let mut rows = Vec::new();
    loop {
        let line = reader.line;
        let Some(row) = reader.row()? else { break };
        if row.len() != header.len() {
            let message = format!("has {} fields in line {line}, but {} columns", row.len(), header.len());
            return Err(Failure::at(0, message));
        }
        // Each row has the names again.
        args.room(names)?;
        let members: BTreeMap<String, Value> =
            header.iter().cloned().zip(row.into_iter().map(Value::from)).collect();
        rows.push(Value::object(members));
    }
    Ok(Value::list(rows))
}

struct Reader<'a> {
    /// What is not read yet.
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    /// The next row that is not empty.
    fn row(&mut self) -> Result<Option<Vec<String>>, Failure> {
        while self.line_ends() {}
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut row = Vec::new();
        loop {
            row.push(self.field()?);
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
            } else if self.rest.is_empty() || self.line_ends() {
                return Ok(Some(row));
            } else {
                return Err(self.wrong("something after a closing quote"));
            }
        }
    }

    /// Takes the end of a line if it is what comes next. The last line may end in a return alone.
    fn line_ends(&mut self) -> bool {
        let ends = ["\r\n", "\n"].into_iter().find_map(|end| self.rest.strip_prefix(end));
        let Some(rest) = ends.or_else(|| (self.rest == "\r").then_some("")) else {
            return false;
        };
        self.rest = rest;
        self.line += 1;
        true
    }

    fn field(&mut self) -> Result<String, Failure> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
            let (mut field, after) = self.rest.split_at(end);
            if field.contains('"') {
                return Err(self.wrong("a quote within a field that does not begin with one"));
            }
            if !after.starts_with(',') {
                field = field.strip_suffix('\r').unwrap_or(field);
            }
            self.rest = self.rest.get(field.len()..).unwrap_or_default();
            return Ok(field.to_owned());
        };
        let mut field = String::new();
        self.rest = quoted;
        loop {
            let Some((before, after)) = self.rest.split_once('"') else {
                return Err(self.wrong("a quote that is not closed"));
            };
            self.line += before.matches('\n').count();
            field.push_str(before);
            self.rest = after;
            match after.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
                    self.rest = after;
                }
                // Line ends within quotes are one character each, as Go reads them.
                None => return Ok(field.replace("\r\n", "\n")),
            }
        }
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::at(0, format!("is no CSV: there is {what} in line {}", self.line))
    }
}

#[cfg(test)]
mod tests {
    use crate::hcl::testing::shown;

    #[test]
    fn rows_become_objects() {
        for (text, expected) in [
            (r"a,b\n1,2\n3,4\n", r#"[{"a":"1","b":"2"},{"a":"3","b":"4"}]"#),
            (r"a,b\r\n1,2\r\n", r#"[{"a":"1","b":"2"}]"#),
            (r"a,b\n1,2", r#"[{"a":"1","b":"2"}]"#),
            (r"a\n1\r", r#"[{"a":"1"}]"#),
            (r#"a\n\"1\"\r"#, r#"[{"a":"1"}]"#),
            (r"a\n1\r2\n", "[{\"a\":\"1\\r2\"}]"),
            (r"a,b\n,\n", r#"[{"a":"","b":""}]"#),
            (r"a,b", "[]"),
            (r"\n\na\n\n1\n\n", r#"[{"a":"1"}]"#),
            (r#"a,b\n\"x,y\",\"say \"\"hi\"\"\"\n"#, r#"[{"a":"x,y","b":"say \"hi\""}]"#),
            (r#"a\n\"two\r\nlines\"\n"#, r#"[{"a":"two\nlines"}]"#),
            (r#"a,b\n\"\",é\n"#, r#"[{"a":"","b":"é"}]"#),
            (r"a\n x \n", r#"[{"a":" x "}]"#),
        ] {
            assert_eq!(shown(&format!("csvdecode(\"{text}\")")), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (text, expected) in [
            ("", "has no first row that names the columns"),
            (r"\n\n", "has no first row that names the columns"),
            (r"a,b,a\n1,2,3", "names a column twice in its first row"),
            (r"a,b\n1,2\n3\n", "has 1 fields in line 3, but 2 columns"),
            (r"a,b\n1,2,3\n", "has 3 fields in line 2, but 2 columns"),
            (r#"a\n\"x\n"#, "is no CSV: there is a quote that is not closed in line 2"),
            (r#"a\n\"x\"y\n"#, "is no CSV: there is something after a closing quote in line 2"),
            (
                r#"a\nx\"y\n"#,
                "is no CSV: there is a quote within a field that does not begin with one in line 2",
            ),
        ] {
            let expected = format!("error: argument 1 of `csvdecode` {expected}");
            assert_eq!(shown(&format!("csvdecode(\"{text}\")")), expected, "{text}");
        }
    }
}
