//! The user network and its forwarded ports.

use std::ffi::OsString;

use anyhow::Context;

use super::config::{Config, ForwardPort, Side};
use super::{Environment, option_value};

/// The network's arguments: the config's own, or a virtio card on QEMU's user network.
pub fn arguments(config: &Config, environment: &Environment) -> anyhow::Result<Vec<OsString>> {
    if let Some(own) = &config.qemu.networking_options {
        let mut arguments = Vec::new();
        for text in own {
            let words = shell_words::split(text)
                .with_context(|| format!("qemu.networkingOptions: `{text}` has an open quote"))?;
            arguments.extend(words.into_iter().map(OsString::from));
        }
        return Ok(arguments);
    }
    let mut user = OsString::from("user,id=user.0,");
    for rule in &config.forward_ports {
        user.push(forwarding(rule));
        user.push(",");
    }
    // Options in their own right, hence not escaped.
    user.push(environment.qemu_net_opts.as_deref().unwrap_or_default());
    Ok(vec!["-net".into(), "nic,netdev=user.0,model=virtio".into(), "-netdev".into(), user])
}

fn forwarding(rule: &ForwardPort) -> OsString {
    let ForwardPort { from, proto, host, guest } = rule;
    let proto = proto.name();
    let mut text = OsString::new();
    match from {
        Side::Host => {
            text.push("hostfwd=");
            text.push(option_value(format!(
                "{proto}:{}:{}-{}:{}",
                host.address, host.port, guest.address, guest.port
            )));
        }
        Side::Guest => {
            text.push("guestfwd=");
            text.push(option_value(format!(
                "{proto}:{}:{}-cmd:nc {} {}",
                guest.address, guest.port, host.address, host.port
            )));
        }
    }
    text
}
