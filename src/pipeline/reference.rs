//! References: `name[.port][[selector, …]]`, or `source/path/inside`.
//!
//! Knows the grammar only; what the names mean is for `connect` and `find`.

use std::ops::Range;

/// A reference, taken apart. Ranges are bytes within the reference's own text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub name: Name,
    /// An output port.
    pub port: Option<Name>,
    /// A file or folder inside a source.
    pub inside: Option<String>,
    pub selectors: Vec<Selector>,
}

/// A name and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub text: String,
    pub at: Range<usize>,
}

/// One selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    /// None for `*`, which stands for all axes.
    pub axis: Option<Name>,
    pub choice: Choice,
    pub at: Range<usize>,
}

/// What a selector does with its axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `axis=*`: gather.
    All,
    /// `axis=value` picks, `axis=a|b` narrows.
    Values(Vec<Name>),
    /// `axis={other}` or `axis={other.field}`: pick by another axis of the stage.
    Other { axis: String, field: Option<String> },
}

/// A text that is no reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoReference {
    pub at: Range<usize>,
    pub message: String,
}

impl Reference {
    /// Takes a reference apart.
    pub(crate) fn parse(text: &str) -> Result<Self, NoReference> {
        let (head, selectors) = match text.strip_suffix(']').and_then(|rest| rest.rfind('[').map(|open| (open, rest))) {
            Some((open, rest)) => (&text[..open], selectors(&rest[open + 1..], open + 1)?),
            None => (text, Vec::new()),
        };
        if let Some((name, inside)) = head.split_once('/') {
            let name = Name::new(name, 0)?;
            let at = name.at.end + 1..head.len();
            if inside.is_empty() || inside.starts_with('/') || inside.split('/').any(|part| part == ".." || part == ".") {
                return Err(NoReference::new(at, "a path inside a source goes down only"));
            }
            return Ok(Self { name, port: None, inside: Some(inside.to_owned()), selectors });
        }
        let (name, port) = match head.split_once('.') {
            Some((name, port)) => (Name::new(name, 0)?, Some(Name::new(port, name.len() + 1)?)),
            None => (Name::new(head, 0)?, None),
        };
        Ok(Self { name, port, inside: None, selectors })
    }
}

impl Name {
    fn new(text: &str, start: usize) -> Result<Self, NoReference> {
        let at = start..start + text.len();
        match text {
            _ if is_name(text) => Ok(Self { text: text.to_owned(), at }),
            "" => Err(NoReference::new(at, "a name is missing")),
            _ => Err(NoReference::new(at, format!("`{text}` is no name: `name`, `name.port`, `name[axis=value]` or `source/file`"))),
        }
    }
}

impl NoReference {
    fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

/// `[a-z0-9_-]+`
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-')
}

fn selectors(text: &str, start: usize) -> Result<Vec<Selector>, NoReference> {
    let mut found: Vec<Selector> = Vec::new();
    let mut at = start;
    for part in text.split(',') {
        let selector = selector(part, at)?;
        let twice = found.iter().any(|one| one.axis.as_ref().map(|axis| &axis.text) == selector.axis.as_ref().map(|axis| &axis.text));
        if twice {
            return Err(NoReference::new(selector.at, "this axis is selected twice"));
        }
        at += part.len() + 1;
        found.push(selector);
    }
    Ok(found)
}

fn selector(part: &str, start: usize) -> Result<Selector, NoReference> {
    let trimmed = part.trim();
    let start = start + part.len() - part.trim_start().len();
    let at = start..start + trimmed.len();
    if trimmed == "*" {
        return Ok(Selector { axis: None, choice: Choice::All, at });
    }
    let Some((axis, value)) = trimmed.split_once('=') else {
        return Err(NoReference::new(at, "a selector is `*`, `axis=*`, `axis=value`, `axis=a|b` or `axis={other}`"));
    };
    let value_at = start + axis.len() + 1;
    let axis = Name::new(axis, start)?;
    let choice = match value {
        "*" => Choice::All,
        _ if value.starts_with('{') && value.ends_with('}') => {
            let inner = &value[1..value.len() - 1];
            let (other, field) = inner.split_once('.').map_or((inner, None), |(axis, field)| (axis, Some(field.to_owned())));
            Choice::Other { axis: Name::new(other, value_at + 1)?.text, field }
        }
        _ => {
            let mut values = Vec::new();
            let mut at = value_at;
            for one in value.split('|') {
                if one.is_empty() || one == "*" {
                    return Err(NoReference::new(at..at + one.len(), "a value is missing"));
                }
                values.push(Name { text: one.to_owned(), at: at..at + one.len() });
                at += one.len() + 1;
            }
            Choice::Values(values)
        }
    };
    Ok(Selector { axis: Some(axis), choice, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match Reference::parse(text) {
            Err(error) => format!("{:?} {}", error.at, error.message),
            Ok(reference) => {
                let selectors: Vec<String> = reference
                    .selectors
                    .iter()
                    .map(|selector| {
                        let axis = selector.axis.as_ref().map_or("", |axis| &axis.text);
                        match &selector.choice {
                            Choice::All => format!("{axis}:all"),
                            Choice::Values(values) => {
                                format!("{axis}:{}", values.iter().map(|value| value.text.as_str()).collect::<Vec<_>>().join("/"))
                            }
                            Choice::Other { axis: other, field } => format!("{axis}:by {other} {field:?}"),
                        }
                    })
                    .collect();
                format!("{} {:?} {:?} {selectors:?}", reference.name.text, reference.port.map(|port| port.text), reference.inside)
            }
        }
    }

    #[test]
    fn references_are_taken_apart() {
        assert_eq!(show("pack"), r#"pack None None []"#);
        assert_eq!(show("train.model[backbone=*, seed=1|2]"), r#"train Some("model") None ["backbone:all", "seed:1/2"]"#);
        assert_eq!(show("test[*]"), r#"test None None [":all"]"#);
        assert_eq!(show("pack.test[region={other}]"), r#"pack Some("test") None ["region:by other None"]"#);
        assert_eq!(show("nih/a b/labels.csv"), r#"nih None Some("a b/labels.csv") []"#);
        assert_eq!(show("lr[lr=0.0001]"), r#"lr None None ["lr:0.0001"]"#);
    }

    #[test]
    fn what_is_no_reference_says_where() {
        assert!(show("Pack").starts_with("0..4 `Pack` is no name"));
        assert!(show("a.").starts_with("2..2 a name is missing"));
        assert!(show("a[seed]").starts_with("2..6 a selector is"));
        assert!(show("a[seed=1,seed=2]").starts_with("9..15 this axis is selected twice"));
        assert!(show("a[seed=1|]").starts_with("9..9 a value is missing"));
        assert!(show("a/../b").starts_with("2..6 a path inside"));
    }
}
