//! The guarded child's side: limits itself, then answers item after item until its standard input ends.

use super::frames::{Header, Hello, frame, read_frame, write_answer};
use crate::panics::caught;
use crate::run::order::BUILD;
use crate::stage::{Each, Item, Kind};
use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};

/// Serves items of `kind`: reads frames on standard input, answers on standard output, ends when the input does.
pub fn serve(kinds: &[Kind], kind: &str) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot ask to end with the engine")?;
    let mut questions = BufReader::new(std::io::stdin());
    // Only frames may reach the pipe: whatever a library prints goes to standard error.
    let pipe = File::from(rustix::io::dup(std::io::stdout()).context("cannot copy standard output")?);
    rustix::stdio::dup2_stdout(std::io::stderr()).context("cannot redirect standard output")?;
    let mut answers = BufWriter::new(pipe);
    let Some(hello) = read_frame::<Hello>(&mut questions)? else { return Ok(()) };
    let kind = kinds.iter().find(|one| one.name == kind).with_context(|| format!("there is no kind `{kind}`"))?;
    let configured = (kind.from_json)(hello.params).with_context(|| format!("params of {}", kind.name))?;
    let map = configured.as_map().with_context(|| format!("{} does not work item by item", kind.name))?;
    let limit = |resource, bytes| {
        setrlimit(resource, Rlimit { current: Some(bytes), maximum: Some(bytes) }).context("cannot set the limits of a guarded child")
    };
    limit(Resource::Core, 0)?;
    limit(Resource::As, hello.memory)?;
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            answers.write_all(&frame(&Header::ready(BUILD))?).and_then(|()| answers.flush()).context("cannot answer")?;
            while let Some(item) = read_frame::<Item>(&mut questions)? {
                // A panic is a decoder's way to give up. What it says may hold people's data.
                let answer = caught(|| map.each(&item, &hello.whole)).unwrap_or_else(|_| {
                    Ok(Each::Quarantined { class: "crash".to_owned(), reason: "the program that reads it gave up (panic)".to_owned() })
                });
                write_answer(&mut answers, answer)?;
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().stack_size(hello.stack).spawn_scoped(scope, work).context("cannot start a thread")?;
        thread.join().map_err(|_| anyhow!("the guarded child gave up"))?
    })
}
