//! What engine and guarded child say to each other: a 32-bit little-endian length, that many bytes of JSON, then the bytes of files
//! whose lengths the JSON gives.

use crate::content::Altered;
use crate::stage::{Each, Inputs, Made};
use anyhow::{Context as _, Error, Result, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{Read, Write};
use std::path::PathBuf;

/// Largest header, and largest file of an answer, in bytes.
const LARGEST_HEADER: u32 = 256 << 20;
const LARGEST_FILE: u64 = 1 << 30;

/// The first frame to the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    pub params: serde_json::Value,
    pub whole: Inputs,
    /// Bytes of address space, bytes of stack.
    pub memory: u64,
    pub stack: usize,
}

/// A frame from the child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(super) struct Header {
    /// The first frame: the child's build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// The kind's verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<(String, String)>,
    /// The kind's error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// Rows made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<Made>,
    /// Path and length of each row's files; their bytes follow the frame.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Vec<(String, u64)>>,
}

/// An error on its way through the pipe.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failed {
    /// With its causes, on one line.
    message: String,
    /// The stored file that no longer has its bytes, where that is the cause: the engine tells damage from what a kind could not do.
    altered: Option<PathBuf>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let altered = error.chain().find_map(|cause| cause.downcast_ref()).map(|Altered { path }| path.clone());
        Self { message: format!("{error:#}"), altered }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        failed.altered.map_or_else(|| Self::msg(failed.message), |path| Altered { path }.into())
    }
}

impl Header {
    pub(super) fn ready(build: &str) -> Self {
        Self { ready: Some(build.to_owned()), quarantined: None, failed: None, made: Vec::new(), files: Vec::new() }
    }
}

/// A frame without files.
pub(super) fn frame(value: &impl Serialize) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(value).context("cannot write a frame")?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= LARGEST_HEADER).context("a frame is too long")?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}

/// Reads a frame; `None` at the end.
pub(super) fn read_frame<T: DeserializeOwned>(source: &mut impl Read) -> Result<Option<T>> {
    let mut length = [0; 4];
    let mut filled = 0;
    while filled < 4 {
        match source.read(&mut length[filled..]).context("cannot read a frame")? {
            0 if filled == 0 => return Ok(None),
            0 => anyhow::bail!("a frame ends early"),
            count => filled += count,
        }
    }
    let length = u32::from_le_bytes(length);
    ensure!(length <= LARGEST_HEADER, "a frame is too long");
    Ok(Some(serde_json::from_slice(&read_exactly(source, length.into())?).context("a frame makes no sense")?))
}

fn read_exactly(source: &mut impl Read, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(length).read_to_end(&mut bytes).context("cannot read a frame")?;
    ensure!(bytes.len() as u64 == length, "a frame ends early");
    Ok(bytes)
}

/// Writes the answer to an item.
pub(super) fn write_answer(sink: &mut impl Write, answer: Result<Each>) -> Result<()> {
    let mut header = Header { ready: None, quarantined: None, failed: None, made: Vec::new(), files: Vec::new() };
    match answer {
        Ok(Each::Made(made)) => header.made = made,
        Ok(Each::Quarantined { class, reason }) => header.quarantined = Some((class, reason)),
        Err(error) => header.failed = Some(error.into()),
    }
    header.files =
        header.made.iter().map(|made| made.files.iter().map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect()).collect();
    sink.write_all(&frame(&header)?).context("cannot answer")?;
    for (_, bytes) in header.made.iter().flat_map(|made| &made.files) {
        sink.write_all(bytes).context("cannot answer")?;
    }
    sink.flush().context("cannot answer")
}

/// The answer whose header has been read: an inner error is the kind's own.
pub(super) fn read_answer(source: &mut impl Read, header: Header) -> Result<Result<Each>> {
    if let Some(failed) = header.failed {
        return Ok(Err(failed.into()));
    }
    if let Some((class, reason)) = header.quarantined {
        return Ok(Ok(Each::Quarantined { class, reason }));
    }
    let mut made = header.made;
    ensure!(made.len() == header.files.len(), "an answer has files for {} of {} rows", header.files.len(), made.len());
    for (one, files) in made.iter_mut().zip(header.files) {
        for (path, length) in files {
            ensure!(length <= LARGEST_FILE, "an answer has a file of {length} bytes");
            one.files.push((path, read_exactly(source, length)?));
        }
    }
    Ok(Ok(Each::Made(made)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_pipe() {
        let made = Made {
            port: Some("b".into()),
            item: Some("a".into()),
            row: vec![("file".into(), "x".into())],
            files: vec![("x".into(), vec![1, 2, 3]), ("y".into(), vec![])],
        };
        let mut pipe = Vec::new();
        write_answer(&mut pipe, Ok(Each::Made(vec![made.clone(), Made::default()]))).unwrap();
        write_answer(&mut pipe, Err(anyhow::anyhow!("inner").context("outer"))).unwrap();
        let altered = Altered { path: "blobs/1".into() };
        write_answer(&mut pipe, Err(Error::from(altered.clone()).context("outer"))).unwrap();
        let mut source = pipe.as_slice();
        let header = read_frame(&mut source).unwrap().unwrap();
        let Ok(Each::Made(read)) = read_answer(&mut source, header).unwrap() else { panic!("rows were made") };
        assert_eq!((read.len(), &read[0].item, &read[0].files), (2, &made.item, &made.files));
        let header = read_frame(&mut source).unwrap().unwrap();
        assert_eq!(read_answer(&mut source, header).unwrap().unwrap_err().to_string(), "outer: inner");
        let header = read_frame(&mut source).unwrap().unwrap();
        assert_eq!(read_answer(&mut source, header).unwrap().unwrap_err().downcast::<Altered>().unwrap(), altered);
        assert!(read_frame::<Header>(&mut source).unwrap().is_none());
        assert!(read_frame::<Header>(&mut &pipe[..9]).is_err());
    }
}
