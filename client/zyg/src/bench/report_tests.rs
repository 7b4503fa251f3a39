use super::*;
use crate::bench::noise::Beginning;
use crate::bench::row::kind;

fn row(name: &str, centre: f64, drift: f64) -> Row {
    // Enough for a 99th percentile.
    let samples = (0..420).map(|sample| {
        let late = if sample >= 280 { 1.0 + drift } else { 1.0 };
        centre * late * (1.0 + 0.001 * f64::from(sample % 7))
    });
    Row { kind: kind(name).unwrap(), samples: samples.collect() }
}

fn report(floor_drift: f64) -> Report {
    let rows = vec![
        row("exec_true", 150.0, 0.0),
        row("spawn_true", 100.0, floor_drift),
        row("acquire", 6.0, 0.0),
        row("seqpacket_rtt", 5.0, 0.0),
        row("memory", 100.0, 0.0),
    ];
    let conditions = Beginning::now().unwrap().until_now(&rows).unwrap();
    let unusable = vec![("nsjail", "exit status: 1: no such luck".to_owned())];
    Report::new(rows, conditions, &Peers { unusable, ..Peers::default() }, 7)
}

fn verdicts(report: &Report) -> Vec<String> {
    let goals = report.json()["goals"].as_array().unwrap().clone();
    goals.iter().map(|goal| goal["verdict"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_steady_floor_gives_verdicts() {
    let report = report(0.0);
    let verdicts = verdicts(&report);
    assert_eq!(verdicts[..3], ["reached", "reached", "not reached"]);
    assert_eq!((verdicts[3].as_str(), verdicts[8].as_str()), ("not measured", "reached"));
    let table = report.table();
    assert!(!table.contains("No verdict") && table.contains("not reached"), "{table}");
}

#[test]
fn a_floor_that_drifted_refuses_the_verdicts_by_it_and_says_which_it_was() {
    for drift in [0.25, -0.25] {
        let report = report(drift);
        let verdicts = verdicts(&report);
        assert_eq!(verdicts[..3], ["reached", "reached", "no verdict"]);
        let table = report.table();
        assert!(table.contains("No verdict by spawn_true: it drifted by"), "{table}");
        assert!(!table.contains("not reached"), "{table}");
        assert_eq!(report.json()["drifted"], json!(["spawn_true"]));
    }
    assert!(!report(0.15).table().contains("No verdict"));
}

#[test]
fn the_json_keeps_its_contract() {
    let json = report(0.0).json();
    assert_eq!(json["version"], 1);
    assert!(json["machine"]["summary"].as_str().unwrap().contains("Linux"));
    let rows = json["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["seqpacket_rtt", "acquire", "spawn_true", "exec_true", "memory"]);
    let acquire = &rows[1];
    for quantile in ["p50", "p90", "p99", "max"] {
        assert!(acquire["us"][quantile].is_number(), "{quantile}");
    }
    assert_eq!(acquire["floor"], "seqpacket_rtt");
    for part in ["p50", "low", "high"] {
        assert!(acquire["ratio"][part].is_number(), "{part}");
    }
    assert!(rows[0]["floor"].is_null() && rows[0]["ratio"].is_null());
    assert!(rows[4]["us"].is_null());
    assert_eq!(
        (rows[4]["unit"].as_str(), rows[4]["values"]["max"].is_number()),
        (Some("KiB"), true)
    );
    assert!(json["peers"]["nsjail"]["unusable"].as_str().unwrap().contains("no such luck"));
}

#[test]
fn what_is_not_known_to_be_steady_gives_no_verdict() {
    let few = |name: &str| Row { samples: vec![5.0; 8], ..row(name, 5.0, 0.0) };
    let rows = vec![few("acquire"), few("seqpacket_rtt")];
    let conditions = Beginning::now().unwrap().until_now(&rows).unwrap();
    let report = Report::new(rows, conditions, &Peers::default(), 7);
    assert_eq!(verdicts(&report)[..2], ["no verdict", "no verdict"]);
    let table = report.table();
    assert!(table.contains("No verdict by seqpacket_rtt: too few samples"), "{table}");
    // Of so few no 99th percentile is known.
    assert!(report.json()["rows"][0]["us"]["p99_high"].is_null());
    assert!(table.contains("(1.00 to 1.00)"), "{table}");
}

#[test]
fn microseconds_are_told_of_every_row_that_has_some() {
    let rows = vec![row("churn", 500.0, 0.0), row("server_cpu", 30.0, 0.0)];
    let conditions = Beginning::now().unwrap().until_now(&rows).unwrap();
    let json = Report::new(rows, conditions, &Peers::default(), 7).json();
    let us = |index: usize| json["rows"][index]["us"]["p50"].as_f64().unwrap();
    assert!((1990.0..=2000.0).contains(&us(0)), "one after the other at 500 in a second");
    assert!((30.0..31.0).contains(&us(1)));
    assert!(json["rows"][0]["values"]["p50"].as_f64().unwrap() >= 500.0);
}

#[test]
fn a_row_without_its_floor_has_no_ratio() {
    let rows = vec![row("exec_true", 150.0, 0.0)];
    let conditions = Beginning::now().unwrap().until_now(&rows).unwrap();
    let report = Report::new(rows, conditions, &Peers::default(), 1);
    assert!(report.json()["rows"][0]["floor"].is_null());
    assert!(report.table().contains("exec_true"));
}

#[test]
fn the_table_names_every_row_its_ratio_and_what_cannot_be_used() {
    let table = report(0.0).table();
    assert!(table.contains("1.50 (1.50 to 1.50) × spawn_true"), "{table}");
    assert!(table.contains("nsjail cannot be used: exit status: 1"), "{table}");
    assert!(table.contains("seed 7"), "{table}");
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(150), "{widest:?}");
}
