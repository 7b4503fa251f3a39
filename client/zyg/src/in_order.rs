//! Options of `zyg run` of which it matters which comes first.

use clap::ArgMatches;
use std::ffi::OsString;

/// A mount as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountFlag {
    Bind { spec: OsString, read_only: bool },
    Tmpfs { target: OsString },
}

/// A change of an environment variable as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableFlag {
    Set { entry: OsString },
    Unset { key: OsString },
}

/// What is to be done in the order in which it was given, whatever its kinds.
#[derive(Debug)]
pub struct InOrder {
    pub mounts: Vec<MountFlag>,
    pub variables: Vec<VariableFlag>,
}

impl InOrder {
    pub fn of(matches: &ArgMatches) -> Self {
        Self {
            mounts: in_order(
                matches,
                [
                    ("bind", |spec| MountFlag::Bind { spec, read_only: false }),
                    ("ro_bind", |spec| MountFlag::Bind { spec, read_only: true }),
                    ("tmpfs", |target| MountFlag::Tmpfs { target }),
                ],
            ),
            variables: in_order(
                matches,
                [
                    ("setenv", |entry| VariableFlag::Set { entry }),
                    ("unsetenv", |key| VariableFlag::Unset { key }),
                ],
            ),
        }
    }
}

/// From an option's value to what it stands for.
type Flag<T> = fn(OsString) -> T;

/// The values of these options, each as what it stands for.
fn in_order<T, const N: usize>(matches: &ArgMatches, options: [(&str, Flag<T>); N]) -> Vec<T> {
    let mut all = Vec::new();
    for (name, flag) in options {
        let values = matches.get_many::<OsString>(name).into_iter().flatten();
        for (index, value) in matches.indices_of(name).into_iter().flatten().zip(values) {
            all.push((index, flag(value.clone())));
        }
    }
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, flag)| flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn mounts_and_variables_keep_the_order_of_the_command_line() {
        let mounts = ["--bind", "/a", "--tmpfs", "/b", "--ro-bind", "/c:/d"];
        let variables = ["--setenv", "A=1", "--unsetenv", "A", "--setenv", "B="];
        let all = ["zyg", "run"].iter().chain(&mounts).chain(&variables).chain(&["--", "x"]);
        let matches = Cli::command().get_matches_from(all);
        let (_, run) = matches.subcommand().unwrap();
        let InOrder { mounts, variables } = InOrder::of(run);
        assert_eq!(
            variables,
            [
                VariableFlag::Set { entry: "A=1".into() },
                VariableFlag::Unset { key: "A".into() },
                VariableFlag::Set { entry: "B=".into() },
            ]
        );
        assert_eq!(
            mounts,
            [
                MountFlag::Bind { spec: "/a".into(), read_only: false },
                MountFlag::Tmpfs { target: "/b".into() },
                MountFlag::Bind { spec: "/c:/d".into(), read_only: true },
            ]
        );
    }
}
