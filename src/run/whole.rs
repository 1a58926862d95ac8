//! Carries out CPU kinds that do their work at once.
//!
//! Such a kind works on a thread of its own that nobody can end: where its time is over, or the run is interrupted, the task fails and
//! what the thread still does is thrown away. It goes on until it is through or the program ends; its room is others' by then.

use super::pool::take_outputs;
use super::task::{Job, Made};
use crate::crash::panic_point;
use crate::panics::caught;
use crate::stage::{Configured, Context, Kind, Note};
use anyhow::{Context as _, Result, bail};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_millis(50);

enum Said {
    Note(Note),
    Done(Result<()>),
}

/// Does the work of a `Whole` kind.
pub(super) fn carry_out(job: &Job, kind: &'static Kind, params: &Arc<dyn Configured>) -> Result<Made> {
    let scratch = Arc::new(job.store.scratch()?);
    for port in kind.outputs {
        std::fs::create_dir(scratch.path().join(port.name)).context("cannot make a folder in the store")?;
    }
    let (sender, inbox) = channel();
    let work = {
        let (params, scratch, inputs) = (params.clone(), scratch.clone(), job.inputs.clone());
        let (coordinates, threads) = (job.coordinates.clone(), job.threads);
        move || {
            let note = |note: Note| drop(sender.send(Said::Note(note)));
            let cx = Context { inputs: &inputs, coordinates: &coordinates, threads, outputs: scratch.path(), note: &note };
            let result = caught(|| {
                panic_point!("kind", cx.inputs);
                params.run(&cx)
            });
            let result = result.unwrap_or_else(|place| bail!("a bug in tomograph, in the kind {} at {place}: please report it", kind.name));
            drop(sender.send(Said::Done(result)));
        }
    };
    std::thread::Builder::new().name(kind.name.to_owned()).spawn(work).context("cannot start a thread")?;
    loop {
        match inbox.recv_timeout(LOOK) {
            Ok(Said::Done(result)) => break result?,
            Ok(Said::Note(note)) => job.note(note),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the kind {} ended without a word: this is a bug in tomograph", kind.name),
        }
        job.check()?;
    }
    take_outputs(job, kind.outputs.iter().map(|port| port.name), scratch.path(), job.level)
}

#[cfg(test)]
mod tests {
    use super::super::log::Log;
    use super::super::task::Deadline;
    use super::*;
    use crate::content::{Digest, Level};
    use crate::stage::{Artifact, Coordinates, Inputs, Params, Port, Whole};
    use crate::store::Store;
    use std::sync::atomic::{AtomicBool, AtomicU64};

    /// Never comes back.
    #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    struct Sleeper {}

    impl Params for Sleeper {
        const KIND: &'static str = "test.sleeper";
        const REVISION: u32 = 1;
        const INPUTS: &'static [Port] = &[];
        const OUTPUTS: &'static [Port] = &[Port::one("table", &[Artifact::Table], "nothing")];
    }

    impl Whole for Sleeper {
        fn run(&self, _: &Context) -> Result<()> {
            loop {
                std::thread::park();
            }
        }
    }

    #[test]
    fn a_kind_that_is_late_or_interrupted_is_left_behind() {
        static KIND: Kind = Kind::whole::<Sleeper>();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("cache"), folder.path()).unwrap();
        let params: Arc<dyn Configured> = (KIND.from_json)(serde_json::json!({})).unwrap().into();
        let fails = |deadline: Option<Deadline>, cancelled: bool| {
            let cancelled = AtomicBool::new(cancelled);
            let log = Log::begin(&store, &Digest::of(b"key"), false).unwrap();
            let job = Job {
                title: "sleeper".into(),
                store: &store,
                root: folder.path().to_owned(),
                inputs: Inputs::default(),
                level: Level::Released,
                coordinates: Coordinates::new(),
                threads: 1,
                program: "tomograph".into(),
                log: &log,
                state: folder.path().join("state"),
                deadline,
                anew: false,
                kept: &AtomicU64::new(0),
                cancelled: &cancelled,
                notes: Box::new(|_| ()),
                moved: Box::new(|_| Ok(None)),
                worked: Box::new(|| {}),
            };
            carry_out(&job, &KIND, &params).unwrap_err().to_string()
        };
        assert_eq!(fails(Deadline::within(0.1), false), "it took longer than policy.timeout allows (0.1 s) and was ended");
        assert_eq!(fails(None, true), "interrupted");
    }
}
