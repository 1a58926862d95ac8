//! Whether what is referred to fits a port, and which output is meant where none is named.

use super::{OutPort, Wirer};
use crate::pipeline::diagnostic::{Diagnostic, quoted};
use crate::pipeline::document::ReferenceDecl;
use crate::pipeline::taken::TakenSource;
use crate::pipeline::values::inside;
use crate::stage::{Artifact, Count, Port, Role};

impl Wirer<'_, '_> {
    /// The output that is meant: the one named, else the main one where it fits, else the only one that fits.
    pub(super) fn output(&mut self, decl: &ReferenceDecl, outputs: &[OutPort], port: Option<&Port>) -> Option<(String, bool)> {
        let stage = &decl.reference.name.text;
        if let Some(name) = &decl.reference.port {
            let Some(output) = outputs.iter().find(|output| output.name == name.text) else {
                let span = inside(self.text, &decl.span, &decl.text, &name.at);
                let unknown = Diagnostic::error(span, format!("`{stage}` has no output `{}`", name.text));
                self.problems.push(unknown.suggest(&name.text, outputs.iter().map(|output| output.name.as_str())));
                return None;
            };
            let Some(port) = port else { return Some((output.name.clone(), false)) };
            return match fits(output, port) {
                Ok(chosen) => Some((output.name.clone(), chosen)),
                Err(misfit) => {
                    let others: Vec<String> = fitting(outputs, port).map(|(output, _)| format!("{stage}.{}", output.name)).collect();
                    self.problems.push(misfit.say(decl, &format!("{stage}.{}", output.name), output, port, &others));
                    // The axes are known all the same.
                    Some((output.name.clone(), false))
                }
            };
        }
        let Some(port) = port else { return Some((outputs[0].name.clone(), false)) };
        let main = fits(&outputs[0], port);
        if let Ok(chosen) = main {
            return Some((outputs[0].name.clone(), chosen));
        }
        let found: Vec<(&OutPort, bool)> = fitting(outputs, port).collect();
        match (found.as_slice(), main) {
            ([(output, chosen)], _) => Some((output.name.clone(), *chosen)),
            ([], Err(misfit)) => {
                self.problems.push(misfit.say(decl, stage, &outputs[0], port, &[]));
                Some((outputs[0].name.clone(), false))
            }
            _ => {
                let candidates: Vec<String> = found.iter().map(|(output, _)| format!("{stage}.{}", output.name)).collect();
                let message = format!("several outputs of `{stage}` fit port `{}`", port.name);
                self.problems.push(Diagnostic::error(decl.span.clone(), message).help(format!("say which: {}", quoted(&candidates))));
                Some((found[0].0.name.clone(), false))
            }
        }
    }

    /// Whether a source arrives at a port as a chosen list where one is taken; says so where it does not fit at all.
    pub(super) fn source_fits(&mut self, source: usize, taken: Option<&TakenSource>, decl: &ReferenceDecl, port: &Port) -> bool {
        let table = &self.document.sources[source].table;
        if table.from.is_some() && decl.reference.inside.is_none() {
            let Some(output) = taken.map(|taken| &taken.output) else { return false };
            return fits(output, port).unwrap_or_else(|misfit| {
                self.problems.push(misfit.say(decl, &decl.text, output, port, &[]));
                false
            });
        }
        let artifact = match (&table.r#type, &decl.reference.inside) {
            (_, Some(_)) | (None, None) => Artifact::Files,
            (Some(name), None) => match name.get_ref().parse() {
                Ok(artifact) => artifact,
                Err(()) => return false,
            },
        };
        let output = OutPort { name: String::new(), artifact, role: None };
        let path = decl.reference.inside.as_deref().or(table.path.as_ref().map(|path| path.get_ref().as_str())).unwrap_or_default();
        let one_file = artifact == Artifact::Files && is_one_file(path);
        let read_as = [Artifact::Table, Artifact::Cohort];
        if one_file && port.holds.iter().any(|artifact| read_as.contains(artifact)) {
            return false;
        }
        if let Err(misfit) = fits(&output, port) {
            let mut diagnostic = misfit.say(decl, &decl.text, &output, port, &[]);
            if artifact == Artifact::Files {
                let wanted = port.holds[0];
                diagnostic.help = Some(match port.holds.iter().any(|artifact| read_as.contains(artifact)) {
                    true => format!("name one file inside it, such as `{}/table.csv`", decl.reference.name.text),
                    false => format!("a folder that holds {wanted} as `tomograph export` writes it says `type = \"{wanted}\"`"),
                });
            }
            self.problems.push(diagnostic);
        }
        false
    }
}

/// Whether a path means one file: no glob, and a last part with an ending.
fn is_one_file(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    !path.contains(['*', '?', '[']) && last.rsplit_once('.').is_some_and(|(stem, ending)| !stem.is_empty() && !ending.is_empty())
}

/// Why an output does not fit a port.
enum Misfit {
    Artifact,
    Role,
}

/// Whether an output fits a port, and if so whether as a chosen list where one is taken.
fn fits(output: &OutPort, port: &Port) -> Result<bool, Misfit> {
    if port.holds.contains(&output.artifact) {
        return match output.role {
            Some(role) if !port.roles.is_empty() && !port.roles.contains(&role) => Err(Misfit::Role),
            _ => Ok(false),
        };
    }
    let chosen = output.artifact == Artifact::Models && port.holds.contains(&Artifact::Model) && port.count != Count::Many;
    if chosen { Ok(true) } else { Err(Misfit::Artifact) }
}

fn fitting<'a>(outputs: &'a [OutPort], port: &'a Port) -> impl Iterator<Item = (&'a OutPort, bool)> {
    outputs.iter().filter_map(|output| fits(output, port).ok().map(|chosen| (output, chosen)))
}

impl Misfit {
    fn say(&self, decl: &ReferenceDecl, shown: &str, output: &OutPort, port: &Port, others: &[String]) -> Diagnostic {
        let accepted = |names: Vec<String>| names.join(" or ");
        let diagnostic = match (self, output.role) {
            (Self::Role, Some(role)) => {
                let roles = accepted(port.roles.iter().map(|role| format!("`{role}`")).collect());
                let message = format!("`{shown}` gives arrays of role `{role}`, port `{}` takes {roles}", port.name);
                let trains = !port.roles.iter().any(|role| matches!(role, Role::Test | Role::All));
                match (role, trains) {
                    (Role::Test, true) => Diagnostic::error(decl.span.clone(), message).label("test data must not reach a training"),
                    (Role::All, true) => {
                        Diagnostic::error(decl.span.clone(), message).label("these hold the test data, which must not reach a training")
                    }
                    _ => Diagnostic::error(decl.span.clone(), message),
                }
            }
            _ => {
                let holds = accepted(port.holds.iter().map(|artifact| format!("`{artifact}`")).collect());
                let message = format!("`{shown}` gives `{}`, port `{}` takes {holds}", output.artifact, port.name);
                Diagnostic::error(decl.span.clone(), message)
            }
        };
        match others {
            [] => diagnostic,
            _ => diagnostic.help(format!("this fits: {}", quoted(others))),
        }
    }
}
