//! Selectors: what they do with the axes of what is referred to.

use super::{Selection, Wirer};
use crate::pipeline::diagnostic::Diagnostic;
use crate::pipeline::document::ReferenceDecl;
use crate::pipeline::overlay::is_value;
use crate::pipeline::reference::{Choice, Name};
use crate::pipeline::values::inside;
use std::collections::BTreeSet;

impl Wirer<'_, '_> {
    pub(super) fn selection(&mut self, decl: &ReferenceDecl, axes: &[usize]) -> Option<Selection> {
        let mut selection = Selection::default();
        let mut ended: BTreeSet<usize> = BTreeSet::new();
        for selector in &decl.reference.selectors {
            let span = inside(self.text, &decl.span, &decl.text, &selector.at);
            let Some(name) = &selector.axis else {
                let named: BTreeSet<usize> =
                    decl.reference.selectors.iter().filter_map(|one| self.axis(&one.axis.as_ref()?.text)).collect();
                let all: Vec<usize> = axes.iter().copied().filter(|axis| !named.contains(axis)).collect();
                ended.extend(&all);
                selection.gathered.extend(all);
                continue;
            };
            let axis = self.selected_axis(decl, name, axes)?;
            match &selector.choice {
                Choice::All => {
                    selection.gathered.push(axis);
                    ended.insert(axis);
                }
                Choice::Values(names) => {
                    let values = self.values(decl, axis, names)?;
                    if values.len() == 1 {
                        ended.insert(axis);
                    }
                    selection.fixed.push((axis, values));
                }
                Choice::Other { axis: other, field } => {
                    let Some(other) = self.axis(other) else {
                        self.unknown_axis(span, other);
                        return None;
                    };
                    let lacks = |field: &String| self.document.axes[other].values.iter().any(|value| !value.fields.contains_key(field));
                    if let Some(field) = field.as_ref().filter(|field| lacks(field)) {
                        let name = &self.document.axes[other].name;
                        self.problems.push(Diagnostic::error(span, format!("not every value of axis `{name}` has a field `{field}`")));
                        return None;
                    }
                    selection.by.push((axis, other, field.clone()));
                    ended.insert(axis);
                }
            }
        }
        selection.gathered.sort_unstable();
        selection.flow = axes.iter().copied().filter(|axis| !ended.contains(axis)).collect();
        Some(selection)
    }

    fn selected_axis(&mut self, decl: &ReferenceDecl, name: &Name, axes: &[usize]) -> Option<usize> {
        let found = self.axis(&name.text).filter(|axis| axes.contains(axis));
        if found.is_none() {
            let span = inside(self.text, &decl.span, &decl.text, &name.at);
            let message = format!("`{}` has no axis `{}`", decl.reference.name.text, name.text);
            let known = self.axis_names(axes);
            let diagnostic = Diagnostic::error(span, message);
            self.problems.push(match known.is_empty() {
                true => diagnostic.help("it is the same for every cell: leave the selector out"),
                false => diagnostic.suggest(&name.text, known),
            });
        }
        found
    }

    fn values(&mut self, decl: &ReferenceDecl, axis: usize, names: &[Name]) -> Option<Vec<u32>> {
        let values = &self.document.axes[axis].values;
        let mut found = BTreeSet::new();
        for name in names {
            match values.iter().position(|value| is_value(&value.value, &name.text)) {
                Some(value) => found.insert(value as u32),
                None => {
                    let span = inside(self.text, &decl.span, &decl.text, &name.at);
                    let known: Vec<String> = values.iter().map(|value| value.value.to_string()).collect();
                    let message = format!("axis `{}` has no value `{}`", self.document.axes[axis].name, name.text);
                    self.problems.push(Diagnostic::error(span, message).suggest(&name.text, known.iter().map(String::as_str)));
                    return None;
                }
            };
        }
        Some(found.into_iter().collect())
    }
}
