//! The day for templates that ask for it.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// A second of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    seconds: u64,
}

impl Date {
    pub fn now() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { seconds }
    }

    /// The beginning of a day from 1970 to 9999; `None` where there is none such.
    pub fn of(year: u64, month: u64, day: u64) -> Option<Self> {
        if !(1970..10_000).contains(&year) {
            return None;
        }
        // No more days than a year has to count from its first.
        let first = (1970..year).map(days_of).sum::<u64>();
        let of_year = first..first + days_of(year);
        let day = of_year.into_iter().find(|&count| civil(count) == (year, month, day))?;
        Some(Self { seconds: day * 86_400 })
    }

    /// As Python's `strftime` writes it in English.
    pub fn written(self, format: &str) -> Result<String, String> {
        let (year, month, day) = civil(self.seconds / 86_400);
        let [hour, minute, second] = [self.seconds / 3600 % 24, self.seconds / 60 % 60, self.seconds % 60];
        let month_name = MONTHS[month as usize - 1];
        let day_name = DAYS[(self.seconds / 86_400 % 7) as usize];
        let mut text = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let mut code = characters.next();
            // Without a zero before it.
            let bare = code == Some('-');
            if bare {
                code = characters.next();
            }
            let two = |number: u64| if bare { number.to_string() } else { format!("{number:02}") };
            text += &match code {
                Some('Y') => year.to_string(),
                Some('y') => two(year % 100),
                Some('m') => two(month),
                Some('d') => two(day),
                Some('H') => two(hour),
                Some('I') => two((hour + 11) % 12 + 1),
                Some('M') => two(minute),
                Some('S') => two(second),
                Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
                Some('B') => month_name.into(),
                Some('b' | 'h') => month_name[..3].into(),
                Some('A') => day_name.into(),
                Some('a') => day_name[..3].into(),
                Some('F') => format!("{year}-{month:02}-{day:02}"),
                Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
                Some('%') => "%".into(),
                other => {
                    return Err(format!(
                        "strftime_now has no %{}",
                        other.map(String::from).unwrap_or_default()
                    ));
                }
            };
        }
        Ok(text)
    }
}

fn days_of(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    if leap { 366 } else { 365 }
}

/// Year, month and day of a number of days since 1970 (Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days that Python's `datetime` writes so.
    #[test]
    fn days_are_those_of_the_calendar() {
        let written =
            |year, month, day| Date::of(year, month, day).unwrap().written("%A %d %b %Y, %B %-d").unwrap();
        assert_eq!(written(1970, 1, 1), "Thursday 01 Jan 1970, January 1");
        assert_eq!(written(2024, 2, 29), "Thursday 29 Feb 2024, February 29");
        assert_eq!(written(2026, 11, 28), "Saturday 28 Nov 2026, November 28");
        assert_eq!(Date::of(2023, 2, 29), None);
        assert_eq!(
            Date { seconds: 1_700_000_000 }.written("%F %T %I %p").unwrap(),
            "2023-11-14 22:13:20 10 PM"
        );
    }
}
