//! How much of this machine's memory a process may still take.
//!
//! A container's limit is not what the machine has. On Linux it stands in the control group of the process or in one
//! above it: `memory.max` of version 2, `memory.limit_in_bytes` of version 1. What a group uses counts against its
//! limit, except files that are only cached, which the system gives up first.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use sysinfo::System;

/// Bytes that this process may still take: what the machine has free, or less where a limit is nearer;
/// [`u64::MAX`] where the system does not tell.
pub fn available() -> u64 {
    let machine = System::new().map_or(u64::MAX, |mut system| {
        system.refresh_memory();
        // Some systems say nothing of what is free.
        match system.available_memory() {
            0 => system.total_memory(),
            free => free,
        }
    });
    let root = Path::new("/");
    [under_groups(root), under_address_space(root)].into_iter().flatten().fold(machine, u64::min)
}

/// What the control groups of this process leave it, `root` being where the file system begins; `None` without a limit.
fn under_groups(root: &Path) -> Option<u64> {
    let groups = read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let group = |line: &str| {
        // `4:memory:/a/b`, or of version 2 `0::/a/b`.
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let version = match controllers {
            "" => &V2,
            _ if controllers.split(',').any(|name| name == "memory") => &V1,
            _ => return None,
        };
        let left = |mount: &Mount| left(root, version, mount, path);
        mounts.lines().filter_map(|line| Mount::of(line, version)).filter_map(|mount| left(&mount)).min()
    };
    groups.lines().filter_map(group).min()
}

/// The files of a version of control groups.
struct Version {
    /// The type of its file system, and what its options name.
    mounted: (&'static str, &'static str),
    limit: &'static str,
    usage: &'static str,
    /// The keys in `memory.stat` of files that are only cached.
    cached: [&'static str; 2],
}

const V1: Version = Version {
    mounted: ("cgroup", "memory"),
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cached: ["total_inactive_file", "total_active_file"],
};
const V2: Version = Version {
    mounted: ("cgroup2", ""),
    limit: "memory.max",
    usage: "memory.current",
    cached: ["inactive_file", "active_file"],
};

/// Where a hierarchy of groups can be seen.
struct Mount {
    /// The group that is at `point`.
    group: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// Of a line of `mountinfo`: `35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory`.
    fn of(line: &str, version: &Version) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (group, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let (name, options) = (kind.next()?, kind.nth(1).unwrap_or_default());
        let (wanted, option) = version.mounted;
        let is_it = name == wanted && (option.is_empty() || options.split(',').any(|have| have == option));
        is_it.then(|| Self { group: group.into(), point: point.into() })
    }
}

/// The least that the group at `path`, or one above it, leaves. A container may see its own group as the root.
fn left(root: &Path, version: &Version, mount: &Mount, path: &str) -> Option<u64> {
    let top = root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
    let below = Path::new(path).strip_prefix(&mount.group).unwrap_or(Path::new(""));
    let number = |path: PathBuf| read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let leaves = |group: &Path| {
        let limit = number(group.join(version.limit))?;
        let usage = number(group.join(version.usage)).unwrap_or(0);
        let statistics = read_to_string(group.join("memory.stat")).unwrap_or_default();
        let cached = statistics.lines().filter_map(|line| line.split_once(' '));
        let cached = cached.filter(|(key, _)| version.cached.contains(key));
        let cached: u64 = cached.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum();
        Some(limit.saturating_sub(usage.saturating_sub(cached)))
    };
    let group = top.join(below);
    group.ancestors().take_while(|group| group.starts_with(&top)).filter_map(leaves).min()
}

/// What `ulimit -v` leaves; `None` without a limit.
fn under_address_space(root: &Path) -> Option<u64> {
    let limits = read_to_string(root.join("proc/self/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    let status = read_to_string(root.join("proc/self/status")).ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    let taken: u64 = size.trim().trim_end_matches(" kB").parse().ok()?;
    Some(limit.saturating_sub(1024 * taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A file system with these files.
    fn root(files: &[(&str, String)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn group(place: &str, names: [&str; 2], limit: &str, usage: u64, cached: u64) -> Vec<(String, String)> {
        let key = if names[0] == "memory.max" { "inactive_file" } else { "total_inactive_file" };
        vec![
            (format!("{place}/{}", names[0]), format!("{limit}\n")),
            (format!("{place}/{}", names[1]), format!("{usage}\n")),
            (format!("{place}/memory.stat"), format!("anon 7\n{key} {cached}\nfile 9\n")),
        ]
    }

    fn limit(cgroup: &str, mount: &str, groups: &[Vec<(String, String)>]) -> Option<u64> {
        let mut files =
            vec![("proc/self/cgroup", cgroup.to_owned()), ("proc/self/mountinfo", mount.to_owned())];
        files.extend(groups.iter().flatten().map(|(path, text)| (path.as_str(), text.clone())));
        under_groups(root(&files).path())
    }

    const FILES_V1: [&str; 2] = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
    const FILES_V2: [&str; 2] = ["memory.max", "memory.current"];
    const MOUNT_V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
    const MOUNT_V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_nearest_of_nested_limits_counts() {
        let cgroup = "0::/pod/container\n";
        let inner = group("sys/fs/cgroup/pod/container", FILES_V2, "max", 100 * MIB, 0);
        let pod = |limit: u64, usage| {
            group("sys/fs/cgroup/pod", FILES_V2, &(limit * MIB).to_string(), usage * MIB, 20 * MIB)
        };
        // 500 of 2048 MiB are used, 20 of them only cached.
        assert_eq!(limit(cgroup, MOUNT_V2, &[inner.clone(), pod(2048, 500)]), Some(1568 * MIB));
        let own = group("sys/fs/cgroup/pod/container", FILES_V2, &(512 * MIB).to_string(), 100 * MIB, 0);
        assert_eq!(limit(cgroup, MOUNT_V2, &[own.clone(), pod(2048, 500)]), Some(412 * MIB));
        // The pod's others leave less than the container's own limit.
        assert_eq!(limit(cgroup, MOUNT_V2, &[own, pod(2048, 2000)]), Some(68 * MIB));
        assert_eq!(limit(cgroup, MOUNT_V2, &[inner]), None);
    }

    #[test]
    fn version_1_counts_as_well() {
        let cgroup = "9:name=systemd:/\n5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n";
        let a = group("sys/fs/cgroup/memory/a", FILES_V1, &(300 * MIB).to_string(), 250 * MIB, 200 * MIB);
        let unlimited = group("sys/fs/cgroup/memory/a/b", FILES_V1, "9223372036854771712", MIB, 0);
        assert_eq!(limit(cgroup, MOUNT_V1, &[a, unlimited]), Some(250 * MIB));
    }

    /// As Docker shows it: the group's name is the host's, and the mount begins at the group.
    #[test]
    fn a_container_sees_its_group_at_the_mount() {
        let top = group("sys/fs/cgroup/memory", FILES_V1, &(64 * MIB).to_string(), 4 * MIB, 0);
        let mount = MOUNT_V1.replace(" / /sys", " /docker/12ab /sys");
        for cgroup in ["4:memory:/docker/12ab\n", "4:memory:/../elsewhere\n"] {
            assert_eq!(limit(cgroup, &mount, std::slice::from_ref(&top)), Some(60 * MIB), "{cgroup}");
        }
        let top = group("sys/fs/cgroup", FILES_V2, &(64 * MIB).to_string(), 80 * MIB, 0);
        assert_eq!(limit("0::/\n", MOUNT_V2, &[top]), Some(0));
    }

    #[test]
    fn the_address_space_has_a_limit_of_its_own() {
        let files = |limit: &str| {
            let limits = format!(
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max address space         {limit}           unlimited            bytes\n"
            );
            vec![("proc/self/limits", limits), ("proc/self/status", "VmSize:\t    1024 kB\n".into())]
        };
        assert_eq!(under_address_space(root(&files("10485760")).path()), Some(9 * MIB));
        assert_eq!(under_address_space(root(&files("unlimited")).path()), None);
        assert_eq!(under_address_space(root(&[]).path()), None);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(available() > MIB);
    }
}
