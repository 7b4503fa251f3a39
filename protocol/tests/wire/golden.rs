//! The bytes of the wire are a contract with every client that was ever released: they change only
//! together with `WIRE_VERSION`, and this table.

use crate::samples;
use serde::de::{Deserialize, Deserializer, Visitor, value::Error};
use serde::forward_to_deserialize_any;
use std::collections::BTreeMap;
use std::fmt::Write;
use zyg_protocol::message::{
    Attach, ColdReason, Denial, ExitStatus, Fate, FromInit, FromTemplate, Lifeline, Mount, Network,
    Recycle, Refusal, Reply, Request, Root, Scope, Start, Step, ToInit, ToTemplate, ToZygote,
};

/// One `name hex` in each line.
const GOLDEN: &str = include_str!("../golden.txt");

fn golden() -> BTreeMap<&'static str, &'static str> {
    let lines: Vec<_> = GOLDEN.lines().collect();
    let table: BTreeMap<_, _> =
        lines.iter().map(|line| line.split_once(' ').expect("name and hex")).collect();
    assert_eq!(table.len(), lines.len(), "a name stands twice in golden.txt");
    table
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}

#[test]
fn every_message_has_the_bytes_that_it_always_had() {
    let golden = golden();
    let mut differing = String::new();
    let samples = samples::all();
    for sample in &samples {
        let now = hex(&sample.bytes);
        if golden.get(sample.name.as_str()) != Some(&now.as_str()) {
            writeln!(differing, "{} {now}", sample.name).unwrap();
        }
    }
    assert!(
        differing.is_empty(),
        "the wire has changed: raise WIRE_VERSION, and put these lines into golden.txt:\n{differing}"
    );
    let stale: Vec<_> =
        golden.keys().filter(|name| samples.iter().all(|s| s.name != **name)).collect();
    assert!(stale.is_empty(), "golden.txt has lines without a sample: {stale:?}");
}

/// A deserializer that learns what a derived `Deserialize` of an enum expects, and fails.
struct Variants<'a>(&'a mut Vec<String>);

impl<'de> Deserializer<'de> for Variants<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("not an enum"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(variants.iter().map(|variant| format!("{name}::{variant}")));
        Err(serde::de::Error::custom("only the names were wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn variants_of<E: for<'de> Deserialize<'de>>() -> Vec<String> {
    let mut names = Vec::new();
    assert!(E::deserialize(Variants(&mut names)).is_err());
    assert!(!names.is_empty(), "not an enum");
    names
}

#[test]
fn every_variant_of_every_enum_has_golden_bytes() {
    let enums = [
        variants_of::<Request>(),
        variants_of::<Mount>(),
        variants_of::<Reply>(),
        variants_of::<Start>(),
        variants_of::<ColdReason>(),
        variants_of::<Attach>(),
        variants_of::<Denial>(),
        variants_of::<Refusal>(),
        variants_of::<ToInit>(),
        variants_of::<Scope>(),
        variants_of::<FromInit>(),
        variants_of::<Step>(),
        variants_of::<Network>(),
        variants_of::<Root>(),
        variants_of::<ExitStatus>(),
        variants_of::<ToTemplate>(),
        variants_of::<FromTemplate>(),
        variants_of::<Lifeline>(),
        variants_of::<ToZygote>(),
        variants_of::<Recycle>(),
        variants_of::<Fate>(),
    ];
    let samples = samples::all();
    for name in enums.into_iter().flatten() {
        let sample = samples.iter().find(|sample| sample.name == name);
        let sample = sample.unwrap_or_else(|| panic!("no sample of {name}"));
        let (_, variant) = name.split_once("::").unwrap();
        assert!(sample.shown.contains(variant), "{name} is {}", sample.shown);
    }
}

#[test]
fn all_fates_are_each_of_them() {
    let all: Vec<_> = Fate::ALL.iter().map(|fate| format!("Fate::{fate:?}")).collect();
    assert_eq!(variants_of::<Fate>(), all);
}

/// The list of enums above is written by hand; this keeps it whole.
#[test]
fn every_enum_of_the_vocabulary_is_among_those_with_golden_bytes() {
    let source = concat!(
        include_str!("../../src/message.rs"),
        include_str!("../../src/message/command.rs"),
        include_str!("../../src/message/failure.rs"),
        include_str!("../../src/message/fate.rs"),
        include_str!("../../src/message/recipe.rs"),
    );
    let own = include_str!("golden.rs");
    let declared: Vec<_> =
        source.lines().filter_map(|line| line.strip_prefix("pub enum ")).collect();
    assert!(declared.len() >= 16, "message.rs is not written as this test reads it");
    for line in declared {
        let name = line.trim_end_matches(" {");
        assert!(own.contains(&format!("variants_of::<{name}>()")), "{name} is not listed");
    }
}
