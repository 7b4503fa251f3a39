//! Namespaces and mounts that commands make in user namespaces of their own.

use crate::scene::{Scene, server};
use zyg_tests::{Probe, is_root};

/// Namespaces of one kind, each kept by a descriptor, more than an environment may have.
fn loop_of(kind: &str, flag: &str) -> String {
    format!(
        "raise_descriptors()\nnest()\n\
         def act(_):\n unshare({flag})\n held.append(os.open('/proc/self/ns/{kind}', os.O_RDONLY))\n\
         burn(refused(act, 1100))"
    )
}

/// User namespaces beside each other, for each one lies in the one that its maker is in.
const USER_NAMESPACES: &str = r#"
raise_descriptors()
def act(_):
    tell, told = os.pipe()
    go, done = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            unshare(CLONE_NEWUSER)
            os.write(told, bytes([0]))
        except OSError as error:
            os.write(told, bytes([error.errno]))
        os.close(done)
        os.read(go, 1)
        os._exit(0)
    failed = os.read(tell, 1)[0]
    if not failed:
        held.append(os.open(f"/proc/{child}/ns/user", os.O_RDONLY))
    for descriptor in (tell, told, go, done):
        os.close(descriptor)
    os.waitpid(child, 0)
    if failed:
        raise OSError(failed, "")
burn(refused(act, 1100))
"#;

/// As in the environment, for the host to have as many as before.
const ONE: &str = "unshare(CLONE_NEWUSER | CLONE_NEWUTS)";

fn assert_bounded(code: &str) {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light(code);
    assert_eq!(bomb.name, "ENOSPC");
    // Up to there the same acts succeed: the control.
    assert!((1000..=1024).contains(&bomb.count), "{}", bomb.count);
    assert_eq!(scene.bystander_tries(ONE), "ok");
    assert_eq!(Probe::new().one_outside(ONE), "ok");
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_unnoticed();
    scene.assert_restored();
}

#[test]
fn user_namespaces_of_one_environment_are_bounded() {
    assert_bounded(USER_NAMESPACES);
}

#[test]
fn host_name_and_ipc_namespaces_of_one_environment_are_bounded() {
    assert_bounded(&loop_of("uts", "CLONE_NEWUTS"));
    assert_bounded(&loop_of("ipc", "CLONE_NEWIPC"));
}

#[test]
fn network_namespaces_of_one_environment_are_bounded() {
    assert_bounded(&loop_of("net", "CLONE_NEWNET"));
}

#[test]
fn mount_namespaces_of_one_environment_are_bounded() {
    assert_bounded(&loop_of("mnt", "CLONE_NEWNS"));
}

#[test]
fn cgroup_namespaces_are_none() {
    let server = server("", &[]);
    let scene = Scene::of(&server, "default");
    let bomb = scene.light(&loop_of("cgroup", "CLONE_NEWCGROUP"));
    assert_eq!((bomb.name.as_str(), bomb.count), ("ENOSPC", 0));
    assert_eq!(Probe::new().one_outside("unshare(CLONE_NEWUSER | CLONE_NEWCGROUP)"), "ok");
    bomb.end();
    scene.assert_restored();
}

#[test]
fn user_namespaces_are_bounded_in_depth() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light("burn(refused(lambda _: nest(0), 100))");
    // Root cannot map itself without CAP_SETFCAP, and who is not mapped makes none.
    assert_eq!(bomb.name, if is_root() { "EPERM" } else { "ENOSPC" });
    // user_namespaces(7): 32 levels, of which the template's and the zygote's are two.
    assert!((1..=32).contains(&bomb.count), "{}", bomb.count);
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_restored();
}

#[test]
fn under_strict_there_is_no_namespace_to_be_had() {
    let server = server("", &["strict"]);
    let mut scene = Scene::of(&server, "strict");
    let bomb = scene.light("burn(refused(lambda _: unshare(CLONE_NEWUSER), 1))");
    assert_eq!(bomb.name, "EPERM");
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_restored();
}

#[test]
fn mounts_are_bounded_and_gone_with_their_lease() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    // Each doubles what is there.
    let bomb = scene.light(
        "nest()\n\
         def act(count):\n own = f'/tmp/{count}'\n os.mkdir(own)\n \
         mount('/tmp', own, None, MS_BIND | MS_REC)\n\
         burn(refused(act, 40))",
    );
    assert_eq!(bomb.name, "ENOSPC", "after {} doublings", bomb.count);
    assert!(bomb.count > 8, "the control: before that mounts are made");
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_unnoticed();
    scene.assert_restored();
}
