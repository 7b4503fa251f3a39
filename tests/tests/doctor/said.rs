//! The program in a place of its own, and what it said.

use nix::unistd::getuid;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use zyg_tests::zyg_binary;

/// A directory in which everybody may run `zyg`.
pub struct Place(TempDir);

impl Place {
    pub fn make() -> Self {
        let directory = tempfile::Builder::new().prefix("zyg-test-").tempdir().unwrap();
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), everybody.clone()).unwrap();
        // By another process: a program that this one has open for writing, if only in a child that
        // another thread is starting, cannot be executed (`ETXTBSY`, execve(2)).
        let mut copy = Command::new("cp");
        assert!(copy.arg(zyg_binary()).arg(directory.path()).status().unwrap().success());
        let place = Self(directory);
        fs::set_permissions(place.zyg(), everybody).unwrap();
        place
    }

    pub fn zyg(&self) -> PathBuf {
        self.0.path().join(zyg_binary().file_name().unwrap())
    }

    /// `zyg doctor --json`, started by `program` with these arguments before it.
    pub fn through(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).arg(self.zyg()).args(["doctor", "--json"]);
        command.env_remove("ZYG_SOCKET").stdin(Stdio::null()).current_dir(self.0.path());
        command
    }

    /// The same as the root of a user and mount namespace of its own, after `script`.
    pub fn below(&self, script: &str) -> Command {
        let script = format!("{script}\nexec \"$@\"");
        let unshare = ["--user", "--map-root-user", "--mount", "sh", "-euc", &script, "sh"];
        self.through("unshare", &unshare)
    }
}

/// What it said.
pub struct Said {
    pub steps: Vec<Value>,
    pub code: Option<i32>,
}

impl Said {
    pub fn by(command: &mut Command) -> Self {
        Self::of(&command.output().unwrap())
    }

    pub fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let whole: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{errors}"));
        assert_eq!(whole["version"], 1);
        assert_eq!(errors, "");
        Self { steps: whole["steps"].as_array().unwrap().clone(), code: output.status.code() }
    }

    pub fn step(&self, name: &str) -> &Value {
        self.steps.iter().find(|step| step["name"] == name).unwrap()
    }

    #[track_caller]
    pub fn assert_ok(&self, names: &[&str]) {
        for name in names {
            assert_eq!(self.step(name)["ok"], true, "{:#}", self.step(name));
        }
    }

    #[track_caller]
    pub fn assert_all_required_ok(&self) {
        let failing = |step: &&Value| step["required"] == true && step["ok"] != true;
        let failing: Vec<_> = self.steps.iter().filter(failing).collect();
        assert!(failing.is_empty() && self.code == Some(0), "{:?}: {failing:#?}", self.code);
    }

    #[track_caller]
    pub fn assert_missing(&self, name: &str, layer: &str, fix: &str) {
        let step = self.step(name);
        assert_eq!(
            (&step["ok"], &step["layer"]),
            (&Value::from(false), &Value::from(layer)),
            "{step:#}"
        );
        assert_eq!(step["fix"], fix);
    }

    /// That a step that is required is missing, so that zyg cannot run.
    #[track_caller]
    pub fn assert_fatal(&self, name: &str, layer: &str, fix: &str) {
        self.assert_missing(name, layer, fix);
        assert_eq!(self.step(name)["required"], true);
        assert_eq!(self.code, Some(1));
        let whole = self.step("zygote");
        assert_eq!((&whole["ok"], &whole["layer"]), (&Value::from(false), &Value::Null));
        assert!(whole["detail"].as_str().unwrap().starts_with("not tried: "), "{whole:#}");
    }
}

pub fn user_name() -> String {
    zygote::users::with_uid(getuid().as_raw()).unwrap().name
}
