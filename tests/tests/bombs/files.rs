//! Files, directories and links, in number and in depth.

use crate::scene::{Scene, profile, server};

#[test]
fn inodes_are_bounded_in_each_private_place_and_of_every_kind() {
    let small = profile("small", "", "tmp_inodes = 300");
    let server = server(&small, &["small"]);
    let mut scene = Scene::of(&server, "small");
    let places = "import pathlib, shutil\n\
                  kinds = dict(\n file=create,\n directory=os.mkdir,\n \
                  link=lambda path: os.symlink('x' * 200, path),\n fifo=os.mkfifo,\n \
                  socket=lambda path: socket.socket(socket.AF_UNIX).bind(path),\n)\n\
                  outcomes, least = set(), 10**6\n\
                  for place in ('/tmp', '/var/tmp', '/dev/shm', '/run', os.path.expanduser('~')):\n \
                  for name, make in kinds.items():\n  own = place + '/' + name\n  os.mkdir(own)\n  \
                  outcome, count = refused(lambda count: make(f'{own}/{count}'), 1000).split()\n  \
                  outcomes.add(outcome)\n  least = min(least, int(count))\n  \
                  assert outcome == 'none' or int(count) < 300, (own, count)\n  \
                  shutil.rmtree(own)\n\
                  assert len(outcomes) == 1, outcomes\n\
                  create(place + '/again')\n\
                  burn(f'{outcomes.pop()} {least}')";
    for _ in 0..2 {
        let bomb = scene.light(places);
        assert_eq!(bomb.name, "ENOSPC");
        assert!(bomb.count > 200, "{}", bomb.count);
        bomb.end();
    }
    let full = scene.light("burn(refused(lambda count: create(f'/tmp/{count}'), 1000))");
    assert_eq!(full.name, "ENOSPC");
    assert_eq!(scene.bystander_tries("create('/tmp/own')"), "ok");
    scene.assert_unnoticed();
    full.end();
    let control = scene.light_under("default", places);
    assert_eq!(control.name, "none");
    control.end();
    scene.assert_restored();
}

#[test]
fn a_hundred_thousand_files_are_gone_with_their_lease() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light(
        "def act(count):\n if count % 1000 == 0:\n  os.mkdir(f'/tmp/{count}')\n  \
         os.chdir(f'/tmp/{count}')\n os.close(os.open(str(count), os.O_CREAT | os.O_WRONLY))\n\
         burn(refused(act, 100000))",
    );
    assert_eq!((bomb.name.as_str(), bomb.count), ("none", 100_000));
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_unnoticed();
    scene.assert_restored();
}

#[test]
fn depth_is_no_obstacle_to_the_end_of_a_lease() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    for place in ["/tmp", "/dev/shm", "~"] {
        let bomb = scene.light(&format!(
            "os.chdir(os.path.expanduser('{place}'))\n\
             def act(_):\n os.mkdir('d')\n os.chdir('d')\n\
             burn(refused(act, 5000))"
        ));
        assert_eq!((bomb.name.as_str(), bomb.count), ("none", 5000), "{place}");
        scene.assert_unnoticed();
        bomb.end();
    }
    scene.assert_restored();
}

#[test]
fn a_chain_of_links_is_refused_by_name() {
    let server = server("", &[]);
    let mut scene = Scene::of(&server, "default");
    let bomb = scene.light(
        "create('/tmp/0')\n\
         def act(count):\n os.symlink(str(count), f'/tmp/{count + 1}')\n os.stat(f'/tmp/{count + 1}')\n\
         burn(refused(act, 1000))",
    );
    // path_resolution(7): 40 links are followed. Where something changes meanwhile the kernel walks
    // the path again, and goes on counting.
    assert_eq!(bomb.name, "ELOOP");
    assert!((20..=40).contains(&bomb.count), "{}", bomb.count);
    scene.assert_unnoticed();
    bomb.end();
    scene.assert_restored();
}
