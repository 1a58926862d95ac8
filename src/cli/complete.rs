//! `tomograph completions`: scripts by which a shell asks `tomograph complete` what may come next.
//!
//! Subcommands, options and their values, kinds, and the stages, axes and sources of the pipeline on the line. What is in no list
//! here is a file, which the shell completes itself.

use super::exit::{Exit, print};
use super::reading::load_pipeline;
use crate::pipeline::Overlay;
use crate::stage::Kind;
use anyhow::Result;
use clap::{Arg, Args, Command, ValueEnum};
use std::collections::BTreeSet;
use std::path::Path;

/// Print a script that completes tomograph's words in a shell
///
/// Subcommands, options, kinds, and the stages of the pipeline that is on the line. For this session and the following ones:
///
///     bash:  tomograph completions bash > ~/.local/share/bash-completion/completions/tomograph
///     zsh:   tomograph completions zsh > ~/.zfunc/_tomograph      (with ~/.zfunc in fpath, before compinit)
///     fish:  tomograph completions fish > ~/.config/fish/completions/tomograph.fish
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Print what may come next on a line, one a line
#[derive(Args)]
pub(super) struct CompleteArgs {
    /// The words after `tomograph`; the last is what has been typed of the next one
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// `=` and `[` end no word here: `train[seed=1]` is one.
const BASH: &str = r#"_tomograph() {
    local word="${COMP_WORDS[COMP_CWORD]}" line words
    line="${COMP_LINE:0:COMP_POINT}"
    read -ra words <<< "$line"
    [[ "$line" == *" " ]] && words+=("")
    word="${words[-1]}"
    local IFS=$'\n'
    COMPREPLY=($(tomograph complete -- "${words[@]:1}" 2>/dev/null))
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%=*}="}")
    fi
}
complete -o default -F _tomograph tomograph
"#;
const ZSH: &str = r#"#compdef tomograph
_tomograph() {
    local -a found
    found=("${(@f)$(tomograph complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    found=("${(@)found:#}")
    if (( ${#found} )); then
        compadd -- "${found[@]}"
    else
        _files
    fi
}
if [ "$funcstack[1]" = "_tomograph" ]; then _tomograph "$@"; else compdef _tomograph tomograph; fi
"#;
const FISH: &str = r#"function __tomograph_complete
    set -l words (commandline -opc) (commandline -ct)
    tomograph complete -- $words[2..-1] 2>/dev/null
end
complete -c tomograph -a '(__tomograph_complete)'
"#;

pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit> {
    print(match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    })?;
    Ok(Exit::Done)
}

pub(super) fn complete(args: &CompleteArgs, program: &Command, kinds: &'static [Kind]) -> Result<Exit> {
    let found = candidates(&args.words, program, kinds);
    print(&found.iter().map(|one| format!("{one}\n")).collect::<String>())?;
    Ok(Exit::Done)
}

/// What the last of `words` may become.
fn candidates(words: &[String], program: &Command, kinds: &'static [Kind]) -> BTreeSet<String> {
    let Some((typed, before)) = words.split_last() else { return BTreeSet::new() };
    let Some((name, given)) = before.split_first() else {
        let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
        return begin(typed, commands.map(|command| command.get_name().to_owned()));
    };
    let Some(command) = program.get_subcommands().find(|command| command.get_name() == name) else { return BTreeSet::new() };
    let (positional, open) = positionals(command, given);
    if let Some(option) = open {
        return begin(typed, values(option, &positional, kinds));
    }
    if typed.starts_with('-') {
        let named = command.get_arguments().filter_map(|option| option.get_long()).map(|name| format!("--{name}"));
        return begin(typed, named.chain(["--help".to_owned()]));
    }
    match command.get_positionals().nth(positional.len()) {
        Some(next) => begin(typed, values(next, &positional, kinds)),
        None => BTreeSet::new(),
    }
}

fn begin(typed: &str, all: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    all.into_iter().filter(|one| one.starts_with(typed)).collect()
}

/// The words that stand by themselves, and the option that waits for its value.
fn positionals<'a>(command: &'a Command, given: &[String]) -> (Vec<String>, Option<&'a Arg>) {
    let mut found = Vec::new();
    let mut open = None;
    for word in given {
        if open.take().is_some() {
            continue;
        }
        if !word.starts_with('-') {
            found.push(word.clone());
            continue;
        }
        let is_it = |option: &&Arg| {
            let long = option.get_long().is_some_and(|long| *word == format!("--{long}"));
            long || option.get_short().is_some_and(|short| *word == format!("-{short}"))
        };
        open = command.get_arguments().find(is_it).filter(|option| option.get_action().takes_values());
    }
    (found, open)
}

/// What an argument may be; nothing where it is a file or a number.
fn values(argument: &Arg, positional: &[String], kinds: &'static [Kind]) -> Vec<String> {
    let pipeline = || positional.first().map(Path::new);
    match argument.get_id().as_str() {
        "only" | "task" | "reference" | "tasks" => pipeline().map(|path| stages(path, kinds)).unwrap_or_default(),
        "set" if positional.first().is_some_and(|kind| kinds.iter().any(|one| one.name == kind)) => {
            let kind = kinds.iter().find(|one| Some(one.name) == positional.first().map(String::as_str));
            kind.map(params).unwrap_or_default().into_iter().map(|name| format!("{name}=")).collect()
        }
        "axis" => pipeline().map(|path| axes(path, kinds)).unwrap_or_default(),
        "inputs" => {
            let kind = kinds.iter().find(|one| Some(one.name) == positional.first().map(String::as_str));
            kind.map(|kind| kind.inputs.iter().map(|port| format!("{}=", port.name)).collect()).unwrap_or_default()
        }
        "kind" => kinds.iter().map(|kind| kind.name.to_owned()).collect(),
        "name" if argument.get_help().is_some_and(|help| help.to_string().contains("kind")) => {
            kinds.iter().map(|kind| kind.name.to_owned()).collect()
        }
        _ => argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
    }
}

fn params(kind: &Kind) -> Vec<String> {
    let schema = (kind.schema)().to_value();
    schema["properties"].as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

/// The stages of a pipeline and, of those with axes, every cell; of a broken one the stages that its text names.
fn stages(path: &Path, kinds: &'static [Kind]) -> Vec<String> {
    let Ok(reading) = load_pipeline(path, kinds, &Overlay::default()) else { return Vec::new() };
    match reading.loaded.pipeline {
        Some(pipeline) => pipeline.tasks.iter().flat_map(|task| [task.stage.clone(), task.title()]).collect(),
        None => {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let named = text.lines().filter_map(|line| line.trim().strip_prefix("[stage.")?.split([']', '.']).next());
            named.map(str::to_owned).collect()
        }
    }
}

fn axes(path: &Path, kinds: &'static [Kind]) -> Vec<String> {
    let loaded = load_pipeline(path, kinds, &Overlay::default()).ok().and_then(|reading| reading.loaded.pipeline);
    let cells = loaded.iter().flat_map(|pipeline| &pipeline.tasks).flat_map(|task| task.cell.iter());
    cells.flat_map(|(axis, value)| [format!("{axis}="), format!("{axis}={value}")]).collect()
}
