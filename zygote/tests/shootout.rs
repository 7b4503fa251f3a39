//! The parts of the policy shoot-out have tests of their own, which a bench without a harness cannot
//! run; and a short shoot-out holds together.

#[path = "../benches/shootout/baseline.rs"]
mod baseline;
#[path = "../benches/shootout/clairvoyant.rs"]
mod clairvoyant;
#[path = "../benches/shootout/contest.rs"]
mod contest;
#[path = "../benches/shootout/contestant.rs"]
mod contestant;
#[path = "../benches/shootout/curve.rs"]
mod curve;
#[path = "../benches/shootout/host.rs"]
mod host;
#[path = "../benches/shootout/ours.rs"]
mod ours;
#[path = "../benches/shootout/plot.rs"]
mod plot;
#[path = "../benches/shootout/random.rs"]
mod random;
#[path = "../benches/shootout/report.rs"]
mod report;
#[path = "../benches/shootout/trace.rs"]
mod trace;

/// Nobody beats the bound, no order is nonsense (the host panics), and all can be written down. What
/// was promised of the policy takes longer traces than these: that is the bench.
#[test]
fn a_short_shoot_out_holds_together() {
    let families = contest::families();
    let mut rounds = Vec::new();
    for kind in trace::kinds(None).unwrap() {
        let round = contest::play_round(&kind, &families, &(1..2), 0.01);
        assert!(report::table(&round).contains("USAP"));
        assert!(report::curves(&round).svg().contains("clairvoyant"));
        assert!(report::profiles(&round).is_some_and(|chart| chart.svg().contains("time")));
        rounds.push(round);
    }
    let verdicts = contest::verdicts(&rounds);
    assert_eq!((verdicts.len(), report::lines(&verdicts).lines().count()), (6, 11));
    assert_eq!(report::json(&rounds, &verdicts)["traces"].as_array().map(Vec::len), Some(5));
}
