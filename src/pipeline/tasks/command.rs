//! Arguments of commands, checked and taken apart.

use crate::pipeline::diagnostic::{Diagnostic, Problems};
use crate::pipeline::document::StageDecl;
use crate::pipeline::model::Piece;
use crate::pipeline::params::{Checker, Place};
use crate::pipeline::template::{Fragment, joined, parse};
use crate::pipeline::values::Node;

pub(super) fn arguments_right(checker: &mut Checker<'_, '_>, decl: &StageDecl<'_>, problems: &mut Problems) -> bool {
    let Some(command) = decl.table.command.as_ref().filter(|_| decl.table.kind.is_none()) else { return true };
    let inputs = decl.inputs.iter().map(|input| input.port.as_str()).collect();
    let outputs: Vec<&str> =
        decl.table.outputs.iter().flat_map(|outputs| outputs.get_ref().keys()).map(|name| name.get_ref().as_str()).collect();
    let mut own = Checker::new(checker.text, checker.document, checker.whose.clone(), checker.axes);
    own.ports = Some((inputs, outputs.clone()));
    own.loose = checker.loose;
    let mut right = true;
    for argument in command.get_ref() {
        right &= own.string(argument.get_ref(), &argument.span(), Place::Argument, problems);
    }
    for port in outputs.iter().filter(|port| right && !command.get_ref().is_empty() && !own.seen_outputs.contains(**port)) {
        let message = format!("the command is not told where to write its output `{port}`");
        problems.push(Diagnostic::warning(command.span(), message).help(format!("give it `\"{{outputs.{port}}}\"` as an argument")));
    }
    checker.seen_axes.extend(own.seen_axes);
    checker.seen_params.extend(own.seen_params);
    right
}

/// An argument as pieces, values in their place.
pub(super) fn pieces<'i>(argument: &str, look: &dyn Fn(&Fragment) -> Option<Node<'i>>) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    for (fragment, at) in parse(argument).unwrap_or_default() {
        let piece = match fragment {
            Fragment::Place(piece) => piece,
            other => Piece::Text(joined(&[(other, at)], look)),
        };
        match (found.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => found.push(piece),
        }
    }
    if found.is_empty() { vec![Piece::Text(String::new())] } else { found }
}
