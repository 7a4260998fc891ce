// What the engine itself makes in a container's root, where the image has it not, to mount something there.

/**
 * COMPAT: in Docker it lies in a layer of its own, below the container's, so that neither a commit nor `docker diff` shows it.
 * The places of volumes and bind mounts do not.
 */
export const OWN_PATHS: readonly string[] = [
  "/.dockerenv",
  "/dev",
  "/dev/console",
  "/dev/mqueue",
  "/dev/pts",
  "/dev/shm",
  "/etc",
  "/etc/hostname",
  "/etc/hosts",
  "/etc/mtab",
  "/etc/resolv.conf",
  "/proc",
  "/sys",
  "/sys/fs",
  "/sys/fs/cgroup",
];
