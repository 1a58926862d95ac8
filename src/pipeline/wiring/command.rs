//! What only a `command` has: its outputs, its environment, and items treated one by one.

use super::{From, OutPort, Stage, Wire, Wirer, Wiring, unknown_artifact};
use crate::pipeline::diagnostic::{Diagnostic, quoted};
use crate::pipeline::document::StageDecl;
use crate::stage::Artifact;
use toml::Spanned;

/// Artifacts with an `index.tsv` whose rows have a file each.
const ITEMS: [Artifact; 3] = [Artifact::Images, Artifact::Masks, Artifact::Studies];

impl Wirer<'_, '_> {
    /// Says what a stage with a kind has that only a command can have.
    pub(super) fn not_for_kinds(&mut self, decl: &StageDecl<'_>) {
        let table = &decl.table;
        for (key, span) in [
            ("outputs", table.outputs.as_ref().map(Spanned::span)),
            ("map", table.map.as_ref().map(Spanned::span)),
            ("effect", table.effect.as_ref().map(Spanned::span)),
            ("code", table.code.as_ref().map(Spanned::span)),
            ("env", table.env.as_ref().map(Spanned::span)),
        ] {
            if let Some(span) = span {
                self.problems.push(Diagnostic::error(span, format!("`{key}` is for stages with a `command`")));
            }
        }
        for policy in std::iter::once(&table.policy).chain(decl.overrides.iter().map(|entry| &entry.policy)) {
            if let Some(env) = &policy.env {
                let foreign = Diagnostic::error(env.span(), "`policy.env` is for stages with a `command`");
                self.problems.push(foreign.help("a kind reads nothing of the environment"));
            }
        }
    }

    /// Outputs of a command; false where some are not known.
    pub(super) fn declare_command(&mut self, decl: &StageDecl<'_>, command: &Spanned<Vec<Spanned<String>>>, stage: &mut Stage) -> bool {
        if command.get_ref().is_empty() {
            self.problems.push(Diagnostic::error(command.span(), "a command needs a program"));
        }
        self.names_of_variables(decl);
        self.declare_outputs(decl, stage)
    }

    /// Outputs as written; false where some are not known.
    pub(super) fn declare_outputs(&mut self, decl: &StageDecl<'_>, stage: &mut Stage) -> bool {
        let Some(outputs) = decl.table.outputs.as_ref().filter(|outputs| !outputs.get_ref().is_empty()) else {
            if decl.faulty.contains("outputs") {
                return false;
            }
            self.problems.push(
                Diagnostic::error(decl.span.clone(), format!("the command of stage `{}` has no outputs", decl.name))
                    .help("name each with its artifact: `outputs = { table = \"table\" }`"),
            );
            return false;
        };
        let mut sound = true;
        for (port, artifact) in outputs.get_ref() {
            match artifact.get_ref().parse::<Artifact>() {
                Ok(artifact) => stage.outputs.push(OutPort { name: port.get_ref().clone(), artifact, role: None }),
                Err(()) => {
                    self.problems.push(unknown_artifact(artifact));
                    sound = false;
                }
            }
        }
        // The main one is the first as written.
        let place = |port: &OutPort| outputs.get_ref().keys().find(|name| name.get_ref() == &port.name).map(|name| name.span().start);
        stage.outputs.sort_by_key(place);
        sound
    }

    /// What the system takes as an argument or a variable.
    fn names_of_variables(&mut self, decl: &StageDecl<'_>) {
        let table = &decl.table;
        let arguments = table.command.iter().flat_map(|command| command.get_ref());
        for argument in arguments.filter(|argument| argument.get_ref().contains('\0')) {
            self.problems.push(Diagnostic::error(argument.span(), "an argument can hold any character but the one numbered 0"));
        }
        let set = table.env.iter().flat_map(|env| env.get_ref().iter().map(|(name, value)| (env.span(), name, value.as_str())));
        let policies = std::iter::once(&table.policy).chain(decl.overrides.iter().map(|entry| &entry.policy));
        let passed =
            policies.filter_map(|policy| policy.env.as_ref()).flat_map(|env| env.get_ref().iter().map(|name| (env.span(), name, "")));
        for (span, name, value) in set.chain(passed) {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                self.problems.push(Diagnostic::error(span, format!("`{}` can't be a variable of the environment", name.escape_debug())));
            }
        }
    }

    /// Whether the port that `map` names carries items, and the one output can hold them.
    pub(super) fn items_of(&mut self, decl: &StageDecl<'_>, wires: &[Wire], wiring: &Wiring, number: usize) -> bool {
        let Some(map) = &decl.table.map else { return true };
        let port = map.get_ref();
        let wrong = |message: String| Diagnostic::error(map.span(), message);
        let mine: Vec<&Wire> = wires.iter().filter(|wire| wire.port == *port).collect();
        let problem = match mine.as_slice() {
            [] => {
                let known = decl.inputs.iter().map(|input| input.port.as_str());
                Some(wrong(format!("stage `{}` has no input `{port}` to go through", decl.name)).suggest(port, known))
            }
            [wire] if wire.label.is_none() && wire.selection.gathered.is_empty() => {
                let artifact = self.artifact_of(wire, wiring);
                artifact.filter(|artifact| !ITEMS.contains(artifact)).map(|artifact| {
                    let help = "images, masks and studies have an item a row; a folder that holds some says so by `type`";
                    wrong(format!("`{}` gives `{artifact}`, which has no items to go through", wire.text))
                        .also(wire.span.clone(), "")
                        .help(help)
                })
            }
            _ => Some(wrong(format!("input `{port}` gathers several parts, and `map` goes through one")).also(mine[0].span.clone(), "")),
        };
        let outputs = &wiring.stages[number].outputs;
        let held = |output: &OutPort| ITEMS.contains(&output.artifact) || output.artifact == Artifact::Table;
        let problem = problem.or_else(|| match outputs.as_slice() {
            [output] if held(output) => None,
            [output] => Some(
                wrong(format!("a command that goes through items cannot give `{}`", output.artifact))
                    .help("it gives images, masks, studies or a table"),
            ),
            _ => {
                let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
                Some(wrong(format!("a command that goes through items has one output, not {}", quoted(&names))))
            }
        });
        let arguments = decl.table.command.iter().flat_map(|command| command.get_ref());
        let stateful = arguments.filter(|argument| argument.get_ref().contains("{state}")).map(Spanned::span).next();
        let problem = problem.or_else(|| {
            let span = stateful?;
            Some(Diagnostic::error(span, "`{state}` is one folder, and `map` starts a program per item").also(map.span(), ""))
        });
        match problem {
            Some(problem) => {
                self.problems.push(problem);
                false
            }
            None => true,
        }
    }

    /// What a wire brings; nothing where that is not known after a mistake.
    fn artifact_of(&self, wire: &Wire, wiring: &Wiring) -> Option<Artifact> {
        match &wire.from {
            From::Source { inside: Some(_), .. } => Some(Artifact::Files),
            From::Source { source, inside: None } => match (&wiring.taken[*source], &self.document.sources[*source].table.r#type) {
                (Some(taken), _) => Some(taken.output.artifact),
                (None, Some(name)) => name.get_ref().parse().ok(),
                (None, None) => Some(Artifact::Files),
            },
            From::Stage { stage, output } => {
                wiring.stages[*stage].outputs.iter().find(|one| one.name == *output).map(|output| output.artifact)
            }
        }
    }
}
