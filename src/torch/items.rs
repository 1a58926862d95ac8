//! The items that an order asks for, and the way back of what each gives.

use anyhow::{Context as _, Result};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write as _;
use tomograph::run::order::{Missing, Reply, Sent};
use tomograph::stage::{Each, Item, Made, Note};

/// Items to treat. Each is told of as soon as it is done, so that a kill costs those at hand alone.
pub(crate) struct Asked<'a> {
    pub(crate) items: &'a [Item],
    bytes: RefCell<File>,
    written: Cell<u64>,
    done: Cell<u64>,
    answer: &'a dyn Fn(Reply),
}

impl<'a> Asked<'a> {
    pub(crate) fn of(missing: &'a Missing, answer: &'a dyn Fn(Reply)) -> Result<Self> {
        let bytes = File::options().append(true).open(&missing.bytes).context("cannot open the file that takes the items' bytes")?;
        Ok(Self { items: &missing.items, bytes: RefCell::new(bytes), written: Cell::new(0), done: Cell::new(0), answer })
    }

    /// Tells of the rows that the item at `at` gave.
    pub(crate) fn made(&self, at: usize, rows: Vec<Made>) -> Result<()> {
        let mut files = Vec::new();
        for (row, made) in rows.iter().enumerate() {
            for (path, bytes) in &made.files {
                self.bytes.borrow_mut().write_all(bytes).context("cannot write an item's file")?;
                let (from, size) = (self.written.get(), bytes.len() as u64);
                self.written.set(from + size);
                files.push(Sent { row, path: path.clone(), from, size });
            }
        }
        self.tell(at, Each::Made(rows), files);
        Ok(())
    }

    /// Tells that the item at `at` is set aside, as [`Each::Quarantined`].
    pub(crate) fn aside(&self, at: usize, class: &str, reason: String) {
        self.tell(at, Each::Quarantined { class: class.to_owned(), reason }, Vec::new());
    }

    fn tell(&self, at: usize, each: Each, files: Vec<Sent>) {
        (self.answer)(Reply::Item { at, each, files });
        let (done, of) = (self.done.get() + 1, self.items.len() as u64);
        self.done.set(done);
        (self.answer)(Reply::Note(Note::Progress { done, of, text: "images".to_owned() }));
    }
}
