//! Lines text up in columns and wraps it, for what subcommands print.

/// Rows with their columns lined up, two spaces between, each line after `indent`. Numbers are set to the right where a
/// whole column has nothing else below its first row.
pub(super) fn grid(rows: &[Vec<String>], indent: &str) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let is_number = |cell: &String| cell.is_empty() || cell.parse::<f64>().is_ok();
    let layout: Vec<(usize, bool)> = (0..columns)
        .map(|column| {
            let mut below = rows.iter().skip(1).filter_map(|row| row.get(column)).peekable();
            (width(column), below.peek().is_some() && below.all(is_number))
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (cell, (width, right)) in row.iter().zip(&layout) {
            let blank = " ".repeat(width.saturating_sub(cell.chars().count()));
            match right {
                true => line.extend([blank.as_str(), cell, "  "]),
                false => line.extend([cell.as_str(), &blank, "  "]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Words of `text` in lines of at most `width` characters, each after `indent`; empty lines between paragraphs stay.
pub(super) fn wrap(text: &str, indent: &str, width: usize) -> String {
    let mut wrapped = String::new();
    for (number, paragraph) in text.split("\n\n").enumerate() {
        if number > 0 {
            wrapped.push('\n');
        }
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && indent.len() + line.chars().count() + 1 + word.chars().count() > width {
                wrapped.extend([indent, &line, "\n"]);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            wrapped.extend([indent, &line, "\n"]);
        }
    }
    wrapped
}

/// `40.0 kB`: bytes as people read them, by thousands.
pub(super) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// `1.2 s`, `3 min 20 s`, `2 h 05 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// `1 file`, `2 files`.
pub(super) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let rows = [["name", "n"], ["auc", "10"], ["é", "9"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(grid(&rows, "  "), "  name   n\n  auc   10\n  é      9\n");
    }

    #[test]
    fn words_wrap_and_paragraphs_stay() {
        assert_eq!(wrap("one two\nthree\n\nfour", "  ", 10), "  one two\n  three\n\n  four\n");
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([bytes(999), bytes(40_000), bytes(1_234_567)], ["999 B", "40.0 kB", "1.2 MB"]);
        assert_eq!([duration(0.04), duration(200.0), duration(7500.0)], ["0.0 s", "3 min 20 s", "2 h 05 min"]);
    }
}
