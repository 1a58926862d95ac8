//! Source cells: each a file, a folder or a glob, or what another pipeline left.

use super::Builder;
use crate::pipeline::diagnostic::{Diagnostic, Problems};
use crate::pipeline::model::Source;
use crate::pipeline::params::{Place, look_up};
use crate::pipeline::template::{Fragment, joined, parse};
use crate::pipeline::wiring::unknown_artifact;
use crate::stage::Artifact;

impl Builder<'_, '_> {
    /// Every cell of every source.
    pub(crate) fn sources(&mut self, problems: &mut Problems) -> Vec<Source> {
        let mut sources = Vec::with_capacity(self.cells.sources.iter().map(|relation| relation.cells.len()).sum());
        for (number, decl) in self.document.sources.iter().enumerate() {
            let table = &decl.table;
            let axes = &self.wiring.sources[number];
            crate::pipeline::taken::keys(decl, problems);
            let from_elsewhere = table.from.is_some() || table.artifact.is_some();
            if !from_elsewhere && table.phi.is_none() && !decl.faulty.contains("phi") {
                problems.push(
                    Diagnostic::error(decl.span.clone(), format!("source `{}` does not say `phi`", decl.name))
                        .help("add `phi = true` where it holds people's data, else `phi = false`"),
                );
            }
            let artifact = match &table.r#type {
                None => Artifact::Files,
                Some(name) => name.get_ref().parse().unwrap_or_else(|()| {
                    problems.push(unknown_artifact(name));
                    Artifact::Files
                }),
            };
            let Some(text) = (if from_elsewhere { &table.artifact } else { &table.path }) else {
                if !from_elsewhere && !decl.faulty.contains("path") {
                    let missing = Diagnostic::error(decl.span.clone(), format!("source `{}` has no `path`", decl.name));
                    problems.push(
                        missing.help("add `path = \"FILE, FOLDER OR GLOB\"`, or `from` and `artifact` for what another pipeline made"),
                    );
                }
                continue;
            };
            let right = self.source_text(number, text, problems);
            let fragments = parse(text.get_ref()).unwrap_or_default();
            let taken = self.wiring.taken[number].as_ref();
            for cell in self.cells.sources[number].cells.iter().filter(|_| right) {
                let path = || joined(&fragments, &|fragment| look_up(self.document, axes, cell, fragment));
                sources.push(Source {
                    name: decl.name.clone(),
                    cell: self.coordinates(axes, cell).into(),
                    path: if from_elsewhere { String::new() } else { path() },
                    span: text.span(),
                    taken: taken.and_then(|taken| taken.cells.get(cell).cloned().map(Box::new)),
                    phi: table.phi.as_ref().is_none_or(|phi| *phi.get_ref()),
                    optional: table.optional,
                    artifact: taken.map_or(artifact, |taken| taken.output.artifact),
                });
            }
            if right {
                self.one_text_each(number, text, problems);
            }
        }
        sources
    }

    /// Checks a source's path or artifact.
    fn source_text(&mut self, number: usize, text: &toml::Spanned<String>, problems: &mut Problems) -> bool {
        let mut checker = self.checker(format!("source `{}`", self.document.sources[number].name), &self.wiring.sources[number]);
        checker.loose = !self.wiring.sound_sources[number];
        let mut right = checker.string(text.get_ref(), &text.span(), Place::Path, problems);
        right &= !checker.loose;
        if text.get_ref().is_empty() {
            problems.push(Diagnostic::error(text.span(), "it is empty"));
            right = false;
        }
        self.seen(checker);
        right
    }

    /// A swept source whose path or artifact does not tell its cells apart was meant otherwise.
    fn one_text_each(&self, number: usize, text: &toml::Spanned<String>, problems: &mut Problems) {
        let what = if self.document.sources[number].table.from.is_some() { "artifact" } else { "path" };
        for axis in &self.wiring.sources[number] {
            let name = &self.document.axes[*axis].name;
            let named = parse(text.get_ref()).unwrap_or_default();
            if !named.iter().any(|(fragment, _)| matches!(fragment, Fragment::Axis { axis, .. } if axis == name)) {
                problems.push(Diagnostic::warning(text.span(), format!("the {what} is the same for every value of axis `{name}`")));
            }
        }
    }
}
