//! JPEG with a cosine transform and samples of 12 bits (ITU-T T.81, extended sequential, Huffman), which older radiographs use and
//! no kept-up crate decodes. One grey component.
//!
//! Knows nothing of DICOM.

/// Cosines of k·π/16, from 0 to 7: written out so that every machine has the same.
const COSINES: [f64; 8] = [
    1.0,
    0.980_785_280_403_230_4,
    0.923_879_532_511_286_7,
    0.831_469_612_302_545_2,
    std::f64::consts::FRAC_1_SQRT_2,
    0.555_570_233_019_602_2,
    0.382_683_432_365_089_8,
    0.195_090_322_016_128_28,
];
/// Place in the block of the n-th coefficient.
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56,
    57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Values 0 to 4095, row by row, of a stream that must be `columns` × `rows`; `None` where it is not sound, or not of this process.
pub(super) fn decode(stream: &[u8], columns: u32, rows: u32) -> Option<Vec<u16>> {
    let mut tables = Tables { quantisation: Default::default(), huffman: Default::default(), restart: 0, used: 0 };
    let mut framed = false;
    let mut rest = stream.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let &[0xff, marker, ..] = rest else { return None };
        if marker == 0xff {
            rest = &rest[1..];
            continue;
        }
        let length = usize::from(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
        let segment = rest.get(4..2 + length)?;
        rest = &rest[2 + length..];
        match marker {
            0xc0 | 0xc1 => {
                let &[12, h1, h0, w1, w0, 1, ..] = segment else { return None };
                let size = (u32::from(u16::from_be_bytes([w1, w0])), u32::from(u16::from_be_bytes([h1, h0])));
                framed = size == (columns, rows);
                tables.used = usize::from(*segment.get(8)? & 3);
            }
            0xc4 => tables.read_huffman(segment)?,
            0xdb => tables.read_quantisation(segment)?,
            0xdd => tables.restart = u16::from_be_bytes([*segment.first()?, *segment.get(1)?]).into(),
            0xda => {
                let &[1, _, which, ..] = segment else { return None };
                let (dc, ac) = (tables.huffman.get(usize::from(which >> 4))?, tables.huffman.get(4 + usize::from(which & 15))?);
                return match framed {
                    true => tables.scan(rest, dc.as_ref()?, ac.as_ref()?, columns as usize, rows as usize),
                    false => None,
                };
            }
            // Progressive, lossless and arithmetic frames are other processes.
            0xc2 | 0xc3 | 0xc5..=0xcf | 0xd8 | 0xd9 => return None,
            _ => {}
        }
    }
}

struct Tables {
    quantisation: [Option<[f64; 64]>; 4],
    /// Four for DC, four for AC.
    huffman: [Option<Huffman>; 8],
    /// Blocks from restart to restart; 0 for none.
    restart: usize,
    /// The quantisation table of the component.
    used: usize,
}

/// Codes of each length, 1 to 16 (T.81 annex C).
struct Huffman {
    first: [u32; 17],
    count: [u32; 17],
    start: [usize; 17],
    values: Vec<u8>,
}

impl Tables {
    fn read_quantisation(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let width = if head >> 4 == 0 { 1 } else { 2 };
            let entries = rest.get(..64 * width)?;
            let mut table = [0.0; 64];
            for (place, entry) in ZIGZAG.iter().zip(entries.chunks(width)) {
                table[*place] = entry.iter().fold(0.0, |sum, byte| sum * 256.0 + f64::from(*byte));
            }
            *self.quantisation.get_mut(usize::from(head & 15))? = Some(table);
            segment = &rest[64 * width..];
        }
        Some(())
    }

    fn read_huffman(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let counts = rest.get(..16)?;
            let mut table = Huffman { first: [0; 17], count: [0; 17], start: [0; 17], values: Vec::new() };
            let (mut code, mut start) = (0, 0);
            for (length, count) in (1..).zip(counts) {
                (table.first[length], table.count[length], table.start[length]) = (code, u32::from(*count), start);
                code = (code + u32::from(*count)) << 1;
                start += usize::from(*count);
            }
            table.values = rest.get(16..16 + start)?.to_vec();
            *self.huffman.get_mut(usize::from(head >> 4 & 1) * 4 + usize::from(head & 3))? = Some(table);
            segment = &rest[16 + start..];
        }
        Some(())
    }

    fn scan(&self, data: &[u8], dc: &Huffman, ac: &Huffman, columns: usize, rows: usize) -> Option<Vec<u16>> {
        let quantisation = self.quantisation[self.used].as_ref()?;
        let mut bits = Bits { data, at: 0, held: 0, count: 0 };
        let mut values = vec![0; columns * rows];
        let (mut before, mut done) = (0_i32, 0_usize);
        for top in (0..rows).step_by(8) {
            for left in (0..columns).step_by(8) {
                if self.restart > 0 && done > 0 && done.is_multiple_of(self.restart) {
                    bits.restart()?;
                    before = 0;
                }
                done += 1;
                let mut block = [0.0; 64];
                let size = bits.symbol(dc)?;
                before = before.checked_add(bits.signed(size)?)?;
                block[0] = f64::from(before) * quantisation[0];
                let mut at = 1;
                while at < 64 {
                    let symbol = bits.symbol(ac)?;
                    let (run, size) = (usize::from(symbol >> 4), symbol & 15);
                    if size == 0 {
                        if run < 15 {
                            break;
                        }
                        at += 16;
                        continue;
                    }
                    at += run;
                    let place = *ZIGZAG.get(at)?;
                    block[place] = f64::from(bits.signed(size)?) * quantisation[place];
                    at += 1;
                }
                let block = inverse_cosine(&block);
                for (y, row) in block.chunks(8).enumerate().take(rows - top) {
                    for (x, value) in row.iter().enumerate().take(columns - left) {
                        values[(top + y) * columns + left + x] = (value + 2048.0).round().clamp(0.0, 4095.0) as u16;
                    }
                }
            }
        }
        Some(values)
    }
}

/// T.81 A.3.3, along rows and then columns.
fn inverse_cosine(block: &[f64; 64]) -> [f64; 64] {
    let along = |block: &[f64; 64], step: usize, other: usize| {
        let mut out = [0.0; 64];
        for line in 0..8 {
            for x in 0..8 {
                let mut sum = block[line * other] * COSINES[4];
                for u in 1..8 {
                    sum += block[line * other + u * step] * cosine((2 * x + 1) * u);
                }
                out[line * other + x * step] = sum / 2.0;
            }
        }
        out
    };
    along(&along(block, 1, 8), 8, 1)
}

/// The cosine of k·π/16.
fn cosine(k: usize) -> f64 {
    match k % 32 {
        k @ 0..=7 => COSINES[k],
        8 | 24 => 0.0,
        k @ 9..=16 => -COSINES[16 - k],
        k @ 17..=23 => -COSINES[k - 16],
        k => COSINES[32 - k],
    }
}

/// Bits of entropy-coded data, stuffed zeros taken out.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    held: u32,
    count: u32,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u32> {
        if self.count == 0 {
            let byte = *self.data.get(self.at)?;
            self.at += 1;
            if byte == 0xff {
                // A marker ends the data.
                (*self.data.get(self.at)? == 0).then_some(())?;
                self.at += 1;
            }
            (self.held, self.count) = (byte.into(), 8);
        }
        self.count -= 1;
        Some(self.held >> self.count & 1)
    }

    fn symbol(&mut self, table: &Huffman) -> Option<u8> {
        let mut code = 0;
        for length in 1..17 {
            code = code << 1 | self.bit()?;
            if code >= table.first[length] && code - table.first[length] < table.count[length] {
                return table.values.get(table.start[length] + (code - table.first[length]) as usize).copied();
            }
        }
        None
    }

    /// T.81 F.2.2.1: `size` bits, the lower half of them negative.
    fn signed(&mut self, size: u8) -> Option<i32> {
        if size > 15 {
            return None;
        }
        let mut value = 0;
        for _ in 0..size {
            value = value << 1 | self.bit()? as i32;
        }
        Some(if size > 0 && value < 1 << (size - 1) { value - (1 << size) + 1 } else { value })
    }

    /// Passes over a restart marker.
    fn restart(&mut self) -> Option<()> {
        self.count = 0;
        matches!(self.data.get(self.at..self.at + 2)?, [0xff, 0xd0..=0xd7]).then_some(())?;
        self.at += 2;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of 9 × 8 pixels: two blocks with the given entropy-coded bytes. DC sizes 0, 3 and AC end of block have one-bit codes.
    fn stream(coded: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
        bytes.extend([8; 64]);
        bytes.extend([0xff, 0xc1, 0, 11, 12, 0, 8, 0, 9, 1, 1, 0x11, 0]);
        // DC: 0 → size 0, 10 → size 3. AC: 0 → end of block.
        bytes.extend([0xff, 0xc4, 0, 21, 0x00, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        bytes.extend([0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0x00, 0, 63, 0]);
        bytes.extend(coded);
        bytes.extend([0xff, 0xd9]);
        bytes
    }

    #[test]
    fn flat_blocks_have_their_mean() {
        // First block: DC 10 101 (5), AC 0. Second: DC 10 010 (−5), AC 0. Padding of ones. DC·8/8 = 5 above the middle.
        let values = decode(&stream(&[0b1010_1010, 0b0100_1111]), 9, 8).unwrap();
        assert_eq!((values.len(), values[0], values[7], values[8]), (72, 2053, 2053, 2048));
        assert_eq!(decode(&stream(&[0b1010_1010]), 9, 8), None);
        assert_eq!(decode(&stream(&[0b1010_1010, 0b0100_1111]), 8, 9), None);
    }

    #[test]
    fn the_transform_keeps_energy() {
        let mut block = [0.0; 64];
        (block[0], block[1], block[8], block[27]) = (80.0, -3.0, 7.0, 11.0);
        let energy = |block: &[f64; 64]| block.iter().map(|value| value * value).sum::<f64>();
        assert!((energy(&inverse_cosine(&block)) - energy(&block)).abs() < 1e-9);
    }
}
