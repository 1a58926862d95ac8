//! Event files as TensorBoard reads them: scalars by tag and step.
//!
//! A file is a row of records (length, its checksum, bytes, their checksum; `TFRecord`), each an `Event` of TensorFlow's protocol
//! buffers, of which only what scalars need is written here: `event.proto` and `summary.proto`, by the numbers of their fields.

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// What TensorBoard calls the chart.
    pub tag: String,
    pub step: u64,
    /// Seconds since 1970.
    pub time: f64,
    pub value: f64,
}

/// The bytes of an event file. Its name must hold `tfevents`.
pub fn event_file(scalars: &[Scalar]) -> Vec<u8> {
    let start = scalars.first().map_or(0.0, |scalar| scalar.time);
    let mut file = record(&event(start, 0, |out| bytes(out, 3, b"brain.Event:2")));
    for Scalar { tag, step, time, value } in scalars {
        let mut summary = Vec::new();
        bytes(&mut summary, 1, tag.as_bytes());
        fixed(&mut summary, 2, &(*value as f32).to_le_bytes());
        let mut values = Vec::new();
        bytes(&mut values, 1, &summary);
        file.extend(record(&event(*time, *step, |out| bytes(out, 5, &values))));
    }
    file
}

/// An `Event`: wall time, step, and what it tells.
fn event(time: f64, step: u64, tell: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    fixed(&mut out, 1, &time.to_le_bytes());
    out.push(2 << 3);
    varint(&mut out, step);
    tell(&mut out);
    out
}

/// A field of four or eight bytes.
fn fixed(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | if value.len() == 8 { 1 } else { 5 });
    out.extend(value);
}

/// A field with a length: text, or another message.
fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// The checksum of a record: CRC-32C, turned and shifted so that a checksum of checksums differs.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C (Castagnoli), bit by bit: an event file has some kilobytes.
fn crc32c(data: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 });
    !data.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_one_that_tensorflow_writes() {
        // The check value of CRC-32C, RFC 3720.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let scalar = Scalar { tag: "loss".to_owned(), step: 300, time: 1.5, value: 0.25 };
        let file = event_file(std::slice::from_ref(&scalar));
        let version = 12 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize + 4;
        let second = &file[version + 12..file.len() - 4];
        let expected = b"\x09\x00\x00\x00\x00\x00\x00\xf8\x3f\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x80\x3e";
        assert_eq!(second, expected);
    }
}
