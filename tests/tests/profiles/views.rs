//! What is seen, and what can be written.

use crate::{outside, printed, server, succeeds};
use std::fs;

#[test]
fn strict_shows_programs_and_nothing_of_anybodys() {
    let server = server("");
    let secret = zyg_tests::home();
    assert!(fs::read_dir(&secret).is_ok(), "the control: outside the home can be read");
    let top = printed(&server, "strict", "ls /");
    for name in ["root", "srv", "opt", "mnt", "boot"] {
        assert!(!top.lines().any(|line| line == name), "/{name} shows: {top}");
    }
    assert_eq!(printed(&server, "strict", "ls -A /home"), "user");
    assert_eq!(
        printed(&server, "strict", "ls -A /home/user /tmp /var/tmp /run/user/* | grep -v :"),
        ""
    );
    assert_eq!(printed(&server, "strict", "cut -d: -f1 /etc/passwd"), "root\nuser\nnobody");
    assert_ne!(outside("cut -d: -f1 /etc/passwd"), "root\nuser\nnobody", "the control");
    assert!(!succeeds(&server, "strict", "ls /etc/shadow /etc/hostname"));
    assert!(!succeeds(
        &server,
        "strict",
        &format!("test -e {}/..?*", server.directory().display())
    ));
    assert_eq!(printed(&server, "strict", "pwd; hostname; id -un"), "/home/user\nstrict\nuser");
    assert!(succeeds(&server, "strict", "awk 'BEGIN{}' && python3 -c 'import ssl, json'"));
}

#[test]
fn strict_is_writable_where_it_says_and_nowhere_else() {
    let server = server("");
    for place in ["/tmp", "/var/tmp", "/dev/shm", "/run", "/home/user"] {
        assert!(succeeds(&server, "strict", &format!("echo x > {place}/f")), "{place}");
        assert!(!succeeds(&server, "strict", &format!("test -e {place}/f")), "{place} is fresh");
    }
    for place in ["/", "/etc", "/usr", "/usr/bin", "/dev", "/home", "/var", "/proc", "/sys"] {
        assert!(!succeeds(&server, "strict", &format!("echo x > {place}/f")), "{place}");
    }
}

#[test]
fn a_private_place_is_bounded_where_the_profile_says() {
    let server = server("[profile.small.limits]\ntmp_size = \"1M\"\ntmp_inodes = 200\n");
    let fill = "head -c 3000000 /dev/zero > /tmp/f";
    assert!(!succeeds(&server, "small", fill));
    assert!(succeeds(&server, "default", fill), "the control");
    let many = "cd /tmp && for i in $(seq 300); do : > f$i || exit 1; done";
    assert!(!succeeds(&server, "small", many));
    assert!(succeeds(&server, "default", many), "the control");
}

#[test]
fn a_whole_tree_is_writable_on_request_and_nothing_is_kept() {
    let server = server("[profile.whole]\nroot_overlay = true\n");
    let act = "mkdir /new-at-the-top && echo x > /new-at-the-top/f && cat /new-at-the-top/f";
    assert_eq!(printed(&server, "whole", act), "x");
    assert!(!succeeds(&server, "whole", "ls /new-at-the-top"), "the next lease");
    assert!(!succeeds(&server, "default", act), "the control: read-only without it");
    assert!(fs::metadata("/new-at-the-top").is_err(), "the host");
    if zyg_tests::is_root() {
        let act =
            "echo x > /usr/bin/zyg-test-x && rm /etc/passwd && ! test -e /etc/passwd && echo ok";
        assert_eq!(printed(&server, "whole", act), "ok");
        assert!(
            fs::metadata("/etc/passwd").is_ok() && fs::metadata("/usr/bin/zyg-test-x").is_err()
        );
    }
    // Still an environment like any other.
    assert!(succeeds(
        &server,
        "whole",
        "test $$ -lt 10 && ls /proc/1 && touch /tmp/x && ls /dev/null"
    ));
}

#[test]
fn what_is_hidden_looks_empty_wherever_it_lies() {
    let home = tempfile::Builder::new().prefix(".zyg-test-").tempdir_in(zyg_tests::home()).unwrap();
    fs::write(home.path().join("key"), "secret").unwrap();
    let name = home.path().file_name().unwrap().to_str().unwrap();
    let server = server(&format!(
        "[profile.careful]\nhide = [\"~/{name}\", \"/etc/passwd\", \"/usr/share\"]\n"
    ));
    let list = format!("ls -A ~/{name} /usr/share | grep -v :; cat /etc/passwd");
    assert_eq!(printed(&server, "careful", &list), "");
    assert!(printed(&server, "default", &list).contains("key"), "the control");
    assert!(!succeeds(&server, "careful", &format!("umount ~/{name} || rmdir ~/{name}")));
}

/// Whatever brings it in with what is around it.
#[test]
fn what_is_hidden_stays_so_below_what_a_lease_is_shown() {
    let place = tempfile::Builder::new().prefix("zyg-test-").tempdir_in("/tmp").unwrap();
    let path = place.path().canonicalize().unwrap();
    for directory in ["part", "part/secret", "deep"] {
        fs::create_dir(path.join(directory)).unwrap();
    }
    for file in ["part/secret/file", "part/plain", "key"] {
        fs::write(path.join(file), "seen").unwrap();
    }
    let shown = path.display();
    let hide = format!("hide = [\"{shown}/part/secret\", \"{shown}/key\"]\n");
    let server = server(&format!(
        "[profile.careful]\n{hide}[profile.again]\nrecycle = \"whole\"\n{hide}\
         [profile.writable]\nrecycle = \"whole\"\nroot_overlay = true\n{hide}\
         [profile.open]\nwritable = [\"/run\", \"~\", \".\"]\n{hide}"
    ));
    let script = format!("cat {shown}/part/plain {shown}/part/secret/file {shown}/key");
    let run = |profile: &str, cwd: &std::path::Path, options: &[&str]| {
        let mut run = server.zyg("run");
        run.args(["--profile", profile]).args(options).args(["--", "sh", "-c", &script]);
        let output = run.current_dir(cwd).output().unwrap();
        assert!(output.status.code() != Some(125), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let bind = ["--bind", path.to_str().unwrap()];
    assert_eq!(run("default", &path, &[]), "seenseenseen", "the control");
    for profile in ["careful", "again", "writable", "open"] {
        assert_eq!(run(profile, &path, &[]), "seen", "{profile}");
        assert_eq!(run(profile, std::path::Path::new("/"), &bind), "seen", "{profile}, bound");
        // And from a place that is itself not to be seen.
        assert!(!run(profile, &path.join("part"), &[]).contains("seenseen"), "{profile}, below");
    }
}

#[test]
fn a_hidden_link_that_a_lease_is_shown_leads_to_nothing() {
    let place = tempfile::Builder::new().prefix("zyg-test-").tempdir_in("/tmp").unwrap();
    let link = place.path().canonicalize().unwrap().join("link");
    std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
    let server = server(&format!("[profile.careful]\nhide = [{link:?}]\n"));
    let read = |profile: &str| {
        let mut run = server.zyg("run");
        run.args(["--profile", profile, "--", "cat"]).arg(&link).current_dir(place.path());
        run.output().unwrap().stdout.len()
    };
    assert!(read("default") > 0, "the control");
    assert_eq!(read("careful"), 0);
}

/// The new root is put together over one of them.
#[test]
fn a_usual_place_that_is_not_private_is_the_hosts() {
    let file = tempfile::NamedTempFile::new_in("/tmp").unwrap();
    let server =
        server("[profile.open]\nwritable = [\"/run\", \"~\", \".\"]\nhide = [\"/etc/passwd\"]\n");
    let path = file.path().display();
    assert!(succeeds(&server, "open", &format!("test -e {path}")));
    assert!(!succeeds(&server, "open", &format!("echo x > {path}")), "read-only");
    assert!(!succeeds(&server, "default", &format!("test -e {path}")), "the control");
    assert!(!succeeds(&server, "open", "ls -d /tmp/etc /tmp/usr /tmp/root"), "nothing else");
}

/// Who could ask it for environments could have anything shown there.
#[test]
fn the_servers_own_socket_is_not_there() {
    let server = server("[profile.open]\nwritable = [\"/run\", \"~\", \".\"]\n");
    let socket = server.socket().canonicalize().unwrap();
    let find = format!("test -S {}", socket.display());
    assert!(!succeeds(&server, "open", &find));
    assert!(succeeds(&server, "open", &format!("test -e {}", socket.display())), "the control");
    // Unless that is asked for by its name.
    let mut run = server.zyg("run");
    run.arg("--bind").arg(&socket).args(["--", "sh", "-c", &find]);
    assert!(run.status().unwrap().success());
}

#[test]
fn a_working_directory_in_a_profiles_bind_is_the_bind() {
    let real = tempfile::Builder::new().prefix("zyg-test-").tempdir_in("/tmp").unwrap();
    let path = real.path().canonicalize().unwrap();
    fs::create_dir(path.join("below")).unwrap();
    let bind = |read_only: bool| {
        format!("bind = [{{ source = {path:?}, target = {path:?}, read_only = {read_only} }}]\n")
    };
    let server = server(&format!("[profile.kept]\n{}[profile.seen]\n{}", bind(false), bind(true)));
    for (profile, kept) in [("kept", true), ("seen", false)] {
        for directory in [path.clone(), path.join("below")] {
            let mut run = server.zyg("run");
            run.args(["--profile", profile, "--", "sh", "-c", "echo x > file && cat file"]);
            let output = run.current_dir(&directory).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "x\n", "{output:?}");
            assert_eq!(fs::remove_file(directory.join("file")).is_ok(), kept, "{profile}");
        }
    }
}

#[test]
fn a_profiles_bind_below_a_working_directory_is_the_bind() {
    let real = tempfile::Builder::new().prefix("zyg-test-").tempdir_in("/tmp").unwrap();
    let path = real.path().canonicalize().unwrap();
    let kept = path.join("kept");
    fs::create_dir(&kept).unwrap();
    let server = server(&format!("[profile.default]\nbind = [{kept:?}]\n"));
    let mut run = server.zyg("run");
    run.args(["--", "sh", "-c", "echo x >kept/file && echo x >lost && cat kept/file lost"]);
    let output = run.current_dir(&path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "x\nx\n", "{output:?}");
    assert!(kept.join("file").exists());
    assert!(!path.join("lost").exists(), "the control");
}

/// Wherever the bind is put in place: by the template, by each environment over the home directory, or in
/// a tree that is writable as a whole.
#[test]
fn a_private_place_inside_a_profiles_bind_is_private() {
    let real = tempfile::tempdir_in(zyg_tests::home()).unwrap();
    let (path, inner) = (real.path(), real.path().join("inner"));
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("theirs"), "").unwrap();
    let bind = format!("bind = [{path:?}]\n");
    let server = server(&format!(
        "[profile.early]\n{bind}writable = [\"/tmp\", {inner:?}]\n\
         [profile.late]\n{bind}writable = [\"/tmp\", \"~\", {inner:?}]\n\
         [profile.whole]\n{bind}root_overlay = true\nwritable = [\"/tmp\", {inner:?}]\n\
         [profile.shared]\n{bind}"
    ));
    let script = format!("cd {}; ls; echo >ours; ls", inner.display());
    for profile in ["early", "late", "whole"] {
        assert_eq!(printed(&server, profile, &script), "ours", "{profile}");
        assert!(!inner.join("ours").exists(), "{profile}");
    }
    assert_eq!(printed(&server, "shared", &script), "theirs\nours\ntheirs", "the control");
    assert!(inner.join("ours").exists(), "the control");
}

/// A private place is empty, so that what lies in it and is private, too, is not there by itself.
#[test]
fn a_private_place_lies_within_another_one_in_whichever_order_they_are_said() {
    const SEEN: &str = "cd /usr/share && touch f doc/f && ls -A . doc && stat -c %a doc";
    let config = |recycle: &str, whole: &str| {
        format!(
            "[profile.{recycle}]\nrecycle = \"{recycle}\"\nroot_overlay = {whole}\n\
             writable = [\"/usr/share/doc\", \"/var/tmp\", \"/var\", \"/usr/share\"]\n"
        )
    };
    let configs = [config("parts", "false"), config("whole", "false"), config("none", "true")];
    let server = server(&configs.concat());
    for profile in ["parts", "whole", "none"] {
        // Twice, since the second lease has what the first one had, if anything is used again.
        for _ in 0..2 {
            assert_eq!(printed(&server, profile, SEEN), ".:\ndoc\nf\n\ndoc:\nf\n755", "{profile}");
            assert_eq!(printed(&server, profile, "ls -A /var; stat -c %a /var/tmp"), "tmp\n1777");
        }
    }
    assert!(printed(&server, "default", "ls /usr/share").lines().count() > 2, "the control");
}

#[test]
fn what_is_hidden_or_read_only_stays_so_below_what_a_client_binds() {
    let real = tempfile::tempdir_in(zyg_tests::home()).unwrap();
    let [shut, part, link, file] =
        ["shut", "part", "link", "file"].map(|name| real.path().join(name));
    fs::create_dir(&shut).unwrap();
    fs::create_dir(&part).unwrap();
    fs::write(&file, "theirs").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    // A private place must be a directory, and one that is none hides nothing.
    let server = server(&format!(
        "[profile.default]\nhide = [{shut:?}, {link:?}]\nread_only = [{part:?}]\n\
         writable = [\"/tmp\", \"~\", {file:?}]\n"
    ));
    let run = |name: &str, script: &str| {
        let mut run = server.zyg("run");
        run.arg("--bind").arg(real.path()).arg("--bind").arg(real.path().join(name));
        run.args(["--", "sh", "-c", &format!("cd {}; {script}", real.path().display())]);
        run.status().unwrap().success()
    };
    assert!(!run(".", "echo >part/file"), "read-only");
    assert!(run("part", "echo >part/file"), "the control: asked for by its name");
    // What comes there later is as hidden as what is there.
    let script = "echo >later; until test -e seen; do :; done; test -z \"$(ls shut)\"";
    let hidden = std::thread::scope(|scope| {
        let looks = scope.spawn(|| run(".", script));
        zyg_tests::eventually("a command that waits", || {
            real.path().join("later").exists().then_some(())
        });
        fs::write(shut.join("new"), "").unwrap();
        fs::write(real.path().join("seen"), "").unwrap();
        looks.join().unwrap()
    });
    assert!(hidden);
    assert!(run("shut", "test -e shut/new"), "the control: asked for by its name");
    assert_eq!(printed(&server, "default", &format!("cat {}", link.display())), "");
}

#[test]
fn a_part_of_proc_is_hidden_or_the_profile_refused() {
    let link = tempfile::tempdir_in(zyg_tests::home()).unwrap();
    let [version, mounts, file] = ["version", "mounts", "file"].map(|name| link.path().join(name));
    std::os::unix::fs::symlink("/proc/version", &version).unwrap();
    std::os::unix::fs::symlink("/proc/self/mounts", &mounts).unwrap();
    fs::write(&file, "").unwrap();
    let server = server(&format!(
        "[profile.named]\nhide = [\"/proc/version\", \"/proc/sys\"]\n[profile.linked]\nhide = [{version:?}]\n\
         [profile.whole]\nrecycle = \"whole\"\nhide = [\"/proc/version\"]\n\
         [profile.own]\nhide = [{mounts:?}]\n[profile.bound]\nbind = [\"{}:{}\"]\n",
        file.display(),
        mounts.display()
    ));
    let seen = "cat /proc/version; ls /proc/sys | wc -l";
    assert_eq!(printed(&server, "named", seen), "0");
    for profile in ["linked", "whole"] {
        assert_eq!(printed(&server, profile, "cat /proc/version"), "", "{profile}");
    }
    assert_ne!(printed(&server, "default", "cat /proc/version"), "", "the control");
    // Which is another one for each process.
    for profile in ["own", "bound"] {
        let mut run = server.zyg("run");
        let output = run.args(["--profile", profile, "--", "echo", "ran"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout), (Some(125), vec![]), "{said}");
        assert!(said.contains(&mounts.display().to_string()), "{said}");
    }
}

#[test]
fn a_profiles_binds_are_really_written_or_refuse_to_be() {
    let real = tempfile::tempdir_in(zyg_tests::home()).unwrap();
    let path = real.path().display();
    let server = server(&format!(
        "[profile.keep]\nbind = [\"{path}\", {{ source = \"{path}\", target = \"/mnt\", read_only = true }}]\n"
    ));
    assert!(succeeds(&server, "keep", &format!("echo kept > {path}/f")));
    assert_eq!(fs::read_to_string(real.path().join("f")).unwrap(), "kept\n");
    assert_eq!(printed(&server, "keep", "cat /mnt/f"), "kept");
    assert!(!succeeds(&server, "keep", "echo no > /mnt/g"));
    assert!(succeeds(&server, "default", &format!("echo lost > {path}/h")));
    assert!(!real.path().join("h").exists(), "the control: without the bind it is discarded");
}

#[test]
fn a_bind_is_seen_in_a_tree_that_is_writable_as_a_whole() {
    let source = tempfile::tempdir_in("/tmp").unwrap();
    fs::write(source.path().join("f"), "the source's").unwrap();
    let bind = format!("bind = [{:?}]", format!("{}:/opt", source.path().display()));
    let server =
        server(&format!("[profile.whole]\nroot_overlay = true\n{bind}\n[profile.plain]\n{bind}\n"));
    for profile in ["whole", "plain"] {
        assert_eq!(printed(&server, profile, "cat /opt/f"), "the source's", "{profile}");
    }
    assert!(!succeeds(&server, "default", "test -e /opt/f"), "the control");
}

#[test]
fn an_exception_within_a_writable_place_is_read_only() {
    let home = tempfile::Builder::new().prefix(".zyg-test-").tempdir_in(zyg_tests::home()).unwrap();
    let path = home.path().display();
    let server = server(&format!("[profile.frozen]\nread_only = [\"{path}\"]\n"));
    let write = format!("touch {path}/f");
    assert!(!succeeds(&server, "frozen", &write));
    assert!(succeeds(&server, "frozen", "touch ~/elsewhere"));
    assert!(succeeds(&server, "default", &write), "the control");
}

#[test]
fn a_directory_can_be_the_root() {
    let tree = tempfile::Builder::new().prefix(".zyg-tree-").tempdir_in(zyg_tests::home()).unwrap();
    for directory in ["proc", "sys", "dev", "tmp", "bin", "lib", "lib64", "usr", "marker"] {
        fs::create_dir(tree.path().join(directory)).unwrap();
    }
    let server = server(&format!(
        "[profile.tree]\nroot = \"{}\"\nwritable = [\"/tmp\"]\nbind = [\n\
         {{ source = \"/usr\", target = \"/usr\", read_only = true }},\n\
         {{ source = \"/bin\", target = \"/bin\", read_only = true }},\n\
         {{ source = \"/lib\", target = \"/lib\", read_only = true }},\n\
         {{ source = \"/lib64\", target = \"/lib64\", read_only = true }}]\n\
         [profile.whole]\nextends = \"tree\"\nroot_overlay = true\n",
        tree.path().display()
    ));
    assert!(printed(&server, "tree", "ls /").lines().any(|line| line == "marker"));
    assert!(!succeeds(&server, "tree", "ls /etc || ls /home"));
    assert!(!succeeds(&server, "tree", "touch /marker/x"));
    for profile in ["tree", "whole"] {
        let use_it = "touch /tmp/x && ls /proc/self && echo x > /dev/null";
        assert!(succeeds(&server, profile, use_it), "{profile}");
        assert!(!succeeds(&server, profile, "touch /dev/x || touch /usr/x"), "{profile}");
    }
    assert!(succeeds(&server, "whole", "touch /marker/x"));
    assert!(!tree.path().join("marker/x").exists());
}

#[test]
fn variables_and_host_name_are_the_profiles() {
    let server = server(
        "[profile.named]\nhostname = \"box\"\nenv = { PROFILE_SAYS = \"a b\", LANG = \"xx\" }\n",
    );
    let show = "hostname; echo \"$PROFILE_SAYS\"; echo $LANG";
    assert_eq!(printed(&server, "named", show), "box\na b\nxx");
    assert_ne!(printed(&server, "default", show), "box\na b\nxx", "the control");
}

#[test]
fn each_network_is_what_it_says() {
    let server = server(
        "[profile.own]\nnetwork = \"own\"\nuser = { uid = 0, gid = 0 }\n\
         [profile.hosts]\nnetwork = \"host\"\n",
    );
    let namespace = "readlink /proc/self/ns/net";
    assert_eq!(printed(&server, "hosts", namespace), outside(namespace));
    assert_eq!(printed(&server, "networked", namespace), outside(namespace));
    assert_ne!(printed(&server, "own", namespace), outside(namespace));
    let address = "ip address add 10.9.8.7/32 dev lo && ip address show dev lo | grep 10.9.8.7";
    assert!(succeeds(&server, "own", address));
    assert!(!succeeds(&server, "default", address), "no command owns the usual network");
    assert!(!succeeds(&server, "hosts", address), "nor the host's");
    assert!(!outside("ip address show dev lo").contains("10.9.8.7"));
}

#[test]
fn a_bind_that_a_link_leads_into_a_private_place_is_shown() {
    if !zyg_tests::is_root() {
        return eprintln!("NOT SHOWN: it takes root, for a link that lies where commands see it");
    }
    let place = tempfile::tempdir_in("/srv").unwrap();
    let home = tempfile::Builder::new().prefix(".zyg-test-").tempdir_in(zyg_tests::home()).unwrap();
    fs::write(home.path().join("f"), "the host's").unwrap();
    let source = tempfile::tempdir_in("/srv").unwrap();
    fs::write(source.path().join("f"), "the bind's").unwrap();
    let link = place.path().join("link");
    std::os::unix::fs::symlink(home.path(), &link).unwrap();
    // And one to a private place, in which the target is yet to be made.
    let run = place.path().join("run");
    std::os::unix::fs::symlink("/run", &run).unwrap();
    let targets = [link.display().to_string(), format!("{}/made/here", run.display())];
    let binds = targets.each_ref().map(|target| format!("{}:{target}", source.path().display()));
    let server = server(&format!("[profile.bound]\nbind = {binds:?}\n"));
    for target in &targets {
        assert_eq!(printed(&server, "bound", &format!("cat {target}/f")), "the bind's");
    }
    let read = format!("cat {}/f", targets[0]);
    assert_eq!(printed(&server, "default", &read), "the host's", "the control");
}
