//! The user network: what reaches the guest, what the guest reaches, and what it must not.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use testkit::scripted::{Said, Scripted};

/// A server in the guest, which first tries to reach the host by its own forwarded port and by the address that QEMU
/// gives the host. It serves until the host has seen what it wants.
const SCRIPT: &str = r#"
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
get() { printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 $1 $2 | tail -n 1; }
echo "FORWARDED $(get 10.0.2.100 80)"
echo "DIRECTLY $(get 10.0.2.2 @host@)"
mkdir /www
echo "of the guest" > /www/file
httpd -p 8080 -h /www
httpd -p 8081 -h /www
touch /tmp/shared/ready
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -e /tmp/shared/seen ] && break; sleep 1; done
"#;

/// A server on this machine that says one thing to all who ask.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            // As much of the request as there is; its end is of no interest.
            let _ = connection.read(&mut [0; 1024]);
            let _ = connection.write_all(b"HTTP/1.0 200 OK\r\n\r\nof the host\n");
        }
    });
    address
}

/// A port of this machine that nobody has; somebody might take it before QEMU does.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Asks a server on this machine for the file.
fn ask(port: u16) -> std::io::Result<String> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    connection.write_all(b"GET /file HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Boots a machine with ports forwarded both ways, and looks at them from this side.
fn boot(options: &str) -> Said {
    let server = serve();
    let ports = [free_port(), free_port()];
    let machine = Scripted::new(
        env!("CARGO_BIN_EXE_nix-imagegen"),
        &format!(
            r#"
        forwardPorts = [
            {{ host = {{ address = "127.0.0.1", port = {} }}, guest.port = 8080 }},
            {{ from = "guest", host = {{ address = "127.0.0.1", port = {} }},
               guest = {{ address = "10.0.2.100", port = 80 }} }},
        ]
        {options}
        "#,
            ports[0],
            server.port(),
        ),
    );
    let home = &machine.home;
    let shared = home.path("shared");
    fs::create_dir(&shared).unwrap();
    let mut run = home.run(&[]);
    run.env("SHARED_DIR", &shared).env("QEMU_NET_OPTS", format!("hostfwd=tcp:127.0.0.1:{}-:8081", ports[1]));
    let mut running = machine.start_by(&mut run, &SCRIPT.replace("@host@", &server.port().to_string()));

    home.wait(&mut running, || shared.join("ready").exists());
    for port in ports {
        let answer = ask(port).unwrap();
        assert!(answer.ends_with("\r\n\r\nof the guest\n"), "{answer}");
    }
    fs::write(shared.join("seen"), "").unwrap();
    let said = machine.until_off(running);
    said.has("FORWARDED of the host");
    said
}

#[test]
fn ports_are_forwarded_both_ways() {
    boot("").has("DIRECTLY of the host");
}

#[test]
fn a_restricted_machine_reaches_nothing_but_forwarded_ports() {
    boot("restrictNetwork = true").has("DIRECTLY ");
}
