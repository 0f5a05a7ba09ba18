//! Numbers and times in words.

use std::time::{SystemTime, UNIX_EPOCH};

/// A share between 0 and 1.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A number with three digits that count, such as a learning rate.
pub fn significant(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".into();
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = (2.0 - size.log10().floor()).max(0.0) as usize;
    format!("{value:.digits$}")
}

/// A number of things.
pub fn counted(count: usize, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// A page with pictures of the control characters that names of files may have, and HTML must not.
pub fn visible(page: String) -> String {
    let control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !page.contains(control) {
        return page;
    }
    let picture = |c: char| match c {
        '\x7f' => '␡',
        '\0'..'\x20' => char::from_u32('␀' as u32 + c as u32).expect("a picture of each"),
        _ => char::REPLACEMENT_CHARACTER,
    };
    let shown = |c: char| if control(c) { picture(c) } else { c };
    page.chars().map(shown).collect()
}

/// Seconds as a reader thinks of them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!(
            "{:.0} min {:02.0} s",
            (s / 60.0).floor(),
            (s % 60.0).floor()
        ),
        s if s < 48.0 * 3600.0 => {
            format!(
                "{:.0} h {:02.0} min",
                (s / 3600.0).floor(),
                (s % 3600.0 / 60.0).floor()
            )
        }
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// A time as date and minute, in UTC.
pub fn date(time: SystemTime) -> String {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs() as i64,
        Err(before) => -(before.duration().as_secs() as i64),
    };
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Year, month and day of a day counted from 1970-01-01, by Gregory's calendar: years begin with March,
/// so that the leap day is a year's last (Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097; // days of 400 years
    let days = days + 719_468; // from 0000-03-01
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let first = (153 * month + 2) / 5;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, day - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // date -u -d @951782399 +'%F %H:%M'
        for (seconds, written) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_399, "2000-02-28 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), written);
        }
        assert_eq!(
            date(UNIX_EPOCH - Duration::from_secs(1)),
            "1969-12-31 23:59 UTC"
        );
    }

    #[test]
    fn three_digits_count() {
        let said = [0.0, 0.06, 0.00781, 0.0000925, 1.0, 30.0, 12_345.6].map(significant);
        assert_eq!(
            said,
            ["0", "0.0600", "0.00781", "9.25e-5", "1.00", "30.0", "12346"]
        );
    }

    #[test]
    fn durations_are_short() {
        let said = [0.44, 99.0, 1627.4, 5400.0, 7260.0, 300_000.0].map(duration);
        let expected = [
            "0.4 s",
            "99.0 s",
            "27 min 07 s",
            "90 min 00 s",
            "2 h 01 min",
            "3.5 days",
        ];
        assert_eq!(said, expected);
    }
}
