//! Numbers as people read them: three digits, a unit, a dash for what is unknown.

use super::answers::Number;

/// What stands for a number the server does not know.
pub const UNKNOWN: &str = "–";

/// A count: `950`, `12.3 k`, `4.56 M`.
#[must_use]
pub fn count(number: Number) -> String {
    scaled(number, 1_000.0, &["", " k", " M", " G"])
}

/// Bits per second: `3.20 Mb/s`.
#[must_use]
pub fn bits(number: Number) -> String {
    scaled(number, 1_000.0, &[" b/s", " kb/s", " Mb/s", " Gb/s"])
}

/// Bytes: `519 MiB`.
#[must_use]
pub fn bytes(number: Number) -> String {
    scaled(number, 1_024.0, &[" B", " KiB", " MiB", " GiB"])
}

/// Microseconds as what is short: `850 µs`, `2.78 ms`, `1.20 s`.
#[must_use]
pub fn micros(number: Number) -> String {
    scaled(number, 1_000.0, &[" µs", " ms", " s"])
}

/// Milliseconds as what is short.
#[must_use]
pub fn millis(number: Number) -> String {
    micros(number.map(|ms| ms * 1_000.0))
}

/// A part of one in percent: `0.10 %`.
#[must_use]
pub fn ratio(number: Number) -> String {
    percent(number.map(|ratio| ratio * 100.0))
}

/// Percent: `3.2 %`.
#[must_use]
pub fn percent(number: Number) -> String {
    known(number, |n| if n == 0.0 { "0 %".to_owned() } else { format!("{} %", three_digits(n)) })
}

/// A name that is a number: a port, a shard, a core.
#[must_use]
pub fn index(number: Number) -> String {
    known(number, |n| format!("{n:.0}"))
}

/// A small figure with one digit behind the point: a mean, a MOS.
#[must_use]
pub fn tenths(number: Number) -> String {
    known(number, |n| format!("{n:.1}"))
}

/// A length of time in the two largest units: `3 h 2 min`.
#[must_use]
pub fn duration(seconds: Number) -> String {
    known(seconds, |n| {
        let s = n.max(0.0) as u64;
        match s {
            0..60 => format!("{s} s"),
            60..3_600 => format!("{} min {} s", s / 60, s % 60),
            3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
            _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
        }
    })
}

/// Text that may be missing, without what a terminal would obey.
#[must_use]
pub fn text(text: Option<&str>) -> String {
    text.map_or_else(|| UNKNOWN.to_owned(), |text| text.replace(char::is_control, " "))
}

fn known(number: Number, show: impl FnOnce(f64) -> String) -> String {
    number.filter(|n| n.is_finite()).map_or_else(|| UNKNOWN.to_owned(), show)
}

fn scaled(number: Number, step: f64, units: &[&str]) -> String {
    known(number, |mut n| {
        let mut unit = 0;
        // What would be rounded up to the next unit's one is shown as that.
        while n.abs() >= step - 0.5 && unit + 1 < units.len() {
            n /= step;
            unit += 1;
        }
        let number = if unit == 0 && n.fract() == 0.0 { format!("{n}") } else { three_digits(n) };
        number + units[unit]
    })
}

fn three_digits(n: f64) -> String {
    match n.abs() {
        small if small < 9.995 => format!("{n:.2}"),
        middle if middle < 99.95 => format!("{n:.1}"),
        _ => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        let shown = [
            (count(Some(950.0)), "950"),
            (count(Some(12_345.0)), "12.3 k"),
            (count(Some(999_999.0)), "1.00 M"),
            (count(None), "–"),
            (count(Some(f64::NAN)), "–"),
            (bits(Some(3_200_000.0)), "3.20 Mb/s"),
            (bytes(Some(519.0 * 1_048_576.0)), "519 MiB"),
            (micros(Some(829.4)), "829 µs"),
            (millis(Some(2.781)), "2.78 ms"),
            (micros(Some(7e9)), "7000 s"),
            (ratio(Some(0.001)), "0.10 %"),
            (ratio(Some(0.0)), "0 %"),
            (index(Some(7_882.0)), "7882"),
            (duration(Some(10_921.5)), "3 h 2 min"),
            (duration(Some(59.9)), "59 s"),
            (duration(Some(90_000.0)), "1 d 1 h"),
            (text(Some("a\u{1b}[2Jb")), "a [2Jb"),
        ];
        for (shown, expected) in shown {
            assert_eq!(shown, expected);
        }
    }
}
