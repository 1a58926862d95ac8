//! File names of images: from an item's name to a safe path in the output's folder.

use std::collections::HashSet;
use std::iter::once_with;

/// A path for each item's file: the item's name without an image extension, made safe, then `.extension`. Two items that would share one
/// keep their whole name, with a number where that is not enough. Depends on nothing but the names and their order.
pub fn file_names<'a>(items: impl IntoIterator<Item = &'a str>, extension: &str) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut name = |item: &str| {
        let stem = [".png", ".jpg", ".jpeg", ".bmp", ".dcm"].iter().find_map(|end| strip_end(item, end)).unwrap_or(item);
        let numbered = (2..).map(|number| format!("{}-{number}", safe(item)));
        let candidates = once_with(|| safe(stem)).chain(once_with(|| safe(item))).chain(numbered);
        let mut paths = candidates.map(|one| one + "." + extension);
        // The numbers never end, so there is always a free one.
        paths.find(|path| taken.insert(path.to_lowercase())).unwrap_or_default()
    };
    items.into_iter().map(&mut name).collect()
}

fn strip_end<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(end.len())?;
    (name.is_char_boundary(at) && at > 0 && name[at..].eq_ignore_ascii_case(end)).then(|| &name[..at])
}

/// Letters, digits, `.`, `_`, `-` and inner slashes stay; no part is empty or starts with a dot.
fn safe(name: &str) -> String {
    let mut kept = String::with_capacity(name.len() + 1);
    for (place, part) in name.split('/').enumerate() {
        if place > 0 {
            kept.push('/');
        }
        if part.is_empty() || part.starts_with('.') {
            kept.push('_');
        }
        if part.bytes().all(|one| one.is_ascii_alphanumeric() || b"._-".contains(&one)) {
            kept.push_str(part);
            continue;
        }
        kept.extend(part.chars().map(|one| if one.is_alphanumeric() || "._-".contains(one) { one } else { '_' }));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_each_is_used_once() {
        let items = ["a/b.JPG", "a/b.png", "../../etc/passwd", "/abs", "x y", "x_y", ".png", "A/B.bmp"];
        let names = ["a/b.png", "a/b.png.png", "_../_../etc/passwd.png", "_/abs.png", "x_y.png", "x_y-2.png", "_.png.png", "A/B.bmp.png"];
        assert_eq!(file_names(items, "png"), names);
    }
}
