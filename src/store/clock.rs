//! The clock of the engine: times go to journals, records and logs, never into outputs or keys.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as [`utc`] writes it.
pub fn now() -> String {
    utc(SystemTime::now())
}

/// RFC 3339 in UTC with milliseconds, such as `2026-11-23T19:11:22.042Z`.
pub fn utc(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in March, eras have 146,097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// `20261123T191122042917`: to the microsecond, so that names which begin so sort by time. Where the clock was set back it is the one that
/// follows the `last` name's, so that a later name is a later one all the same.
pub(super) fn stamp_after(moment: SystemTime, last: Option<&str>) -> String {
    let compact: String = utc(moment).chars().filter(|one| one.is_ascii_alphanumeric() && *one != 'Z').collect();
    let micros = moment.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_micros() % 1000;
    let stamp = format!("{compact}{micros:03}");
    let next = |last: &str| {
        let (day, time) = last.split_once('-')?.0.split_once('T')?;
        Some(format!("{day}T{:0width$}", time.parse::<u64>().ok()?.checked_add(1)?, width = time.len()))
    };
    last.filter(|last| *last >= stamp.as_str()).and_then(next).unwrap_or(stamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_later_name_sorts_later_though_the_clock_was_set_back() {
        let stamp = |seconds: u64, last: Option<&str>| stamp_after(UNIX_EPOCH + Duration::from_micros(seconds * 1_000_000 + 42_917), last);
        assert_eq!(stamp(951_782_399, None), "20000228T235959042917");
        for seconds in [951_782_399, 0] {
            assert_eq!(stamp(seconds, Some("20000228T235959042917-17")), "20000228T235959042918");
        }
        assert_eq!(stamp(951_782_400, Some("20000228T235959042917-17")), "20000229T000000042917");
        assert_eq!(stamp(0, Some("odd")), "19700101T000000042917");
    }

    #[test]
    fn times_are_written_as_people_read_them() {
        let at = |seconds: u64| utc(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 42));
        assert_eq!(at(0), "1970-01-01T00:00:00.042Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.042Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.042Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.042Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.042Z");
    }
}
