//! Contact sheets: small pictures with the contours of masks on them, in one SVG file that needs no other.
//!
//! Knows nothing of what the masks are of, or of stages.

use super::prepare::resize;
use super::{Filter, Grey, Mask};
use anyhow::Result;
use std::fmt::Write as _;

/// Space between tiles, and the height of a line of text, in pixels.
const GAP: u32 = 10;
const LINE: u32 = 15;
/// Tiles in a row at most.
const COLUMNS: u32 = 6;
/// Blue and orange are told apart by everybody.
const COLOURS: [&str; 2] = ["#38b6ff", "#ff8c1a"];

/// A mask to draw the contour of.
#[derive(Clone, Debug)]
pub struct Outline {
    pub mask: Mask,
    /// 0 or 1: which name of the legend it belongs to.
    pub name: usize,
}

/// A picture of the sheet.
#[derive(Clone, Debug)]
pub struct Tile {
    /// The image; without one its place is black.
    pub picture: Option<Grey>,
    pub outlines: Vec<Outline>,
    /// Lines under the picture.
    pub caption: Vec<String>,
}

/// Groups of tiles under titles, as SVG; groups without tiles are left out. `legend` names the two kinds of contour; `side`: the longer side
/// of each picture, in pixels.
pub fn contact_sheet(legend: [&str; 2], groups: &[(String, Vec<Tile>)], side: u32) -> Result<String> {
    let lines = groups.iter().flat_map(|(_, tiles)| tiles).map(|tile| tile.caption.len()).max().unwrap_or(0) as u32;
    let (across, down) = (side + GAP, side + LINE * lines + GAP);
    let mut body = String::new();
    for (at, (name, colour)) in legend.into_iter().zip(COLOURS).enumerate() {
        text(&mut body, GAP + at as u32 * 150, GAP + LINE, colour, 13, &format!("— {name}"))?;
    }
    let mut top = 2 * GAP + LINE;
    for (title, tiles) in groups.iter().filter(|(_, tiles)| !tiles.is_empty()) {
        text(&mut body, GAP, top + LINE, "#ffffff", 14, title)?;
        top += LINE + GAP;
        for (at, tile) in tiles.iter().enumerate() {
            let (column, row) = (at as u32 % COLUMNS, at as u32 / COLUMNS);
            write_tile(&mut body, tile, (GAP + column * across, top + row * down), side)?;
        }
        top += (tiles.len() as u32).div_ceil(COLUMNS) * down;
    }
    let (width, height) = (GAP + COLUMNS * across, top + GAP);
    let head = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">");
    Ok(format!("{head}\n<rect width=\"{width}\" height=\"{height}\" fill=\"#202020\"/>\n{body}</svg>\n"))
}

fn write_tile(body: &mut String, tile: &Tile, (left, top): (u32, u32), side: u32) -> Result<()> {
    let shape = tile.picture.as_ref().map(|picture| (picture.width, picture.height));
    let shape = shape.or_else(|| tile.outlines.first().map(|outline| (outline.mask.width, outline.mask.height)));
    let (width, height) = fit(shape.unwrap_or((side, side)), side);
    writeln!(body, "<g transform=\"translate({left} {top})\">")?;
    match &tile.picture {
        Some(picture) => {
            let png = base64(&thumbnail(picture, width, height)?.encode_png()?);
            writeln!(body, "<image width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{png}\"/>")?;
        }
        None => writeln!(body, "<rect width=\"{width}\" height=\"{height}\"/>")?,
    }
    for outline in &tile.outlines {
        // Twice as fine as the picture: a step of half a pixel cannot be seen.
        let mut path = String::new();
        for contour in outline.mask.resize(2 * width, 2 * height).contours() {
            let start = path.len();
            for (column, row) in contour {
                write!(path, "{}{} {}", if path.len() == start { 'M' } else { 'L' }, f64::from(column) / 2.0, f64::from(row) / 2.0)?;
            }
            path.push('Z');
        }
        let colour = COLOURS[outline.name.min(1)];
        writeln!(body, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>")?;
    }
    for (at, line) in tile.caption.iter().enumerate() {
        text(body, 0, height + LINE * (at as u32 + 1) - 2, "#e0e0e0", 11, &ending(line, side as usize / 7))?;
    }
    writeln!(body, "</g>")?;
    Ok(())
}

/// Width and height with the longer one as given.
fn fit((width, height): (u32, u32), side: u32) -> (u32, u32) {
    let longer = u64::from(width.max(height).max(1));
    let scaled = |pixels: u32| ((u64::from(pixels) * u64::from(side) + longer / 2) / longer).max(1) as u32;
    (scaled(width), scaled(height))
}

/// The image at another size with 8 bits, its values spread over the full range.
fn thumbnail(image: &Grey, width: u32, height: u32) -> Result<Grey> {
    let deep = image.clone().into_deep();
    let mut small = resize(&deep, width, height, Filter::Bilinear)?;
    let (low, high) = small.range();
    let span = u32::from(high - low).max(1);
    small.pixels.iter_mut().for_each(|value| *value = (u32::from(*value - low) * 255 / span) as u16);
    small.depth = 8;
    Ok(small)
}

/// A line that fits: of one that is too long the end, which tells files of one folder apart.
fn ending(line: &str, most: usize) -> String {
    match line.chars().count().checked_sub(most) {
        None | Some(0) => line.to_owned(),
        Some(surplus) => std::iter::once('…').chain(line.chars().skip(surplus + 1)).collect(),
    }
}

fn text(body: &mut String, x: u32, y: u32, colour: &str, size: u32, words: &str) -> std::fmt::Result {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(body, "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\" font-family=\"sans-serif\" font-size=\"{size}\">{words}</text>")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::mask::drawn;
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let shown = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(shown, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn a_long_caption_keeps_its_end() {
        assert_eq!([ending("abcdef", 6), ending("abcdef", 4), ending("äöü", 2)], ["abcdef", "…def", "…ü"]);
    }

    #[test]
    fn a_sheet_holds_pictures_contours_and_words() {
        let picture = Grey { width: 4, height: 2, depth: 16, pixels: (0..8).map(|at| at * 9000).collect() };
        let mask = drawn(&[".##.", "...."]);
        let tile = Tile {
            picture: Some(picture),
            outlines: vec![Outline { mask: mask.clone(), name: 0 }, Outline { mask, name: 1 }],
            caption: vec!["<1> & b".to_owned()],
        };
        let bare = Tile { picture: None, caption: Vec::new(), ..tile.clone() };
        let groups = [("worst".to_owned(), vec![tile, bare]), ("flagged".to_owned(), Vec::new())];
        let svg = contact_sheet(["drawn", "predicted"], &groups, 60).unwrap();
        assert_eq!((svg.matches("<image ").count(), svg.matches("<path ").count()), (1, 4));
        assert!(svg.contains("d=\"M45 0L45 15L15 15L15 0Z\"") && svg.contains(">&lt;1&gt; &amp; b<") && !svg.contains("flagged"), "{svg}");
        let start = svg.find("base64,").unwrap() + 7;
        assert!(svg[start..].starts_with("iVBORw0KGgo"), "a PNG");
    }
}
