//! Pseudo-terminals: the kernel has one count of them for the whole machine.

use crate::scene::{Scene, server};
use zyg_tests::Probe;
use zygote_client::TtySize;

const OPEN: &str = "raise_descriptors()\n\
                    burn(refused(lambda _: held.append(os.open('/dev/ptmx', os.O_RDWR | \
                    os.O_NOCTTY)), 300))";

/// A pair that works.
const PAIR: &str = "master, terminal = os.openpty()\nos.write(master, b'x\\n')\n\
                    assert os.read(terminal, 2) == b'x\\n'";

#[test]
fn an_environment_has_terminals_for_all_its_commands_and_leaves_the_rest() {
    for profile in ["default", "strict"] {
        let server = server("", &[profile]);
        let mut scene = Scene::of(&server, profile);
        for _ in 0..2 {
            let bomb = scene.light(OPEN);
            assert_eq!((bomb.name.as_str(), bomb.count), ("ENOSPC", 256), "{profile}");
            // The host, the bystander and new leases have theirs.
            assert_eq!(scene.bystander_tries(PAIR), "ok");
            assert_eq!(Probe::new().one_outside(PAIR), "ok");
            let lease = scene.observer().lease().unwrap();
            let mut command = lease.command("true");
            command.tty(TtySize { rows: 24, columns: 80 });
            assert!(command.status().is_ok_and(|status| status.success()));
            lease.release().unwrap();
            scene.assert_unnoticed();
            bomb.end();
        }
        let more = "import resource\nhard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n\
                    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n\
                    held = [os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY) for _ in range(300)]";
        assert_eq!(Probe::new().one_outside(more), "ok", "the control");
        scene.assert_restored();
    }
}
