//! Text in the character sets of DICOM (PS3.3 C.12.1.1.2, PS3.5 6.1): single-byte sets, UTF-8, GB18030, and ISO 2022 code extensions.
//!
//! Decoding never fails: what cannot be decoded becomes U+FFFD.

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};

const ESCAPE: u8 = 0x1b;

/// What the upper half of the bytes means.
#[derive(Clone, Copy)]
enum Upper {
    Latin1,
    Katakana,
    Other(&'static Encoding),
}

/// What the lower half of the bytes means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lower {
    Ascii,
    /// Two bytes a character: JIS X 0208, and JIS X 0212.
    Jis208,
    Jis212,
}

/// Decodes a value; `declared` is the value of Specific Character Set (0008,0005), its values parted by `\`.
pub fn decode(declared: &str, bytes: &[u8]) -> String {
    if bytes.is_ascii() && !bytes.contains(&ESCAPE) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let first = declared.split('\\').next().unwrap_or_default().trim().replace("ISO 2022 IR ", "ISO_IR ");
    let whole = match first.as_str() {
        "ISO_IR 192" => return String::from_utf8_lossy(bytes).into_owned(),
        "GB18030" => Some(GB18030),
        "GBK" => Some(GBK),
        "BIG5" => Some(BIG5),
        _ => None,
    };
    if let Some(encoding) = whole {
        return encoding.decode_without_bom_handling(bytes).0.into_owned();
    }
    // A set that is not declared: UTF-8 where the bytes are, as many writers forget to say.
    if first.is_empty()
        && !bytes.contains(&ESCAPE)
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return text.to_owned();
    }
    extended(upper_of(&first), bytes)
}

fn upper_of(term: &str) -> Upper {
    let label: &[u8] = match term {
        "ISO_IR 101" => b"iso-8859-2",
        "ISO_IR 109" => b"iso-8859-3",
        "ISO_IR 110" => b"iso-8859-4",
        "ISO_IR 144" => b"iso-8859-5",
        "ISO_IR 127" => b"iso-8859-6",
        "ISO_IR 126" => b"iso-8859-7",
        "ISO_IR 138" => b"iso-8859-8",
        "ISO_IR 148" => b"iso-8859-9",
        "ISO_IR 203" => b"iso-8859-15",
        "ISO_IR 166" => b"tis-620",
        "ISO_IR 149" => b"euc-kr",
        "ISO_IR 58" => b"gbk",
        "ISO_IR 13" => return Upper::Katakana,
        _ => return Upper::Latin1,
    };
    Encoding::for_label(label).map_or(Upper::Latin1, Upper::Other)
}

/// Follows escape sequences; delimiters of values, lines and parts of names bring back the first set.
fn extended(initial: Upper, bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let (mut lower, mut upper) = (Lower::Ascii, initial);
    let mut rest = bytes;
    while let Some(&byte) = rest.first() {
        if byte == ESCAPE {
            let (taken, new_lower, new_upper) = escape(&rest[1..]);
            lower = new_lower.unwrap_or(lower);
            upper = new_upper.unwrap_or(upper);
            rest = &rest[(1 + taken).min(rest.len())..];
        } else if byte >= 0x80 {
            let length = rest.iter().take_while(|byte| **byte >= 0x80).count();
            // In double-byte sets a second byte may look like ASCII.
            let length = match upper {
                Upper::Other(encoding) if encoding == EUC_KR || encoding == GBK => length + length % 2,
                _ => length,
            };
            let (run, after) = rest.split_at(length.min(rest.len()));
            match upper {
                Upper::Latin1 => text.extend(run.iter().map(|byte| char::from(*byte))),
                Upper::Katakana => text.push_str(&SHIFT_JIS.decode_without_bom_handling(run).0),
                Upper::Other(encoding) => text.push_str(&encoding.decode_without_bom_handling(run).0),
            }
            rest = after;
        } else if lower != Lower::Ascii && byte > 0x20 && rest.len() > 1 {
            let pair = [byte | 0x80, rest[1] | 0x80];
            let three = [0x8f, pair[0], pair[1]];
            let code = if lower == Lower::Jis208 { &pair[..] } else { &three[..] };
            text.push_str(&EUC_JP.decode_without_bom_handling(code).0);
            rest = &rest[2..];
        } else {
            if matches!(byte, b'\\' | b'^' | b'=' | b'\r' | b'\n' | b'\t' | 0x0c) {
                (lower, upper) = (Lower::Ascii, initial);
            }
            text.push(char::from(byte));
            rest = &rest[1..];
        }
    }
    text
}

/// Length of the escape sequence behind ESC, and what it changes.
fn escape(rest: &[u8]) -> (usize, Option<Lower>, Option<Upper>) {
    let other = |label: &[u8]| Encoding::for_label(label).map(Upper::Other);
    match rest {
        [b'$', b'B' | b'@', ..] => (2, Some(Lower::Jis208), None),
        [b'$', b'(', b'D', ..] => (3, Some(Lower::Jis212), None),
        [b'$', b')', b'C', ..] => (3, None, other(b"euc-kr")),
        [b'$', b')', b'A', ..] => (3, None, other(b"gbk")),
        [b'(', b'B' | b'J', ..] => (2, Some(Lower::Ascii), None),
        [b')', b'I', ..] => (2, None, Some(Upper::Katakana)),
        [b'-', set, ..] => {
            let upper = match set {
                b'A' => Some(Upper::Latin1),
                b'B' => other(b"iso-8859-2"),
                b'C' => other(b"iso-8859-3"),
                b'D' => other(b"iso-8859-4"),
                b'L' => other(b"iso-8859-5"),
                b'G' => other(b"iso-8859-6"),
                b'F' => other(b"iso-8859-7"),
                b'H' => other(b"iso-8859-8"),
                b'M' => other(b"iso-8859-9"),
                b'b' => other(b"iso-8859-15"),
                b'T' => other(b"tis-620"),
                _ => None,
            };
            (2, None, upper)
        }
        _ => (0, None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_own_examples_are_decoded() {
        // PS3.5 annexes H.3.1, I.2 and J; ISO_IR 100 and 144 after C.12.
        let japanese = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
        assert_eq!(decode("\\ISO 2022 IR 87", japanese), "Yamada^Tarou=山田^太郎=やまだ^たろう");
        let korean = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
        assert_eq!(decode("\\ISO 2022 IR 149", korean), "Hong^Gildong=洪^吉洞=홍^길동");
        assert_eq!(decode("ISO_IR 100", b"Buc^J\xe9r\xf4me"), "Buc^Jérôme");
        assert_eq!(decode("ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"), "ﾔﾏﾀﾞ^ﾀﾛｳ");
        assert_eq!(decode("ISO_IR 192", "Wang^小东".as_bytes()), "Wang^小东");
        assert_eq!(decode("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"), "Wang^XiaoDong=王^小东");
    }
}
