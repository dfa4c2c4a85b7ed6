//! The user network with its forwarded ports, and networks between machines.

use std::ffi::OsString;
use std::path::Path;

use super::config::{Config, ForwardPort, Side};
use super::environment::Environment;
use super::host::Host;
use super::qemu::option_value;

/// Where machines of one network find each other: a multicast group whose packets stay on this machine.
const GROUP: &str = "230.0.0.1";
const FIRST_PORT: u64 = 21_000;

/// A virtio card on QEMU's user network.
pub fn user_network(config: &Config, environment: &Environment, host: &Host) -> Vec<OsString> {
    let mut user = OsString::from("user,id=user.0,");
    for rule in &config.forward_ports {
        user.push(forwarding(rule, &host.netcat));
        user.push(",");
    }
    if config.restrict_network {
        user.push("restrict=on,");
    }
    // Options in their own right, hence not escaped.
    user.push(environment.get("QEMU_NET_OPTS").unwrap_or_default());
    vec!["-net".into(), "nic,netdev=user.0,model=virtio".into(), "-netdev".into(), user]
}

/// The addresses were checked with the config's rules.
fn forwarding(rule: &ForwardPort, netcat: &Path) -> OsString {
    let ForwardPort { from, proto, host, guest } = rule;
    let proto = proto.name();
    let mut text = OsString::new();
    match from {
        Side::Host => text
            .push(format!("hostfwd={proto}:{}:{}-{}:{}", host.address, host.port, guest.address, guest.port)),
        Side::Guest => {
            text.push(format!("guestfwd={proto}:{}:{}-cmd:", guest.address, guest.port));
            // QEMU splits the command as a shell would.
            let netcat = netcat.to_string_lossy();
            text.push(option_value(shell_words::quote(&netcat).into_owned()));
            text.push(format!(" {} {}", host.address, host.port));
        }
    }
    text
}

/// A card for each of the machine's own networks. The test driver of NixOS has a VDE switch for each and names it in
/// the environment; without one, the machines of a network share a multicast socket.
pub fn cards(config: &Config, environment: &Environment) -> Vec<OsString> {
    let mut arguments = Vec::new();
    for (i, card) in (1..).zip(config.network_cards()) {
        let device = format!("virtio-net-pci,netdev=vlan{i},mac={}", card.mac);
        let mut network = OsString::new();
        match environment.get(&format!("QEMU_VDE_SOCKET_{}", card.vlan)) {
            Some(socket) => {
                network.push(format!("vde,id=vlan{i},sock="));
                network.push(option_value(socket));
            }
            None => network.push(format!(
                "socket,id=vlan{i},mcast={GROUP}:{},localaddr=127.0.0.1",
                FIRST_PORT + card.vlan
            )),
        }
        arguments.extend(["-device".into(), device.into(), "-netdev".into(), network]);
    }
    arguments
}
