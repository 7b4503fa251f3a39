//! The main job, once.

use zyg_tests::Server;

#[test]
fn a_command_runs_in_a_warm_environment() {
    let server = Server::start();
    let client = server.client();
    let lease = client.lease().unwrap();
    assert_eq!(lease.start(), zygote_client::Start::Warm);
    let output = lease.command("sh").args(["-c", "echo hello from $$"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"hello from 2\n");
    lease.release().unwrap();
}
