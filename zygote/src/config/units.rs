//! Numbers with a unit.

use std::time::Duration;

/// A number of bytes, such as `512M`: the letters stand for powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit {
        "" => Some(0),
        "K" => Some(10),
        "M" => Some(20),
        "G" => Some(30),
        "T" => Some(40),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let bytes = shift.zip(number).and_then(|(shift, number)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| {
        format!("{text:?} is no size: a number of bytes, or a number with K, M, G or T")
    })
}

/// Units of time and their milliseconds, the longest first.
const TIMES: [(&str, u64); 5] =
    [("d", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

/// A time, such as `10m`, `1.5h` or `1h30m`: whole milliseconds, however they are written.
///
/// # Errors
/// That it is none, and what one is like.
pub fn time(text: &str) -> Result<Duration, String> {
    milliseconds(text)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is no time: a number with ms, s, m, h or d, as in 1h30m"))
}

fn milliseconds(text: &str) -> Option<u64> {
    let (mut rest, mut total, mut units) = (text, 0_u64, &TIMES[..]);
    loop {
        let (number, after) = rest.split_at(end_of(rest, |c| c.is_ascii_digit() || c == '.'));
        let (unit, after) = after.split_at(end_of(after, |c| c.is_ascii_alphabetic()));
        // Each unit once, and none after a shorter one.
        let place = units.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(times(number, units[place].1)?)?;
        (rest, units) = (after, &units[place + 1..]);
        if rest.is_empty() {
            return Some(total);
        }
    }
}

/// A decimal number times another one, where that is a whole number.
fn times(number: &str, factor: u64) -> Option<u64> {
    let (whole, part) = match number.split_once('.') {
        Some((whole, part)) if !part.is_empty() => (whole, part),
        Some(_) => return None,
        None => (number, "0"),
    };
    let scale = 10_u64.checked_pow(part.len().try_into().ok()?)?;
    let part = part.parse::<u64>().ok()?.checked_mul(factor)?;
    let rest = (part % scale == 0).then_some(part / scale)?;
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(rest)
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(end_of(text, |c| c.is_ascii_digit()))
}

/// Where the first part of a text ends that is made of such characters.
fn end_of(text: &str, such: impl Fn(char) -> bool) -> usize {
    text.find(|c| !such(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit_or_several_the_longest_first() {
        for (text, ms) in [
            ("10m", 600_000),
            ("500ms", 500),
            ("0s", 0),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("1m0.5s", 60_500),
            ("0.001s", 1),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "s",
            "10",
            "-1s",
            "1x",
            "1 m",
            "1m 2s",
            "30m1h",
            "1m1m",
            "1e3s",
            ".5h",
            "1.h",
            "1..5h",
            "0.1ms",
            "1h30",
            "99999999999999999999h",
            "213503982335d",
            "0.00000000000000000001s",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
