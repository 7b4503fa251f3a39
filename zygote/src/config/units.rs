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

/// A time, such as `10m`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let unit_ms: Option<u64> = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60 * 1000),
        "h" => Some(60 * 60 * 1000),
        "d" => Some(24 * 60 * 60 * 1000),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let ms = unit_ms.zip(number).and_then(|(unit_ms, number)| number.checked_mul(unit_ms));
    ms.map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is no time: a whole number with ms, s, m, h or d"))
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}
