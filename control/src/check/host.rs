//! The host: cores, hugepages, DPDK, network devices, permissions. Read from `/proc` and `/sys`,
//! never changed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Finding;

/// Oldest DPDK that `fermata-fastpath` builds with.
const DPDK_MIN: (u32, u32) = (22, 11);

/// Drivers that give a device to a user-space program.
const USER_DRIVERS: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// Capabilities the data plane needs if it is not root: bit in `CapEff`, name.
const CAPABILITIES: [(u32, &str); 3] =
    [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (14, "CAP_IPC_LOCK")];

/// Everything about the host whose root directory is `root`.
pub(super) fn findings(root: &Path) -> Vec<Finding> {
    let mut findings = vec![cores(root), hugepages(root), hugetlbfs(root), dpdk()];
    findings.extend(devices(root));
    findings.push(permissions(root));
    findings
}

fn cores(root: &Path) -> Finding {
    let online = read(root, "sys/devices/system/cpu/online").map_or(1, |list| list_len(&list));
    let isolated = read(root, "sys/devices/system/cpu/isolated").map_or(0, |list| list_len(&list));
    let message = format!("{online} online, {isolated} isolated");
    match (online, isolated) {
        (0 | 1, _) => {
            Finding::warn("cores", message, "one core for all: use the data plane's idle mode")
        }
        (_, 0) => Finding::warn(
            "cores",
            message,
            "for steady latency boot with isolcpus= and nohz_full= for the data plane's cores",
        ),
        _ => Finding::ok("cores", message),
    }
}

fn hugepages(root: &Path) -> Finding {
    let info = read(root, "proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let (total, free) = (field("HugePages_Total:"), field("HugePages_Free:").unwrap_or(0));
    let size = field("Hugepagesize:").unwrap_or(0);
    match total {
        None => Finding::warn(
            "hugepages",
            "this kernel has none",
            "the data plane runs without them (--no-huge), slower",
        ),
        Some(0) => Finding::warn(
            "hugepages",
            "none reserved",
            "reserve some: `sysctl vm.nr_hugepages=512`; without them it runs slower",
        ),
        Some(total) if free * size < 256 << 10 => Finding::warn(
            "hugepages",
            format!("{free} of {total} free ({size} kB each): less than 256 MB"),
            "reserve more (`sysctl vm.nr_hugepages=512`) or end what holds them",
        ),
        Some(total) => Finding::ok("hugepages", format!("{free} of {total} free ({size} kB each)")),
    }
}

fn hugetlbfs(root: &Path) -> Finding {
    let mounts = read(root, "proc/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let place =
        fields.into_iter().find(|f| f.get(2) == Some(&"hugetlbfs")).map(|f| f[1].to_owned());
    match place {
        Some(place) => Finding::ok("hugetlbfs", format!("mounted at {place}")),
        None => Finding::warn(
            "hugetlbfs",
            "not mounted",
            "`mount -t hugetlbfs none /dev/hugepages`, where there are hugepages",
        ),
    }
}

fn dpdk() -> Finding {
    let version = output("pkg-config", &["--modversion", "libdpdk"]);
    if let Some(version) = version.as_deref().map(str::trim) {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let pair = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if pair >= DPDK_MIN {
            return Finding::ok("dpdk", format!("libdpdk {version}"));
        }
        let mend = format!("install {}.{} or newer", DPDK_MIN.0, DPDK_MIN.1);
        return Finding::fail("dpdk", format!("libdpdk {version} is too old"), mend);
    }
    let loaded = output("ldconfig", &["-p"]).or_else(|| output("/sbin/ldconfig", &["-p"]));
    let library = loaded.unwrap_or_default();
    match library.lines().find(|line| line.contains("librte_eal.so")) {
        Some(line) => {
            let name = line.split_whitespace().next().unwrap_or("librte_eal.so");
            Finding::ok("dpdk", format!("{name} is installed (no development files)"))
        }
        None => Finding::warn(
            "dpdk",
            "libdpdk is not installed",
            "`apt-get install libdpdk-dev` to forward traffic; captures need no DPDK",
        ),
    }
}

/// Network devices with hardware behind them, one finding each.
fn devices(root: &Path) -> Vec<Finding> {
    let mut findings: Vec<Finding> = names(&root.join("sys/class/net"))
        .into_iter()
        .filter_map(|name| device(root, &name))
        .collect();
    for driver in USER_DRIVERS {
        let bound = names(&root.join("sys/bus/pci/drivers").join(driver));
        let addresses = bound.into_iter().filter(|name| name.contains(':'));
        findings.extend(addresses.map(|address| {
            Finding::ok("device", format!("{address}: {driver}, ready for the data plane"))
        }));
    }
    if findings.is_empty() {
        findings.push(Finding::warn(
            "device",
            "no network device with hardware behind it",
            "virtual ones work too: --vdev net_af_packet0,iface=NAME",
        ));
    }
    findings
}

fn device(root: &Path, name: &str) -> Option<Finding> {
    let place = root.join("sys/class/net").join(name);
    let driver = fs::read_link(place.join("device/driver")).ok()?;
    let driver = driver.file_name()?.to_string_lossy().into_owned();
    let state = fs::read_to_string(place.join("operstate")).unwrap_or_default();
    let state = state.trim();
    let speed = fs::read_to_string(place.join("speed")).ok();
    let speed = speed.and_then(|text| text.trim().parse::<i64>().ok()).filter(|&mbit| mbit > 0);
    let speed = speed.map_or_else(String::new, |mbit| format!(", {mbit} Mbit/s"));
    let message = format!("{name}: driver {driver}, {state}{speed}");
    Some(match driver.as_str() {
        // Bifurcated: the kernel keeps it, and DPDK uses it all the same.
        "mlx5_core" | "mlx4_core" | "mana" => Finding::ok("device", message + ", usable as it is"),
        _ => Finding::ok("device", message + ", held by the kernel"),
    })
}

fn permissions(root: &Path) -> Finding {
    let status = read(root, "proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let effective =
        field("CapEff:").and_then(|hex| u64::from_str_radix(&hex, 16).ok()).unwrap_or(0);
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|&(_, name)| name)
        .collect();
    let who = match field("Uid:").as_deref() {
        Some("0") => "root".to_owned(),
        Some(uid) => format!("user {uid}"),
        None => "an unknown user".to_owned(),
    };
    if missing.is_empty() {
        Finding::ok("permissions", format!("{who}, with all capabilities the data plane needs"))
    } else {
        Finding::warn(
            "permissions",
            format!("{who}, without {}", missing.join(", ")),
            "start the data plane as root or with these capabilities; captures need none",
        )
    }
}

fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok()
}

/// Names in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How many numbers a list such as `0-3,8` names.
fn list_len(list: &str) -> usize {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        Some(last.saturating_sub(first) + 1)
    };
    list.trim().split(',').filter_map(range).sum()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    /// A host of files, below a directory of its own.
    fn host(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("fermata-host-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn lists_of_cores_are_counted() {
        assert_eq!(["0-3,8\n", "0", "", "\n"].map(list_len), [5, 1, 0, 0]);
    }

    #[test]
    fn few_free_hugepages_are_worth_a_word() {
        let text =
            "HugePages_Total:     512\nHugePages_Free:       2\nHugepagesize:       2048 kB\n";
        let finding = hugepages(&host("huge", &[("proc/meminfo", text)]));
        assert_eq!(finding.level, Level::Warn);
        assert!(finding.message.starts_with("2 of 512 free"), "{}", finding.message);
    }

    #[test]
    fn missing_capabilities_are_named() {
        let text = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000002000\n";
        let finding = permissions(&host("cap", &[("proc/self/status", text)]));
        assert_eq!(finding.message, "user 1000, without CAP_NET_ADMIN, CAP_IPC_LOCK");
    }

    #[test]
    fn a_host_without_anything_gives_findings_not_errors() {
        assert!(findings(&host("empty", &[])).len() >= 5);
    }
}
