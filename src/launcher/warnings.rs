//! What the user should know, though the machine can start: mostly what it opens to others.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::config::{Config, SecurityModel};
use super::host::Host;
use super::plan::Plan;
use super::{own_disks, shared_directories};

/// All warnings, each once.
pub fn all(config: &Config, host: &Host, plan: &Plan) -> Vec<String> {
    let no_certificates = (config.use_host_certs && host.certificates.is_none()).then(|| {
        "useHostCerts: NIX_SSL_CERT_FILE names no file, so the guest gets no certificates".to_owned()
    });
    let of_root = || shares_of_root(config).filter(|_| rustix::process::geteuid().is_root());
    let boot_disk = host.boot_disk.as_ref().filter(|_| !config.of_image);
    let own_disk = own_disks::warning(boot_disk, host.root_disk.as_deref());
    no_certificates.into_iter().chain(own_disk).chain(open_ports(&plan.arguments)).chain(of_root()).collect()
}

/// Forwarded ports without an address of this machine (QEMU's manual, `hostfwd`), in whichever argument they are.
fn open_ports(arguments: &[OsString]) -> Option<String> {
    let texts = arguments.iter().filter_map(|argument| argument.to_str());
    let rules = texts.flat_map(|text| text.split(',')).filter_map(|option| option.strip_prefix("hostfwd="));
    let open = rules.filter_map(|rule| {
        let (host, _guest) = rule.split_once('-')?;
        let (proto, port) = host.split_once("::")?;
        Some(format!("{port} ({})", if proto.is_empty() { "tcp" } else { proto }))
    });
    let open: BTreeSet<String> = open.collect();
    let ports = open.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    (!ports.is_empty()).then(|| {
        format!(
            "every machine that reaches this one reaches the forwarded ports {ports}; for this machine alone, give \
             the address 127.0.0.1 (`host.address` in forwardPorts, `hostfwd=tcp:127.0.0.1:PORT-:PORT` elsewhere)"
        )
    })
}

/// Shared directories in which the guest's root is this machine's root.
fn shares_of_root(config: &Config) -> Option<String> {
    let shares = shared_directories::all(config);
    let written = shares.iter().filter(|(tag, share)| {
        share.security_model == SecurityModel::None && !shared_directories::is_only_read(config, tag)
    });
    let tags = written.map(|(tag, _)| format!("`{tag}`")).collect::<Vec<_>>().join(", ");
    (!tags.is_empty()).then(|| {
        format!(
            "run as root: in the shares {tags} the guest makes files that are root's here, devices and set-user-ID \
             programs too; run as another user, or set `securityModel = \"mapped-xattr\"`"
        )
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn ports_without_an_address() {
        let warned = |arguments: &[&str]| {
            let warning = super::open_ports(&arguments.iter().map(Into::into).collect::<Vec<_>>());
            warning.map(|text| text.split_once("ports ").unwrap().1.split_once(';').unwrap().0.to_owned())
        };
        let user = "user,id=user.0,hostfwd=tcp::2222-:22,hostfwd=udp::53-10.0.2.15:53,hostfwd=tcp::2222-:23,restrict=on";
        assert_eq!(warned(&["-netdev", user]).unwrap(), "2222 (tcp), 53 (udp)");
        assert_eq!(warned(&["-nic", "user,hostfwd=::80-:80"]).unwrap(), "80 (tcp)");
        for closed in [
            "user,id=user.0,hostfwd=tcp:127.0.0.1:2222-:22",
            "user,hostfwd=tcp:0.0.0.0:2222-:22",
            "user,guestfwd=tcp:10.0.2.9:80-cmd:nc a 80",
            "hostfwd=",
            "local,path=/a,,hostfwd",
        ] {
            assert_eq!(warned(&[closed]), None, "{closed}");
        }
    }
}
