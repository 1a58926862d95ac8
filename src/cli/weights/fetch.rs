//! One file from a web server: goes on where an earlier attempt stopped, and appears only when it is right.

use anyhow::{Context as _, Result, bail, ensure};
use md5::{Digest as _, Md5};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file to fetch.
pub(super) struct Wanted<'a> {
    pub(super) address: String,
    /// In hexadecimal digits, where it is known.
    pub(super) md5: Option<&'a str>,
    /// Where it goes.
    pub(super) place: &'a Path,
}

/// Attempts at the rest of a file whose connection breaks.
const ATTEMPTS: usize = 4;

/// Fetches the file; gives its length in bytes. What has come of it so far stays beside its place as `.NAME.part`.
pub(super) fn fetch(wanted: &Wanted) -> Result<u64> {
    let part = part(wanted.place)?;
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .build(),
    );
    let mut attempt = 1;
    loop {
        let before = length(&part);
        match go_on(&agent, &wanted.address, &part) {
            Ok(()) => break,
            // It stands where it stood: another attempt would too.
            Err(error) if error.is::<Refused>() || (attempt >= ATTEMPTS && length(&part) <= before) => return Err(error),
            Err(error) if attempt >= ATTEMPTS => {
                return Err(error.context(format!("it broke off after {} bytes: give the command again to go on", length(&part))));
            }
            Err(_) => attempt += 1,
        }
    }
    if let Some(sum) = wanted.md5
        && let Some(found) = check(&part, sum)?
    {
        std::fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
        bail!("what came is not the published file: its MD5 is {found}, not {sum}");
    }
    File::open(&part).and_then(|file| file.sync_all()).with_context(|| format!("cannot write {}", part.display()))?;
    std::fs::rename(&part, wanted.place).with_context(|| format!("cannot write {}", wanted.place.display()))?;
    Ok(length(wanted.place))
}

/// The server's answer is no, and will be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// Asks for what is missing of a file, and appends it.
fn go_on(agent: &ureq::Agent, address: &str, part: &Path) -> Result<()> {
    let have = length(part);
    let mut request = agent.get(address);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut answer = request.call().context("cannot fetch it")?;
    let status = answer.status().as_u16();
    let whole = match status {
        200 => true,
        206 => false,
        // Nothing is missing, or what is here is of a longer file: its checksum tells.
        416 if total(&answer) == Some(have) => return Ok(()),
        416 => {
            std::fs::remove_file(part).context("cannot begin anew")?;
            bail!("the server has less than what came before");
        }
        500..=599 => bail!("the server answers with status {status}"),
        _ => return Err(Refused(format!("the server answers with status {status}")).into()),
    };
    let expected = if whole { answer.body().content_length() } else { total(&answer) };
    let mut file = OpenOptions::new().create(true).append(true).open(part).with_context(|| format!("cannot write {}", part.display()))?;
    if whole {
        file.set_len(0).context("cannot begin anew")?;
    }
    let mut body = answer.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = body.read(&mut buffer).context("the connection broke")?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).with_context(|| format!("cannot write {}", part.display()))?;
    }
    let found = length(part);
    if let Some(expected) = expected {
        ensure!(found == expected, "the connection ended after {found} of {expected} bytes");
    }
    Ok(())
}

/// The length of the whole file, from `Content-Range: bytes 10-19/20`.
fn total(answer: &ureq::http::Response<ureq::Body>) -> Option<u64> {
    answer.headers().get("Content-Range")?.to_str().ok()?.rsplit('/').next()?.parse().ok()
}

/// The MD5 of a file, where it is not the one given.
pub(super) fn check(place: &Path, md5: &str) -> Result<Option<String>> {
    let mut file = File::open(place).with_context(|| format!("cannot read {}", place.display()))?;
    let mut hasher = Md5::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("cannot read {}", place.display()))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((found != md5.to_lowercase()).then_some(found))
}

fn part(place: &Path) -> Result<PathBuf> {
    let name = place.file_name().context("a file without a name")?.to_string_lossy();
    Ok(place.with_file_name(format!(".{name}.part")))
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}
