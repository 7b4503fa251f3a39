//! What `zyg run` shows of the host, what of it can be changed, and what becomes of the changes.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;
use zyg_tests::{Server, home};

/// What is needed by every test here: a server, and directories below home and below `/tmp`.
struct Place {
    server: Server,
    below_home: TempDir,
    below_tmp: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            server: Server::start(),
            below_home: tempfile::tempdir_in(home()).unwrap(),
            below_tmp: tempfile::tempdir_in("/tmp").unwrap(),
        }
    }

    fn both(&self) -> [&Path; 2] {
        [self.below_home.path(), self.below_tmp.path()]
    }

    /// Runs a script of sh(1) under these options, in this directory.
    fn run(&self, cwd: &Path, options: &[&str], script: &str) -> Output {
        let mut command = self.server.zyg("run");
        command.current_dir(cwd).args(options).args(["--", "sh", "-c", script]).output().unwrap()
    }

    /// What the script prints; it must succeed.
    fn told(&self, cwd: &Path, options: &[&str], script: &str) -> String {
        let output = self.run(cwd, options, script);
        assert!(output.status.success(), "{options:?} {script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What zyg says when it fails.
    fn refused(&self, options: &[&str]) -> String {
        let output = self.run(Path::new("/"), options, "echo ran");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{said}");
        said
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An option's value for `from` shown at `to`.
fn pair(from: &Path, to: &str) -> String {
    format!("{}:{to}", from.display())
}

#[test]
fn changes_in_the_working_directory_are_discarded() {
    let place = Place::new();
    for directory in place.both() {
        fs::write(directory.join("kept"), "before\n").unwrap();
        fs::write(directory.join("removed"), "").unwrap();
        fs::create_dir(directory.join("sub")).unwrap();
        let script = "echo changed >kept && rm removed && echo new >new && rmdir sub && mkdir dir \
                      && cat kept new && ls";
        assert_eq!(place.told(directory, &[], script), "changed\nnew\ndir\nkept\nnew\n");
        assert_eq!(fs::read_to_string(directory.join("kept")).unwrap(), "before\n");
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["kept", "removed", "sub"]);
        // The next one sees nothing of it either.
        assert_eq!(place.told(directory, &[], "cat kept; ls"), "before\nkept\nremoved\nsub\n");
    }
}

#[test]
fn changes_at_home_are_discarded_wherever_the_command_runs() {
    let place = Place::new();
    let file = place.below_home.path().join("file");
    let script = format!("echo x >{0} && cat {0}", file.display());
    for cwd in [Path::new("/"), Path::new("/usr"), place.below_tmp.path()] {
        assert_eq!(place.told(cwd, &[], &script), "x\n");
        assert!(!file.exists(), "{cwd:?}");
    }
}

/// A layer over it would show what the host has in the private place.
#[test]
fn a_working_directory_around_a_private_place_does_not_show_what_that_covers() {
    let place = Place::new();
    let stray = tempfile::tempdir_in("/var/tmp").unwrap();
    let script = format!(
        "test -e {0} || echo nothing; test -e /var/lib && echo all else",
        text(stray.path())
    );
    assert_eq!(place.told(Path::new("/var"), &[], &script), "nothing\nall else\n");
    assert!(stray.path().exists(), "the control");
}

#[test]
fn changes_below_a_bind_are_kept() {
    let place = Place::new();
    for directory in place.both() {
        fs::write(directory.join("removed"), "").unwrap();
        let script = "echo kept >file && rm removed && mkdir dir && ln -s file link";
        place.told(directory, &["--bind", text(directory)], script);
        assert_eq!(fs::read_to_string(directory.join("link")).unwrap(), "kept\n");
        assert!(!directory.join("removed").exists());
        // What was made belongs to whoever ran it.
        for name in ["file", "dir", "link"] {
            let made = fs::symlink_metadata(directory.join(name)).unwrap();
            let here = fs::metadata(directory).unwrap();
            assert_eq!((made.uid(), made.gid()), (here.uid(), here.gid()), "{name}");
        }
    }
}

#[test]
fn a_bind_of_the_working_directory_by_its_dot_is_kept() {
    let place = Place::new();
    for directory in place.both() {
        fs::create_dir(directory.join("sub")).unwrap();
        place.told(directory, &["--bind", "."], "echo kept >file");
        assert!(directory.join("file").exists());
        place.told(&directory.join("sub"), &["--bind", ".."], "echo kept >../second");
        assert!(directory.join("second").exists());
        place.told(directory, &["--bind", "sub"], "echo kept >sub/third; echo lost >lost");
        assert!(directory.join("sub/third").exists() && !directory.join("lost").exists());
    }
}

#[test]
fn a_read_only_bind_is_read_and_not_written() {
    let place = Place::new();
    for directory in place.both() {
        fs::write(directory.join("file"), "content\n").unwrap();
        let look = "cat file && (echo x >file) 2>/dev/null; (echo x >new) 2>/dev/null; rm -f file \
                    2>/dev/null; test -e new || test ! -e file || echo unchanged";
        let option = ["--ro-bind", text(directory)];
        assert_eq!(place.told(directory, &option, look), "content\nunchanged\n");
        assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "content\n");
        // The control: where it is writable the same script changes it.
        let option = ["--bind", text(directory)];
        assert_eq!(place.told(directory, &option, look), "content\n");
        assert!(!directory.join("file").exists());
    }
}

#[test]
fn a_read_only_bind_stays_so_whatever_the_command_tries() {
    let place = Place::new();
    let directory = place.below_home.path();
    fs::write(directory.join("file"), "content\n").unwrap();
    let script = "mount -o remount,rw,bind . 2>/dev/null; chmod 666 file 2>/dev/null; \
                  umount . 2>/dev/null; umount -l \"$PWD\" 2>/dev/null; echo x >file";
    let output = place.run(directory, &["--ro-bind", "."], script);
    assert!(!output.status.success());
    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "content\n");
}

#[test]
fn a_bind_is_shown_at_another_path() {
    let place = Place::new();
    let [home, tmp] = place.both();
    fs::write(home.join("file"), "content\n").unwrap();
    for target in ["/tmp/x/y/z", "/run/here", "/mnt", text(tmp), "/usr/share"] {
        let option = ["--bind", &pair(home, target)];
        let script = format!("cat {target}/file && echo x >{target}/made");
        assert_eq!(place.told(Path::new("/"), &option, &script), "content\n", "{target}");
        fs::remove_file(home.join("made")).unwrap();
        let option = ["--ro-bind", &pair(home, target)];
        assert_eq!(place.told(Path::new("/"), &option, &format!("ls {target}")), "file\n");
    }
}

#[test]
fn a_single_file_is_bound() {
    let place = Place::new();
    for directory in place.both() {
        let file = directory.join("file");
        fs::write(&file, "before\n").unwrap();
        let script = format!("cat {0}; echo after >{0}", file.display());
        assert_eq!(place.told(Path::new("/"), &["--bind", text(&file)], &script), "before\n");
        assert_eq!(fs::read_to_string(&file).unwrap(), "after\n");
        for target in ["/tmp/made/for/it", "/etc/hostname"] {
            let option = ["--ro-bind", &pair(&file, target)];
            let script = format!("cat {target}; (echo x >{target}) 2>/dev/null; cat {target}");
            assert_eq!(place.told(Path::new("/"), &option, &script), "after\nafter\n", "{target}");
        }
    }
}

#[test]
fn a_tmpfs_is_empty_writable_and_gone() {
    let place = Place::new();
    for directory in place.both() {
        fs::write(directory.join("hidden"), "").unwrap();
        let script = "cd -P .; ls -A; echo x >file; ls -A; grep -c \" $PWD tmpfs \" /proc/mounts";
        let option = ["--tmpfs", text(directory)];
        assert_eq!(place.told(directory, &option, script), "file\n1\n");
        assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
    }
    assert_eq!(place.told(Path::new("/"), &["--tmpfs", "/tmp/a/b"], "ls -A /tmp/a/b"), "");
    assert_eq!(place.told(Path::new("/"), &["--tmpfs", "/usr/share"], "ls -A /usr/share"), "");
}

#[test]
fn mounts_are_made_in_the_order_given() {
    let place = Place::new();
    let [home, tmp] = place.both();
    fs::write(home.join("from-home"), "").unwrap();
    fs::write(tmp.join("from-tmp"), "").unwrap();
    fs::create_dir(home.join("sub")).unwrap();
    let (from_home, from_tmp) = (pair(home, "/mnt"), pair(tmp, "/mnt"));
    let ls = |options: &[&str]| place.told(Path::new("/"), options, "ls /mnt");
    assert_eq!(ls(&["--bind", &from_home, "--ro-bind", &from_tmp]), "from-tmp\n");
    assert_eq!(ls(&["--ro-bind", &from_tmp, "--bind", &from_home]), "from-home\nsub\n");
    assert_eq!(ls(&["--bind", &from_home, "--tmpfs", "/mnt"]), "");
    assert_eq!(ls(&["--tmpfs", "/mnt", "--bind", &from_home]), "from-home\nsub\n");
    // One inside another.
    let inner = pair(tmp, "/mnt/sub");
    let look = "ls /mnt /mnt/sub";
    let told = place.told(Path::new("/"), &["--bind", &from_home, "--ro-bind", &inner], look);
    assert_eq!(told, "/mnt:\nfrom-home\nsub\n\n/mnt/sub:\nfrom-tmp\n");
}

#[test]
fn a_read_only_place_inside_a_writable_one_and_the_reverse() {
    let place = Place::new();
    let directory = place.below_home.path();
    for name in ["a", "b"] {
        fs::create_dir(directory.join(name)).unwrap();
    }
    let (a, b) = (directory.join("a"), directory.join("b"));
    let write = "for d in . a b; do (echo x >$d/made) 2>/dev/null && echo $d; done; rm -f made a/made \
                 b/made 2>/dev/null; :";
    let told = place.told(directory, &["--bind", ".", "--ro-bind", text(&a)], write);
    assert_eq!(told, ".\nb\n");
    let told = place.told(directory, &["--ro-bind", ".", "--bind", text(&b)], write);
    assert_eq!(told, "b\n");
}

#[test]
fn a_source_that_is_a_link_is_followed() {
    let place = Place::new();
    let directory = place.below_tmp.path();
    fs::create_dir(directory.join("real")).unwrap();
    std::os::unix::fs::symlink("real", directory.join("link")).unwrap();
    let option = ["--bind", &pair(&directory.join("link"), "/mnt")];
    place.told(Path::new("/"), &option, "echo x >/mnt/file");
    assert!(directory.join("real/file").exists());
}

#[test]
fn strange_names_are_bound() {
    let place = Place::new();
    for name in ["two words", "comma,equals=", "colon:", "back\\slash", "new\nline", "quote\"'"] {
        let directory = place.below_tmp.path().join(name);
        fs::create_dir(&directory).unwrap();
        place.told(&directory, &["--bind", "."], "echo x >file");
        assert!(directory.join("file").exists(), "{name:?}");
    }
}

#[test]
fn a_source_that_is_missing_is_named() {
    let place = Place::new();
    for option in ["--bind", "--ro-bind"] {
        for missing in ["/no/such/source", "/tmp/no-such-source", "relative/no-such"] {
            let said = place.refused(&[option, missing]);
            assert!(said.contains(missing) && said.contains("No such file"), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn a_target_that_is_missing_in_the_read_only_tree_is_named() {
    let place = Place::new();
    for target in ["/no/such/target", "/usr/no-such-target"] {
        for said in [
            place.refused(&["--bind", &pair(place.below_home.path(), target)]),
            place.refused(&["--tmpfs", target]),
        ] {
            assert!(said.contains(target) && said.contains("read-only"), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn a_target_of_another_kind_is_named() {
    let place = Place::new();
    let said = place.refused(&["--bind", &pair(place.below_home.path(), "/etc/passwd")]);
    assert!(said.contains("/etc/passwd"), "{said}");
    let said = place.refused(&["--bind", "/etc/passwd:/usr"]);
    assert!(said.contains("/usr"), "{said}");
    let said = place.refused(&["--tmpfs", "/etc/passwd"]);
    assert!(said.contains("/etc/passwd"), "{said}");
    // What docker(1) takes would be bound writable, at a path of that name.
    for mode in ["ro", "rw"] {
        let said =
            place.refused(&["--bind", &pair(place.below_home.path(), &format!("/mnt:{mode}"))]);
        assert!(said.contains("--ro-bind"), "{said}");
    }
    let said = place.refused(&["--tmpfs", "/"]);
    assert!(said.contains("mount target of /"), "{said}");
    for empty in ["", ":/tmp", "/tmp:"] {
        let said = place.refused(&["--bind", empty]);
        assert!(said.contains("SRC"), "{empty:?}: {said}");
    }
}

/// Whose authority a bind has: the caller's own, never the server's.
#[test]
fn a_bind_gives_no_right_that_the_caller_lacks() {
    let place = Place::new();
    let guarded = Path::new("/etc/shadow");
    let script = "cat /mnt/shadow >/dev/null 2>&1; echo $?";
    let alone = fs::read(guarded).is_ok();
    let told = place.told(Path::new("/"), &["--bind", "/etc:/mnt"], script);
    assert_eq!(told == "0\n", alone, "{told}");
}
