//! The user network with its forwarded ports, and networks between machines.

use std::ffi::OsString;
use std::path::Path;

use super::config::{Config, ForwardPort, Side};
use super::environment::Environment;
use super::host::Machine;
use super::qemu::{concat, option_value};

/// Where machines of one network find each other: a multicast group whose packets stay on this machine.
const GROUP: &str = "230.0.0.1";
const FIRST_PORT: u64 = 21_000;

/// A virtio card on QEMU's user network.
pub fn user_network(machine: &Machine<'_>) -> Vec<OsString> {
    let Machine { config, environment, host } = machine;
    let mut user = OsString::from("user,id=user.0,");
    user.extend(config.forward_ports.iter().map(|rule| forwarding(rule, &host.netcat)));
    if config.restrict_network {
        user.push("restrict=on,");
    }
    // These are options themselves, so their commas are not escaped.
    user.push(environment.get("QEMU_NET_OPTS").unwrap_or_default());
    vec!["-net".into(), "nic,netdev=user.0,model=virtio".into(), "-netdev".into(), user]
}

/// The rules have checked the addresses.
fn forwarding(rule: &ForwardPort, netcat: &Path) -> OsString {
    let ForwardPort { from, proto, host, guest } = rule;
    let guest_end = format!("{}:{}", guest.address, guest.port);
    let proto = proto.name();
    match from {
        Side::Host => format!("hostfwd={proto}:{}:{}-{guest_end},", host.address, host.port).into(),
        Side::Guest => {
            // QEMU splits the command as a shell would.
            let netcat = option_value(&*shell_words::quote(&netcat.to_string_lossy()));
            let arguments = format!(" {} {},", host.address, host.port);
            concat(&[&format!("guestfwd={proto}:{guest_end}-cmd:"), &netcat, &arguments])
        }
    }
}

/// A card for each of the machine's own networks. NixOS's test driver has a VDE switch for each network and names its
/// socket in the environment. Without a switch, the machines of a network share a multicast socket.
pub fn cards(config: &Config, environment: &Environment) -> Vec<OsString> {
    let mut arguments = Vec::new();
    for (i, card) in (1..).zip(config.network_cards()) {
        let device = format!("virtio-net-pci,netdev=vlan{i},mac={}", card.mac);
        let network = if let Some(socket) = environment.get(&format!("QEMU_VDE_SOCKET_{}", card.vlan)) {
            concat(&[&format!("vde,id=vlan{i},sock="), &option_value(socket)])
        } else {
            let port = FIRST_PORT + card.vlan;
            format!("socket,id=vlan{i},mcast={GROUP}:{port},localaddr=127.0.0.1").into()
        };
        arguments.extend(["-device".into(), device.into(), "-netdev".into(), network]);
    }
    arguments
}
