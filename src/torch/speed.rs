//! How fast a training goes and how much memory it takes, for the progress line and the log.

use std::time::{Duration, Instant};

/// When progress was told last, and how fast this process goes.
pub(crate) struct Speed {
    begun: Instant,
    from: u64,
    last: Option<Instant>,
    /// Of this epoch, in this process.
    epoch: Instant,
    images: u64,
}

impl Speed {
    /// At step `from`.
    pub(crate) fn new(from: u64) -> Self {
        let now = Instant::now();
        Self { begun: now, from, last: None, epoch: now, images: 0 }
    }

    /// An epoch begins.
    pub(crate) fn begin_epoch(&mut self) {
        (self.epoch, self.images) = (Instant::now(), 0);
    }

    pub(crate) fn did(&mut self, images: usize) {
        self.images += images as u64;
    }

    /// Whether half a second has passed since the last time.
    pub(crate) fn due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_millis(500));
        if due {
            self.last = Some(Instant::now());
        }
        due
    }

    /// `, 3 min left`, from the speed so far.
    pub(crate) fn left(&self, done: u64, of: u64) -> String {
        let own = done.saturating_sub(self.from);
        if own < 3 {
            return String::new();
        }
        let seconds = self.begun.elapsed().as_secs_f64() / own as f64 * of.saturating_sub(done) as f64;
        match seconds {
            ..90.0 => format!(", {seconds:.0} s left"),
            ..5400.0 => format!(", {:.0} min left", seconds / 60.0),
            _ => format!(", {:.1} h left", seconds / 3600.0),
        }
    }

    /// The line for the log when the steps of an epoch are done; `waited` for batches.
    pub(crate) fn line(&self, epoch: u64, waited: Duration) -> String {
        let seconds = self.epoch.elapsed().as_secs_f64().max(1e-9);
        let (rate, idle) = (self.images as f64 / seconds, 100.0 * waited.as_secs_f64() / seconds);
        let memory = peak_memory().map(|bytes| format!(", {:.0} MB of memory at most", bytes as f64 / 1e6)).unwrap_or_default();
        format!("epoch {epoch}: {rate:.2} images/s in {seconds:.2} s, {idle:.2} % of it waiting for batches{memory}")
    }
}

/// The most memory this process has had, in bytes.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_images_and_memory() {
        let mut speed = Speed::new(0);
        speed.did(64);
        let line = speed.line(2, Duration::ZERO);
        assert!(line.starts_with("epoch 2: ") && line.contains(" images/s") && line.contains("0.00 % of it waiting"), "{line}");
        assert!(line.contains(" MB of memory at most"), "{line}");
    }
}
