//! The binary as a program. Its being here also makes `cargo test` build it, for all other tests.

use std::process::Command;

#[test]
fn the_version_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_zyg")).arg("--version").output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("zyg {}\n", env!("CARGO_PKG_VERSION"))
    );
}
