//! What the work of a torch kind may see.

use anyhow::{Context as _, Result, ensure};
use std::path::PathBuf;
use std::time::Duration;
use tch::{Cuda, Device};
use tomograph::stage::Context;

/// The engine's context, and what only this program has.
pub(crate) struct Job<'a> {
    /// Inputs, outputs, notes.
    pub(crate) cx: Context<'a>,
    pub(crate) device: Device,
    /// Folder that stays under the task's key until it succeeds.
    pub(crate) state: PathBuf,
    /// How often to write the state.
    pub(crate) state_every: Duration,
}

/// `cpu`, `cuda` or `cuda:N`.
pub(crate) fn device(name: &str) -> Result<Device> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let number = name.strip_prefix("cuda").map(|rest| rest.strip_prefix(':').unwrap_or(if rest.is_empty() { "0" } else { "" }));
    let number: usize =
        number.and_then(|number| number.parse().ok()).with_context(|| format!("there is no device `{name}`: cpu, cuda:0, …"))?;
    let count = Cuda::device_count() as usize;
    ensure!(number < count, "there is no device `{name}`: this libtorch sees {count} CUDA devices");
    Ok(Device::Cuda(number))
}

/// Threads of everything libtorch does. To be called before any work.
pub(crate) fn set_threads(threads: usize) {
    tch::set_num_interop_threads(1);
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
}
