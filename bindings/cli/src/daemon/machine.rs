//! What the system says of this machine. What it does not say is unknown, and the engine is careful then.

use std::{fs, path::Path, process::Stdio, time::Duration};

use lifeboat::{
    scheduler::{Conditions, Known, Network},
    storage::Address,
};
use tokio::{process::Command, time::timeout};

/// For NetworkManager to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Machine {
    /// Nothing leaves the machine for a vault that is a folder.
    is_vault_here: bool,
}

impl Machine {
    pub(super) fn new(vault: &Address) -> Self {
        Self {
            is_vault_here: matches!(vault, Address::Local(_)),
        }
    }

    pub(super) async fn look(&self, state_dir: &Path) -> Conditions {
        let power = power(Path::new("/sys/class/power_supply"));
        Conditions {
            network: if self.is_vault_here {
                Network::Unmetered
            } else {
                network().await
            },
            charging: power.charging,
            battery_percent: power.battery_percent,
            low_power_mode: low_power_mode(),
            free_bytes: rustix::fs::statvfs(state_dir)
                .ok()
                .map(|room| room.f_bavail.saturating_mul(room.f_frsize)),
            time_zone: jiff::tz::TimeZone::system().iana_name().map(str::to_owned),
            ..Conditions::default()
        }
    }
}

/// Whether two looks differ in what decisions depend on; batteries and disks that change a little do not count.
pub(super) fn differs(before: &Conditions, now: &Conditions) -> bool {
    let coarse = |conditions: &Conditions| Conditions {
        battery_percent: conditions.battery_percent.map(|percent| percent / 10),
        free_bytes: conditions.free_bytes.map(|bytes| bytes >> 28),
        ..conditions.clone()
    };
    coarse(before) != coarse(now)
}

/// A number that changes when the machine starts anew.
pub(super) fn boot() -> Option<u64> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(15).collect();
    u64::from_str_radix(&digits, 16).ok()
}

async fn network() -> Network {
    let routes = ["/proc/net/route", "/proc/net/ipv6_route"];
    let [Ok(four), six] = routes.map(fs::read_to_string) else {
        return Network::Unknown;
    };
    let Some(interface) = way_out(&four, &six.unwrap_or_default()) else {
        return Network::Offline;
    };
    let mut asking = Command::new("nmcli");
    asking
        .args([
            "--terse",
            "--fields",
            "GENERAL.METERED",
            "device",
            "show",
            &interface,
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let answer = match timeout(ANSWER_WITHIN, asking.output()).await {
        Ok(Ok(answer)) => String::from_utf8_lossy(&answer.stdout).into_owned(),
        // Nobody manages the network, or not in time.
        Ok(Err(_)) | Err(_) => String::new(),
    };
    let link = fs::read_to_string(format!("/sys/class/net/{interface}/uevent")).unwrap_or_default();
    price(&answer, &link)
}

/// The interface of a default route that is up.
fn way_out(four: &str, six: &str) -> Option<String> {
    const UP: u32 = 1;
    const REJECT: u32 = 0x200;
    let is_up = |flags: &str| u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & (UP | REJECT) == UP);
    let by_four = four.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [interface, "00000000", _, flags, _, _, _, "00000000", ..] = words[..] else {
            return None;
        };
        is_up(flags).then(|| interface.to_owned())
    });
    by_four.or_else(|| {
        six.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [to, "00", _, _, _, _, _, _, flags, interface] = words[..] else {
                return None;
            };
            let is_default = to.bytes().all(|digit| digit == b'0');
            (is_default && interface != "lo" && is_up(flags)).then(|| interface.to_owned())
        })
    })
}

/// What the network costs, from NetworkManager's answer and what the kernel says of the link.
fn price(answer: &str, link: &str) -> Network {
    let word = answer.trim().rsplit(':').next().unwrap_or_default();
    match word.split_whitespace().next() {
        Some("yes") => Network::Metered,
        // A modem is not taken to be free because somebody guessed so.
        Some("no") => Network::Unmetered,
        _ if link.lines().any(|line| line == "DEVTYPE=wwan") => Network::Metered,
        _ => Network::Unclassified,
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Power {
    charging: Known,
    battery_percent: Option<u8>,
}

/// From the files that Linux has of each supply. A machine without a battery never runs on one.
fn power(supplies: &Path) -> Power {
    let Ok(entries) = fs::read_dir(supplies) else {
        return Power::default();
    };
    let (mut batteries, mut plugged) = (Vec::new(), false);
    for entry in entries.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        // Those of mice and headphones are not the machine's.
        if read("scope").trim() == "Device" {
            continue;
        }
        match read("type").trim() {
            "Battery" => {
                let charges = matches!(read("status").trim(), "Charging" | "Full" | "Not charging");
                batteries.push((read("capacity").trim().parse::<u8>().ok(), charges));
            }
            "Mains" | "USB" | "Wireless" => plugged |= read("online").trim() == "1",
            _ => {}
        }
    }
    let charging = plugged || batteries.is_empty() || batteries.iter().any(|(_, charges)| *charges);
    Power {
        charging: charging.into(),
        battery_percent: batteries.iter().filter_map(|(percent, _)| *percent).max(),
    }
}

fn low_power_mode() -> Known {
    match fs::read_to_string("/sys/firmware/acpi/platform_profile") {
        Ok(profile) => (profile.trim() == "low-power").into(),
        Err(_) => Known::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_is_a_default_route_that_is_up() {
        let four = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                    eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                    eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(way_out(four, "").as_deref(), Some("eth0"));
        let zeros = "0".repeat(32);
        let six = |flags: &str, interface: &str| {
            format!("{zeros} 00 {zeros} 00 {zeros} 00000400 00000001 00000000 {flags} {interface}\n")
        };
        assert_eq!(
            way_out("Iface\n", &six("00000003", "wlan0")).as_deref(),
            Some("wlan0")
        );
        assert_eq!(way_out("Iface\n", &six("00200200", "lo")), None, "unreachable");
    }

    #[test]
    fn what_nobody_says_of_a_network_is_not_taken_to_be_free() {
        assert_eq!(price("GENERAL.METERED:no (guessed)\n", ""), Network::Unmetered);
        assert_eq!(price("GENERAL.METERED:yes\n", ""), Network::Metered);
        assert_eq!(price("GENERAL.METERED:unknown\n", ""), Network::Unclassified);
        assert_eq!(price("", "DEVTYPE=wwan\nINTERFACE=wwan0\n"), Network::Metered);
        assert_eq!(price("", "INTERFACE=eth0\n"), Network::Unclassified);
    }

    #[test]
    fn power_is_what_the_supplies_say() {
        let dir = tempfile::tempdir().unwrap();
        let supply = |name: &str, files: &[(&str, &str)]| {
            fs::create_dir_all(dir.path().join(name)).unwrap();
            for (file, text) in files {
                fs::write(dir.path().join(name).join(file), format!("{text}\n")).unwrap();
            }
        };
        assert_eq!(power(dir.path()).charging, Known::Yes, "no battery");
        supply(
            "hid",
            &[
                ("type", "Battery"),
                ("scope", "Device"),
                ("capacity", "3"),
                ("status", "Discharging"),
            ],
        );
        assert_eq!(power(dir.path()).battery_percent, None, "a mouse's");
        supply(
            "BAT0",
            &[("type", "Battery"), ("capacity", "61"), ("status", "Discharging")],
        );
        supply("AC", &[("type", "Mains"), ("online", "0")]);
        let on_battery = Power {
            charging: Known::No,
            battery_percent: Some(61),
        };
        assert_eq!(power(dir.path()), on_battery);
        supply("AC", &[("online", "1")]);
        assert_eq!(power(dir.path()).charging, Known::Yes);
        assert_eq!(power(Path::new("/nowhere")), Power::default());
    }
}
