//! A page that needs nothing beside it: style, script, charts and pictures are inside, and its policy forbids any request.
//!
//! Knows nothing of what the sections say; `tables` fills the tables.

use super::Remark;
use super::svg::STYLE;
use maud::{DOCTYPE, PreEscaped, html};
use std::fmt::Write as _;

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub title: String,
    /// Name and value, on top.
    pub about: Vec<(String, String)>,
    /// Warnings stand before all else, other remarks after them.
    pub remarks: Vec<Remark>,
    pub sections: Vec<Section>,
}

/// A part of a page.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Where a link leads to.
    pub id: &'static str,
    pub title: &'static str,
    /// HTML.
    pub body: String,
}

impl Section {
    /// A part that is not there, and why.
    pub fn left_out(id: &'static str, title: &'static str, why: &str) -> Self {
        Self { id, title, body: note(&format!("Left out: {why}.")) }
    }
}

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

impl Page {
    /// The whole file.
    pub fn html(&self) -> String {
        let warnings = || self.remarks.iter().filter(|remark| remark.warning);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    link rel="icon" href="data:,";
                    title { (self.title) }
                    style { (PreEscaped(include_str!("page.css"))) (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (self.title) }
                        @if !self.about.is_empty() {
                            dl { @for (name, value) in &self.about { dt { (name) } dd { (value) } } }
                        }
                        @for remark in warnings() { p.warning role="alert" { strong { "Warning: " } (remark.text) "." } }
                        @for remark in self.remarks.iter().filter(|remark| !remark.warning) { p.note { "Note: " (remark.text) "." } }
                        nav aria-label="Contents" { @for section in &self.sections { a href={ "#" (section.id) } { (section.title) } } }
                    }
                    main {
                        @for section in &self.sections {
                            section id=(section.id) { h2 { (section.title) } (PreEscaped(&section.body)) }
                        }
                    }
                    script { (PreEscaped(include_str!("page.js"))) }
                }
            }
        }
        .into_string()
    }
}

/// A sentence beside the figures.
pub fn note(text: &str) -> String {
    html! { p.note { (text) } }.into_string()
}

/// A heading inside a section.
pub fn heading(text: &str) -> String {
    html! { h3 { (text) } }.into_string()
}

/// Pictures made here, beside each other.
pub fn gallery(pictures: &[String]) -> String {
    html! { div.grid { @for picture in pictures { figure { (PreEscaped(picture)) } } } }.into_string()
}

/// A picture that may be wider than the screen.
pub fn wide(picture: &str) -> String {
    html! { div.wide { (PreEscaped(picture)) } }.into_string()
}

/// An SVG of somebody else, which can do nothing but be seen.
pub fn picture(caption: &str, svg: &[u8]) -> String {
    let address = format!("data:image/svg+xml,{}", encoded(svg));
    html! { figure { img src=(address) alt=(caption); figcaption { (caption) } } }.into_string()
}

/// Bytes as they may stand in an address.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'+' | b'=' | b':' | b';' | b',' => {
                text.push(char::from(*byte));
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_first_and_text_is_escaped() {
        let section = Section { id: "s", title: "Some", body: note("a < b") };
        let remarks = vec![Remark::note("n & m"), Remark::warning("w")];
        let page = Page { title: "<t>".into(), about: vec![("licence".into(), "<i>".into())], remarks, sections: vec![section] };
        let text = page.html();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}\n{text}"));
        assert!(at("Warning: ") < at("Note: ") && at("n &amp; m") < at("<main>") && at("<main>") < at("a &lt; b"));
        assert!(text.contains("&lt;t&gt;") && text.contains("&lt;i&gt;") && !text.contains("<t>"));
        assert!(!text.contains("http://") && !text.contains("https://"), "nothing elsewhere is named");
    }

    #[test]
    fn foreign_pictures_are_inert() {
        let shown = picture("p", b"<svg xmlns='x'><script>alert(\"1\")</script></svg>");
        assert!(shown.contains("src=\"data:image/svg+xml,%3Csvg%20xmlns=%27x%27%3E%3Cscript%3E"), "{shown}");
    }
}
