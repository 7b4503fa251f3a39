//! The layout's rules: imports point downward, and what is confined stays confined.
#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file below a directory of the repository, with its text.
fn sources(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![root().join(directory)];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{directory} has no sources");
    found
}

/// Code without comments and without the tests at its end.
fn code(text: &str) -> String {
    let tests = ["\n#[cfg(test)]\nmod tests {", "\n#[cfg(test)]\n#[path"];
    let end = tests.iter().filter_map(|start| text.find(start)).min().unwrap_or(text.len());
    let body = &text[..end];
    body.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn assert_absent(directory: &str, forbidden: &[&str], except: &[&str]) {
    for (name, text) in sources(directory) {
        if except.iter().any(|except| name.starts_with(except)) {
            continue;
        }
        for word in forbidden {
            assert!(!code(&text).contains(word), "{name} must not name {word}");
        }
    }
}

#[test]
fn the_pool_imports_nothing_of_ours_and_no_clock() {
    let forbidden = [
        "crate::",
        "zyg_protocol",
        "mio",
        "nix::",
        "libc::",
        "std::io",
        "std::fs",
        "std::os",
        "Instant",
        "SystemTime",
    ];
    assert_absent("zygote/src/pool", &forbidden, &["zygote/src/pool/tests"]);
}

#[test]
fn template_and_init_know_neither_server_nor_pool() {
    let forbidden = ["crate::server", "crate::pool", "crate::config", "mio::"];
    assert_absent("zygote/src/template", &forbidden, &[]);
    assert_absent("zygote/src/init", &forbidden, &[]);
}

#[test]
fn system_calls_know_nothing_above_them() {
    let forbidden =
        ["crate::server", "crate::pool", "crate::config", "crate::template", "crate::init"];
    assert_absent("zygote/src/sys", &forbidden, &[]);
}

#[test]
fn the_protocol_knows_nobody() {
    assert_absent(
        "protocol/src",
        &["zygote::", "zygote_client", "mio::", "std::fs", "std::process"],
        &[],
    );
}

#[test]
fn the_library_does_not_know_the_server() {
    assert_absent("client/rust/src", &["zygote::", "mio::"], &[]);
}

#[test]
fn only_the_codec_names_bincode() {
    for directory in ["protocol/src", "client", "zygote/src"] {
        assert_absent(directory, &["bincode"], &["protocol/src/codec.rs"]);
    }
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let rooms = ["zygote/src/sys/", "protocol/src/socket.rs"];
    for directory in ["protocol/src", "client", "zygote/src", "tests/src"] {
        assert_absent(directory, &["unsafe {", "unsafe fn", "unsafe impl", "unsafe("], &rooms);
    }
}

#[test]
fn server_template_and_init_start_no_thread() {
    assert_absent("zygote/src", &["thread::"], &["zygote/src/pool/tests"]);
}
