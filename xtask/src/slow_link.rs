//! A link with delay to a network namespace of this machine: the distance that a benchmark over loopback lacks.
//!
//! Invariant: its names and addresses are its own, so that several may be there at once; it needs root and
//! changes nothing but its namespace and its two devices. Both go with it, also when its owner is killed: the
//! process that carries the packets and the one that removes the namespace wait for the end of a pipe that only
//! the owner holds open.

pub mod delay_line;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use camino::Utf8Path;

use crate::noise::Noise;
use crate::setup::Tool;
use crate::sshd::Network;

/// The link, which is there until this is dropped.
#[derive(Debug)]
pub struct SlowLink {
    network: Network,
    line: Child,
    remover: Child,
}

impl SlowLink {
    /// Why there can be no such link here, where that is plain from the outside.
    #[must_use]
    pub fn obstacle() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("it takes root to make a network namespace and devices in it".to_owned());
        }
        if !Utf8Path::new("/dev/net/tun").exists() {
            return Some("there is no /dev/net/tun here".to_owned());
        }
        Tool::Ip.require().err().map(|error| error.to_string())
    }

    /// Makes the namespace and the link. `line` starts the process that calls [`delay_line::carry`]; the names of
    /// the two devices are added to its arguments, and it prints a line when both are there.
    ///
    /// # Errors
    /// When a device, the namespace or an address cannot be made; what had been made is removed.
    pub fn up(mut line: Command) -> io::Result<SlowLink> {
        let names = Names::random()?;
        let mut line = line
            .args(&names.devices)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("the delay line: {error}")))?;
        let remover = match start_remover(&names.namespace) {
            Ok(remover) => remover,
            Err(error) => {
                end(&mut line);
                return Err(error);
            }
        };
        let network = Network { namespace: names.namespace.clone(), address: names.there };
        let mut link = SlowLink { network, line, remover };
        link.wait_for_devices()?;
        names.connect()?;
        Ok(link)
    }

    /// The far end, for a server that is to run there.
    #[must_use]
    pub fn network(&self) -> Network {
        self.network.clone()
    }

    fn wait_for_devices(&mut self) -> io::Result<()> {
        let Some(output) = self.line.stdout.take() else {
            return Err(io::Error::other("the delay line has no output"));
        };
        let mut said = String::new();
        if BufReader::new(output).read_line(&mut said)? == 0 {
            return Err(io::Error::other("the delay line ended before its devices were there"));
        }
        Ok(())
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        end(&mut self.line);
        end(&mut self.remover);
    }
}

/// Both end by themselves when their standard input does.
fn end(child: &mut Child) {
    drop(child.stdin.take());
    // Fails only for a child that has been waited for already.
    let _ = child.wait();
}

/// A shell that outlives Ctrl-C, which in a terminal reaches it too, until its work is done.
fn start_remover(namespace: &str) -> io::Result<Child> {
    const SCRIPT: &str = "trap '' INT TERM HUP; read -r _; \"$1\" netns del \"$2\" 2>/dev/null; exit 0";
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "sh", Tool::Ip.require()?.as_str(), namespace])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// The names and addresses of one link.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    namespace: String,
    devices: [String; 2],
    here: Ipv4Addr,
    there: Ipv4Addr,
}

impl Names {
    fn random() -> io::Result<Names> {
        let mut seed = [0; 8];
        io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut seed)?;
        Ok(Names::from_seed(u64::from_le_bytes(seed)))
    }

    /// Four addresses of 198.18.0.0/15, which is set aside for benchmarks; the name of a device has at most 15
    /// bytes.
    fn from_seed(seed: u64) -> Names {
        let mut noise = Noise::new(seed);
        let tag = format!("{:08x}", noise.next() as u32);
        let first = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 4 * noise.below(1 << 15) as u32;
        Names {
            namespace: format!("mdvbench{tag}"),
            devices: [format!("mdvb{tag}h"), format!("mdvb{tag}t")],
            here: Ipv4Addr::from(first + 1),
            there: Ipv4Addr::from(first + 2),
        }
    }

    fn connect(&self) -> io::Result<()> {
        let namespace = self.namespace.as_str();
        let [near, far] = self.devices.each_ref().map(String::as_str);
        ip(&["netns", "add", namespace])?;
        ip(&["link", "set", far, "netns", namespace])?;
        ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        for (prefix, device, address) in
            [(&[][..], near, self.here), (&["-n", namespace][..], far, self.there)]
        {
            let address = format!("{address}/30");
            ip(&[prefix, &["addr", "add", &address, "dev", device]].concat())?;
            // Jumbo frames, and a queue that holds what is under way: the wire is to be the limit, not its ends.
            ip(&[prefix, &["link", "set", device, "mtu", "9000", "txqueuelen", "10000", "up"]].concat())?;
        }
        Ok(())
    }
}

fn ip(args: &[&str]) -> io::Result<()> {
    let output = Command::new(Tool::Ip.require()?).args(args).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("`ip {}`: {}", args.join(" "), said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_links_share_no_name_and_no_address_and_names_fit_into_the_kernel_s() {
        let (a, b) = (Names::from_seed(1), Names::from_seed(2));
        assert!(a.namespace != b.namespace && a.devices != b.devices && a.here != b.here);
        for names in [a, b] {
            assert!(names.devices.iter().all(|device| device.len() <= 15), "{names:?}");
            assert_eq!(u32::from(names.here) + 1, u32::from(names.there));
            assert!(names.here.octets()[0] == 198 && (names.here.octets()[1] & 0xfe) == 18, "{names:?}");
        }
    }
}
