// Namespaces: clone(2) flags and the OCI names. See namespaces(7), setns(2).
export const CLONE = {
  NEWTIME: 0x80,
  VM: 0x100,
  FILES: 0x400,
  VFORK: 0x4000,
  NEWNS: 0x20000,
  NEWCGROUP: 0x2000000,
  NEWUTS: 0x4000000,
  NEWIPC: 0x8000000,
  NEWUSER: 0x10000000,
  NEWPID: 0x20000000,
  NEWNET: 0x40000000,
  /** clone3 only. */
  INTO_CGROUP: 0x200000000,
} as const;

/** The OCI runtime-spec's names. `file` is the name below /proc/<pid>/ns. */
export const NAMESPACES = {
  user: { flag: CLONE.NEWUSER, file: "user" },
  pid: { flag: CLONE.NEWPID, file: "pid" },
  mount: { flag: CLONE.NEWNS, file: "mnt" },
  network: { flag: CLONE.NEWNET, file: "net" },
  ipc: { flag: CLONE.NEWIPC, file: "ipc" },
  uts: { flag: CLONE.NEWUTS, file: "uts" },
  cgroup: { flag: CLONE.NEWCGROUP, file: "cgroup" },
} as const;
