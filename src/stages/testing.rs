//! What the kinds' unit tests share: inputs laid out in a temporary folder, and a plain way to run a kind on them.

use crate::content::{Digest, FileRef, Tree};
use crate::stage::{Aside, Context, Coordinates, Each, Inputs, Item, Map, Note, Params, Part, Row, Whole};
use crate::table::Table;
use anyhow::Result;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use tempfile::TempDir;

/// The params of a kind from the text of a `params` table.
pub(super) fn params<K: Params>(toml: &str) -> K {
    toml::from_str(toml).expect("params")
}

/// Inputs under construction, and the folder their files lie in.
pub(super) struct World {
    folder: TempDir,
    pub(super) inputs: Inputs,
}

impl World {
    pub(super) fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder"), inputs: Inputs::default() }
    }

    /// Writes files and gives their tree.
    pub(super) fn tree(&self, files: &[(&str, &[u8])]) -> Tree {
        let mut tree = Tree::default();
        for (path, bytes) in files {
            let digest = Digest::of(bytes);
            let place = self.folder.path().join(digest.to_string());
            std::fs::File::create(&place).and_then(|mut file| std::io::Write::write_all(&mut file, bytes)).expect("a file");
            tree.files.insert((*path).to_owned(), FileRef { digest, size: bytes.len() as u64, place: place.into() });
        }
        tree
    }

    /// Connects files to a port that takes one part.
    pub(super) fn connect(&mut self, port: &str, files: &[(&str, &[u8])]) -> &mut Part {
        let tree = self.tree(files);
        self.connect_tree(port, tree)
    }

    /// Connects a tree to a port that takes one part.
    pub(super) fn connect_tree(&mut self, port: &str, tree: Tree) -> &mut Part {
        let parts = self.inputs.0.entry(port.to_owned()).or_default();
        *parts = vec![Part { coordinates: Coordinates::new(), tree: tree.into(), hole: None }];
        &mut parts[0]
    }

    /// Runs a [`Whole`] kind.
    pub(super) fn run<K: Whole>(&self, kind: &K) -> Result<Outcome> {
        let folder = TempDir::new()?;
        for port in K::OUTPUTS {
            std::fs::create_dir(folder.path().join(port.name))?;
        }
        let notes = Mutex::new(Vec::new());
        let note = |one| {
            if let Note::Warning(text) = one {
                notes.lock().expect("no panic in a note").push(text);
            }
        };
        kind.run(&Context { inputs: &self.inputs, coordinates: &Coordinates::new(), threads: 1, outputs: folder.path(), note: &note })?;
        let warnings = std::mem::take(&mut *notes.lock().expect("no panic in a note"));
        Ok(Outcome { folder, warnings })
    }

    /// Runs a [`Map`] kind as the engine does, without its cache; gives the main output's tree with `index.tsv` and `quarantine.tsv`.
    pub(super) fn map<K: Map>(&self, kind: &K) -> Result<Tree> {
        Ok(self.maps(kind)?.0.remove(K::OUTPUTS[0].name).unwrap_or_default())
    }

    /// The same for every output that has rows, with what the kind remarks.
    pub(super) fn maps<K: Map>(&self, kind: &K) -> Result<(BTreeMap<String, Tree>, Vec<String>)> {
        let whole: BTreeMap<_, _> = self.inputs.0.clone().into_iter().filter(|(port, _)| !K::ITEMS.contains(&port.as_str())).collect();
        let whole = Inputs(whole);
        let mut items = kind.items(&self.inputs)?;
        items.sort_by(|a, b| a.item.cmp(&b.item));
        let reads = kind.reads();
        let results: Vec<(Item, Each)> = items
            .into_par_iter()
            .map(|item| {
                // `each` sees neither the name nor the columns that are not in the item's key.
                let mut seen = item.clone();
                seen.row = item.row.iter().filter(|(column, _)| reads.iter().any(|read| read == column)).collect();
                seen.files.iter_mut().for_each(|file| file.path = "withheld".to_owned());
                let each = kind.each(&seen, &whole)?;
                Ok((item, each))
            })
            .collect::<Result<_>>()?;
        let (mut rows, mut aside, mut carried) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (item, each) in results {
            match each {
                Each::Quarantined { class, reason } => aside.push(Aside { item: item.item, kind: K::KIND.to_owned(), class, reason }),
                Each::Made(made) => {
                    for one in made {
                        carried.extend(item.row.columns().map(str::to_owned));
                        let mut values = item.row.clone();
                        values.extend(one.row);
                        let files: Vec<(&str, &[u8])> = one.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
                        let files = self.tree(&files).files.into_iter().collect();
                        rows.push(Row { port: one.port, item: one.item.unwrap_or_else(|| item.item.clone()), values, files });
                    }
                }
            }
        }
        rows.sort_by(|a, b| a.item.cmp(&b.item));
        kind.finish(&mut rows, &mut aside)?;
        let remarks = kind.remarks(&rows);
        let mut quarantine = Table::new(["item", "kind", "class", "reason"]);
        quarantine.rows = aside.into_iter().map(|one| vec![one.item, one.kind, one.class, one.reason]).collect();
        let mut columns: Vec<String> = ["item"].iter().chain(K::WRITES).map(|column| (*column).to_owned()).collect();
        columns.extend(carried.into_iter().filter(|column| !K::WRITES.contains(&column.as_str())));
        let mut outputs = BTreeMap::from([(K::OUTPUTS[0].name.to_owned(), Vec::new())]);
        for row in rows {
            let port = row.port.clone().unwrap_or_else(|| K::OUTPUTS[0].name.to_owned());
            outputs.entry(port).or_default().push(row);
        }
        let tree = |rows: Vec<Row>| {
            let (mut index, mut tree) = (Table::new(columns.iter().cloned()), Tree::default());
            for row in rows {
                let value = |column: &String| row.values.get(column).unwrap_or_default().to_owned();
                index.rows.push(std::iter::once(row.item.clone()).chain(columns[1..].iter().map(value)).collect());
                tree.files.extend(row.files);
            }
            let tables = self.tree(&[("index.tsv", &index.to_tsv()), ("quarantine.tsv", &quarantine.to_tsv())]);
            tree.files.extend(tables.files);
            tree
        };
        Ok((outputs.into_iter().map(|(port, rows)| (port, tree(rows))).collect(), remarks))
    }
}

/// What a [`Whole`] kind left.
pub(super) struct Outcome {
    folder: TempDir,
    pub(super) warnings: Vec<String>,
}

impl Outcome {
    /// A file of an output port.
    pub(super) fn read(&self, port: &str, path: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(port).join(path)).expect("an output file")
    }

    /// A TSV file of an output port.
    pub(super) fn table(&self, port: &str, path: &str) -> Table {
        Table::from_tsv(&self.read(port, path)).expect("TSV")
    }

    /// All files of an output port, flat or nested, as a tree that lasts as long as `self`.
    pub(super) fn tree(&self, port: &str) -> Tree {
        let mut tree = Tree::default();
        let root = self.folder.path().join(port);
        collect(&root, &root, &mut tree);
        tree
    }
}

fn collect(root: &Path, folder: &Path, tree: &mut Tree) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let place = entry.expect("an entry").path();
        if place.is_dir() {
            collect(root, &place, tree);
            continue;
        }
        let bytes = std::fs::read(&place).expect("a file");
        let path = place.strip_prefix(root).expect("inside").to_string_lossy().into_owned();
        tree.files.insert(path, FileRef { digest: Digest::of(&bytes), size: bytes.len() as u64, place: place.into() });
    }
}

/// The text of an error with its causes.
pub(super) fn chain<T>(result: Result<T>) -> String {
    result.err().map(|error| format!("{error:#}")).unwrap_or_default()
}
