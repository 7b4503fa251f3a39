//! How many messages each test has its subject judge. `ZYG_FUZZ_MESSAGES` sets their sum.

/// Their sum, unless another one is asked for.
const TOTAL: u64 =
    SOUND + ALONE + BRIEF + SPOILT + DEAF + DESCRIPTORS + TO_INIT + TO_ONE_INIT + SPOILT_TO_INIT;

pub const SOUND: u64 = 160_000;
pub const ALONE: u64 = 140_000;
pub const BRIEF: u64 = 140_000;
pub const SPOILT: u64 = 150_000;
pub const DEAF: u64 = 130_000;
pub const DESCRIPTORS: u64 = 60_000;
pub const TO_INIT: u64 = 120_000;
pub const TO_ONE_INIT: u64 = 90_000;
pub const SPOILT_TO_INIT: u64 = 20_000;

const _: () = assert!(TOTAL >= 1_000_000);

/// A test's share of what is asked for.
pub fn of(share: u64) -> u64 {
    let Ok(total) = std::env::var("ZYG_FUZZ_MESSAGES") else { return share };
    let total: u64 = total.parse().expect("ZYG_FUZZ_MESSAGES is a number");
    (u128::from(total) * u128::from(share) / u128::from(TOTAL)).max(1) as u64
}
