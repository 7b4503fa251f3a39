//! `acquires SOCKET N`: takes an environment and gives it back, N times, with a pause after each in
//! which the server does what that leads to. For whoever counts what it takes (`syscalls.sh`).

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;
use zygote_client::Client;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, times] = &arguments[..] else {
        return Err("usage: acquires SOCKET N".into());
    };
    let client = Client::connect(socket)?;
    for _ in 0..times.parse::<u32>()? {
        drop(client.lease()?);
        sleep(Duration::from_millis(30));
    }
    Ok(())
}
