//! Starts one task on a thread of its own, and records what it gives.
//!
//! Everything that takes time happens here, away from the loop: the work, the second look at the sources, the record.

use super::children::Children;
use super::devices::Slot;
use super::failure::told;
use super::log::Log;
use super::order::BUILD;
use super::queue::Queued;
use super::sandbox::Sandboxes;
use super::task::{Deadline, Job, Made};
use super::threads::Threads;
use super::{End, Message, Options, chosen, command, each, pool, torch, torch_items, whole};
use crate::few::Few;
use crate::panics::caught;
use crate::pipeline::{Action, TaskId};
use crate::plan::Planner;
use crate::plan::reason::Reason;
use crate::stage::{Coordinates, Inputs, Note, Work};
use crate::store::{OutputRecord, Published, Record};
use anyhow::{Context as _, Result, anyhow, bail};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What is said where the system starts no thread.
pub(super) const NO_THREAD: &str =
    "cannot start a thread: too many processes run (`ulimit -u`, or what the container may have); -j 1 needs fewest";

/// What starting a task takes.
pub(super) struct Starter<'scope, 'env, 'a> {
    pub(super) threads: Threads<'scope, 'env>,
    pub(super) children: &'a Children,
    pub(super) sandboxes: &'a Sandboxes,
    pub(super) cancelled: &'a AtomicBool,
    pub(super) sender: Sender<Message>,
}

impl<'scope, 'a: 'scope> Starter<'scope, '_, 'a> {
    /// Starts a task; its end arrives as [`Message::Ended`].
    pub(super) fn start(
        &self,
        planner: &'a Planner<'a>,
        options: &'a Options,
        id: TaskId,
        queued: Queued,
        inputs: Inputs,
        slot: Option<Slot>,
    ) {
        let (children, sandboxes, cancelled, sender) = (self.children, self.sandboxes, self.cancelled, self.sender.clone());
        let thread = match self.threads.one() {
            Ok(thread) => thread,
            Err(error) => {
                let result = Err(error).context(NO_THREAD);
                let end = End { result, items_ran: 0, seconds: 0.0, log: None, queued };
                return drop(sender.send(Message::Ended(id, Box::new(end))));
            }
        };
        thread.give(move || {
            let started = Instant::now();
            let work = Carried { planner, options, id, children, sandboxes, cancelled, sender: &sender };
            let kept = AtomicU64::new(0);
            let (done, log) = match Log::begin(planner.store, &queued.key, queued.tries > 0) {
                Ok(log) => {
                    // Whatever happens to this thread, the loop waits for its word.
                    let done = caught(|| work.carry_out(&queued, inputs, slot.as_ref(), &log, &kept));
                    let bug = |place| Err(anyhow!("a bug in tomograph, or a machine without room for a thread: {place}"));
                    (done.unwrap_or_else(bug), log.path())
                }
                Err(error) => (Err(error), None),
            };
            let (result, items_ran) = match done {
                Ok((record, items_ran)) => (Ok(record), items_ran),
                // What of its items was treated stays.
                Err(error) => (Err(error), kept.into_inner()),
            };
            let seconds = started.elapsed().as_secs_f64();
            let _ = sender.send(Message::Ended(id, Box::new(End { result, items_ran, seconds, log, queued })));
        });
    }
}

impl Starter<'_, '_, '_> {
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Ends every child and lets map kinds stop after the items at hand.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.children.end_all();
    }
}

/// One task while it is carried out.
struct Carried<'t, 'a> {
    planner: &'a Planner<'a>,
    options: &'a Options,
    id: TaskId,
    children: &'a Children,
    sandboxes: &'a Sandboxes,
    cancelled: &'a AtomicBool,
    sender: &'t Sender<Message>,
}

impl Carried<'_, '_> {
    fn carry_out(&self, queued: &Queued, inputs: Inputs, slot: Option<&Slot>, log: &Log, kept: &AtomicU64) -> Result<(Record, u64)> {
        let (store, task) = (self.planner.store, &self.planner.pipeline.tasks[self.id.0]);
        let started = (crate::store::now(), Instant::now());
        log.head(&format!("{} started {}", task.title(), started.0));
        queued.reasons.iter().for_each(|reason| log.head(&format!("because {reason}")));
        let warnings = Mutex::new(Vec::new());
        let note = |note: Note| {
            match &note {
                Note::Warning(text) => {
                    log.line(&format!("warning: {text}"));
                    warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.clone());
                }
                Note::Log(text) => log.line(text),
                Note::Progress { .. } => {}
            }
            let _ = self.sender.send(Message::Noted(self.id, note));
        };
        let job = Job {
            title: task.title(),
            store,
            root: self.planner.root.clone(),
            inputs,
            level: self.planner.level(self.id),
            coordinates: Coordinates::clone(&task.cell),
            threads: usize::try_from(task.needs.cpus.max(1)).unwrap_or(1),
            program: self.options.program.clone(),
            log,
            state: store.state_path(&queued.key),
            deadline: task.policy.timeout.and_then(Deadline::within),
            cancelled: self.cancelled,
            anew: queued.reasons.contains(&Reason::Again),
            kept,
            notes: Box::new(note),
            moved: Box::new(|files| self.planner.moved_among(self.id, &queued.manifest, files)),
            worked: Box::new(|| drop(self.sender.send(Message::Worked(self.id)))),
        };
        let result = self.make(&job, queued, slot).and_then(|made| {
            let items_ran = made.items_ran;
            Ok((self.record(queued, &job, made, &started, slot, &warnings)?, items_ran))
        });
        match &result {
            Ok((record, _)) => log.last(&format!("done in {:.1} s", record.seconds)),
            Err(error) => log.line(&format!("failed: {}", told(error, self.planner.takes_people(self.id)))),
        }
        result
    }

    /// The task's outputs: made at once, or part by part where a chosen list arrives.
    fn make(&self, job: &Job, queued: &Queued, slot: Option<&Slot>) -> Result<Made> {
        let (store, task) = (self.planner.store, &self.planner.pipeline.tasks[self.id.0]);
        let Some(port) = chosen::port(task) else { return self.work(job, &queued.manifest, slot) };
        let (axes, parts) = chosen::parts(&job.inputs, port, &queued.manifest)?;
        let mut made = Vec::with_capacity(parts.len());
        for (number, part) in parts.iter().enumerate() {
            job.note(Note::Progress { done: number as u64, of: parts.len() as u64, text: "parts".to_owned() });
            // What is asked for again is made again, part by part.
            let standing = if job.anew { None } else { chosen::standing(store, &part.key())? };
            let trees = match standing {
                Some(trees) => trees,
                None => {
                    let alone = Queued { key: part.key(), manifest: part.manifest.bytes(), reasons: Vec::new(), tries: 0, treated: 0 };
                    let job = job.with_inputs(part.inputs.clone(), store.state_path(&alone.key));
                    let started = (crate::store::now(), Instant::now());
                    let outputs = self.work(&job, &alone.manifest, slot)?;
                    let record = self.record(&alone, &job, outputs, &started, slot, &Mutex::default())?;
                    chosen::trees(store, &record)?.context("what a part gave is gone from the store")?
                }
            };
            made.push(trees);
        }
        let whole = chosen::combine(job, task, &axes, &parts, &made)?;
        Ok(Made { parts: parts.iter().map(chosen::Chosen::key).collect(), ..whole })
    }

    fn work(&self, job: &Job, manifest: &[u8], slot: Option<&Slot>) -> Result<Made> {
        let task = &self.planner.pipeline.tasks[self.id.0];
        let cpu = Slot::cpu();
        match &task.action {
            Action::Kind { kind, params } if kind.work.is_torch() => {
                let slot = slot.context("a torch kind has a slot of the device pool")?;
                let worker = torch::Worker {
                    program: self.options.worker.as_deref(),
                    slot,
                    environment: &self.options.environment,
                    state_every: self.options.state_every,
                    children: self.children,
                };
                match kind.work {
                    Work::Torch { map: Some(ports) } => torch_items::carry_out(job, kind, ports, &**params, &worker),
                    _ => torch::carry_out(job, kind, &**params, &worker),
                }
            }
            Action::Kind { kind, params } if kind.work == Work::Whole => whole::carry_out(job, kind, params),
            Action::Kind { kind, params } => pool::carry_out(job, kind, &**params, self.children),
            Action::Command(stage) => {
                let around = command::Surroundings {
                    slot: slot.unwrap_or(&cpu),
                    environment: &self.options.environment,
                    children: self.children,
                    sandboxes: self.sandboxes,
                };
                match &stage.map {
                    Some(port) => each::carry_out(job, stage, port, &task.outputs[0], &task.policy, manifest, &around),
                    None => command::carry_out(job, stage, &task.outputs, &task.policy, &around),
                }
            }
        }
    }

    /// Looks at the sources again, then stores the result under its key (DESIGN rules 2, 5 and 6).
    fn record(
        &self,
        queued: &Queued,
        job: &Job,
        made: Made,
        started: &(String, Instant),
        slot: Option<&Slot>,
        warnings: &Mutex<Vec<String>>,
    ) -> Result<Record> {
        let (store, task) = (self.planner.store, &self.planner.pipeline.tasks[self.id.0]);
        if let Some(moved) = self.planner.moved(self.id, &queued.manifest)? {
            bail!("{moved} while the task ran, so its result was not stored; run again");
        }
        let mut outputs = Few::new();
        for (port, tree) in &made.outputs {
            let manifest = store.put_tree(tree)?;
            let files = tree.files.len() as u64;
            outputs.insert(port.clone(), OutputRecord { manifest, files, bytes: tree.size(), level: tree.level });
        }
        self.planner.keep_sources(self.id)?;
        let kind = match &task.action {
            Action::Kind { kind, .. } => kind.name,
            Action::Command(_) => "command",
        };
        let record = Record {
            version: Record::VERSION,
            key: queued.key,
            key_manifest: store.put_bytes(&queued.manifest)?.digest,
            kind: kind.into(),
            task: task.title(),
            pipeline: self.options.pipeline_id.as_str().into(),
            outputs,
            started: started.0.clone(),
            seconds: started.1.elapsed().as_secs_f64(),
            host: rustix::system::uname().nodename().to_string_lossy().into(),
            build: BUILD.into(),
            device: slot.map_or("cpu", |slot| &slot.device).into(),
            threads: job.threads,
            items: made.items,
            items_ran: (made.items > 0).then_some(made.items_ran),
            quarantined: made.quarantined,
            warnings: std::mem::take(&mut *warnings.lock().unwrap_or_else(PoisonError::into_inner)),
            sources: self.planner.taken_by(self.id),
            effect: task.effect,
            parts: made.parts,
            accepted: None,
        };
        crate::crash::crash_point!("outputs-stored");
        let record = match store.publish(&record)? {
            Published::Added => record,
            Published::Same(_) | Published::Differs(_) if task.effect => {
                store.publish_newest(&record)?;
                record
            }
            Published::Same(standing) => standing,
            Published::Differs(standing) if !must_equal(&task.action, &standing, &record) => {
                store.publish_variant(&record)?;
                // Who asked for it again is told in the end.
                if !job.anew {
                    let differences = differences(&standing, &record);
                    let what = "which are kept as a variant; what was made from the first stays as it is";
                    job.note(Note::Warning(format!("made again, it gave other bytes for the same key, {what}: {differences}")));
                }
                record
            }
            Published::Differs(standing) => bail!(
                "made again, {} gave other bytes for the same key: {}; the kind should be exact, so this is a bug",
                record.kind,
                differences(&standing, &record)
            ),
        };
        crate::crash::crash_point!("recorded");
        store.forget_state(&queued.key)?;
        Ok(record)
    }
}

/// Whether a result made again must have the same bytes. A command promises nothing, nor does a GPU; on the CPU a training's bits follow
/// from the key with the number of threads, the processor and the build.
fn must_equal(action: &Action, standing: &Record, made: &Record) -> bool {
    let Action::Kind { kind, .. } = action else { return false };
    let place = |record: &Record| (record.host.clone(), record.build.clone(), record.device.clone(), record.threads);
    if kind.inputs.iter().any(|port| port.filled && port.name == "lineage") {
        // It says where and when its ancestors were made.
        return false;
    }
    !kind.work.is_torch() || (&*made.device == "cpu" && place(standing) == place(made))
}

/// Which outputs have other bytes.
fn differences(standing: &Record, made: &Record) -> String {
    let ports = made.outputs.iter().filter(|(port, output)| standing.outputs.get(*port) != Some(output));
    let list: Vec<String> = ports
        .map(|(port, output)| {
            let before = standing.outputs.get(port).map_or_else(|| "nothing".to_owned(), |output| output.manifest.short());
            format!("output `{port}` was {before} and is now {}", output.manifest.short())
        })
        .collect();
    list.join(", ")
}
