//! `zyg reserve`: environments kept warm for what is coming.

use crate::cli::Reserve;
use crate::connect::{find_or_start, unserved};
use crate::{EXIT_NOT_WARM, EXIT_SUCCESS, complain, print};
use serde_json::json;
use std::time::{Duration, Instant};
use zygote::config::DEFAULT_PROFILE;
use zygote_client::{Client, PoolStatus, RequestError, ReserveError};

/// Between two looks at whether enough are warm: the server does not call for that. Some ten
/// environments are built meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Reserves, and waits if told to.
pub fn reserve(reserve: &Reserve) -> anyhow::Result<u8> {
    let profile = reserve.profile();
    let client = find_or_start(&reserve.server)?;
    let floor = client.reserve(profile.as_deref(), reserve.count, reserve.time).map_err(
        |error| match error {
            ReserveError::Request(error) => unserved(error.into(), &reserve.server),
            error => error.into(),
        },
    )?;
    let profile = profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    // Others of the same user may have reserved besides, which is not ours to promise.
    let kept = floor.min(reserve.count);
    if kept < reserve.count {
        complain(&format!(
            "{} were asked for: `max` and `quota` of profile {profile}, and `zygotes_max` and `quota` of \
             the server, allow no more than {kept}",
            reserve.count
        ));
    }
    if !reserve.json {
        print(&format!("{}\n", told(kept, reserve, &profile)))?;
    }
    // What is over cannot become warm.
    let longest = reserve.wait.map(|longest| longest.min(reserve.time));
    let waited = match longest {
        Some(longest) => wait(&client, &profile, kept, longest),
        None => look(&client, &profile).map(Waited::Not),
    };
    let waited = waited.map_err(|error| unserved(error.into(), &reserve.server))?;
    if reserve.json {
        print(&format!("{}\n", whole(kept, floor, reserve, &profile, &waited)))?;
    }
    match waited {
        Waited::InVain(Some(pool)) => {
            let longest = longest.unwrap_or_default();
            complain(&in_vain(&pool, kept, &profile, longest, reserve.time));
            Ok(EXIT_NOT_WARM)
        }
        Waited::InVain(None) => {
            complain(&format!(
                "the server has no pool of profile {profile} for uid {} any more",
                nix::unistd::geteuid()
            ));
            Ok(EXIT_NOT_WARM)
        }
        Waited::Not(Some(PoolStatus { failing: Some(reason), warm, .. })) if warm < kept => {
            complain(&format!("they cannot be built at present: {reason}"));
            Ok(EXIT_NOT_WARM)
        }
        // As many as there may be, and not as many as were asked for.
        Waited::Warm(_) if kept < reserve.count => Ok(EXIT_NOT_WARM),
        Waited::Warm(_) | Waited::Not(_) => Ok(EXIT_SUCCESS),
    }
}

/// What waiting came to, with how the pool stood at its end, if there was one.
enum Waited {
    Not(Option<PoolStatus>),
    Warm(PoolStatus),
    InVain(Option<PoolStatus>),
}

/// Waits until so many are warm for this user.
fn wait(
    client: &Client,
    profile: &str,
    kept: u32,
    longest: Duration,
) -> Result<Waited, RequestError> {
    let start = Instant::now();
    loop {
        let Some(pool) = look(client, profile)? else { return Ok(Waited::InVain(None)) };
        if pool.warm >= kept {
            return Ok(Waited::Warm(pool));
        }
        let Some(left) = longest.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
            return Ok(Waited::InVain(Some(pool)));
        };
        std::thread::sleep(left.min(LOOK_AGAIN));
    }
}

/// How this user's pool stands; while it is replaced by another generation, the warmer one.
fn look(client: &Client, profile: &str) -> Result<Option<PoolStatus>, RequestError> {
    let uid = nix::unistd::geteuid().as_raw();
    let ours = |pool: &PoolStatus| pool.uid == uid && pool.name == profile && !pool.retired;
    let pools = client.status()?.profiles.into_iter().filter(ours);
    Ok(pools.max_by_key(|pool| pool.warm))
}

fn told(kept: u32, reserve: &Reserve, profile: &str) -> String {
    let time = time(reserve.time);
    match kept {
        0 if reserve.count == 0 => format!("nothing is reserved in profile {profile} any more"),
        1 => format!("1 environment of profile {profile} is kept warm for {time}"),
        many => format!("{many} environments of profile {profile} are kept warm for {time}"),
    }
}

fn in_vain(
    pool: &PoolStatus,
    kept: u32,
    profile: &str,
    longest: Duration,
    reserved: Duration,
) -> String {
    let mut text = format!(
        "{} of {kept} environments of profile {profile} are warm after {}",
        pool.warm,
        time(longest.min(reserved))
    );
    if pool.leased > 0 {
        text.push_str(&format!(" ({} in use)", pool.leased));
    }
    match &pool.failing {
        Some(reason) => text.push_str(&format!(": they cannot be built: {reason}")),
        None if reserved <= longest => text.push_str(": the reservation is over"),
        None => text.push_str(": the reservation stays, --wait=TIME waits longer"),
    }
    text
}

/// `warm` and `failing` are null where there is no such profile any more.
fn whole(
    kept: u32,
    floor: u32,
    reserve: &Reserve,
    profile: &str,
    waited: &Waited,
) -> serde_json::Value {
    let pool = match waited {
        Waited::Warm(pool) => Some(pool),
        Waited::Not(pool) | Waited::InVain(pool) => pool.as_ref(),
    };
    json!({
        "version": 1,
        "profile": profile,
        "asked": reserve.count,
        "kept": kept,
        "floor": floor,
        "for_ms": u64::try_from(reserve.time.as_millis()).unwrap_or(u64::MAX),
        "warm": pool.map(|pool| pool.warm),
        "failing": pool.and_then(|pool| pool.failing.as_ref()),
    })
}

/// A time as the command line takes it, in the largest unit that divides it.
fn time(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let unit = units.into_iter().find(|(unit_ms, _)| ms > 0 && ms.is_multiple_of(*unit_ms));
    let (unit_ms, unit) = unit.unwrap_or((1, "ms"));
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn asked(arguments: &[&str]) -> Reserve {
        let all = ["zyg", "reserve"].iter().chain(arguments);
        let Verb::Reserve(reserve) = Cli::parse_from(all).verb else { panic!("reserve") };
        reserve
    }

    #[test]
    fn a_time_is_told_as_it_would_be_typed() {
        for (ms, told) in
            [(0, "0ms"), (1500, "1500ms"), (90_000, "90s"), (600_000, "10m"), (7_200_000, "2h")]
        {
            assert_eq!(time(Duration::from_millis(ms)), told);
        }
    }

    #[test]
    fn what_is_kept_is_told_in_a_sentence() {
        let told = |kept, arguments: &[&str]| told(kept, &asked(arguments), "p");
        assert_eq!(told(8, &["9"]), "8 environments of profile p are kept warm for 10m");
        assert_eq!(told(1, &["1", "--for=90"]), "1 environment of profile p is kept warm for 90s");
        assert_eq!(told(0, &["0"]), "nothing is reserved in profile p any more");
    }

    #[test]
    fn waiting_in_vain_is_told_with_its_reason() {
        let pool = PoolStatus { warm: 2, leased: 1, ..PoolStatus::default() };
        let minute = Duration::from_secs(60);
        let hour = 60 * minute;
        let text = in_vain(&pool, 8, "p", hour, minute);
        assert!(text.contains("after 1m") && text.ends_with("is over"), "{text}");
        let text = in_vain(&pool, 8, "p", minute, hour);
        assert!(text.starts_with("2 of 8 environments of profile p are warm after 1m"), "{text}");
        assert!(text.contains("(1 in use)") && text.contains("--wait=TIME"), "{text}");
        let failing = PoolStatus { failing: Some("no namespaces".into()), ..pool };
        let text = in_vain(&failing, 8, "p", minute, hour);
        assert!(text.ends_with("they cannot be built: no namespaces"), "{text}");
    }

    #[test]
    fn the_json_says_what_was_asked_and_what_there_is() {
        let reserve = asked(&["70", "--for=1h"]);
        let told = whole(64, 64, &reserve, "p", &Waited::Not(None));
        assert_eq!((&told["asked"], &told["kept"]), (&json!(70), &json!(64)));
        assert_eq!((&told["for_ms"], &told["warm"]), (&json!(3_600_000), &json!(null)));
        let pool = PoolStatus { warm: 64, ..PoolStatus::default() };
        assert_eq!(whole(64, 64, &reserve, "p", &Waited::Warm(pool))["warm"], 64);
    }
}
