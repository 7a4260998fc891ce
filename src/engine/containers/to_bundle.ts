// A container's record to the OCI bundle that launch reads. Pure: everything about the host comes in as input, gathered
// by start.ts, so that a unit test can read what a HostConfig becomes.
import type { Bundle, IDMaps, OciDevice, OciMount, OciNamespace, OciSeccomp, Rootfs } from "../../../runtime/mod.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import { effectiveCapabilities } from "./capabilities.ts";
import type { ContainerRecord } from "./container.ts";
import { DEFAULT_PATH, envKey } from "./defaults.ts";
import { DEV, DEV_MQUEUE, DEV_PTS, PROC } from "./default_mounts.ts";
import { DEFAULT_DEVICES } from "./device_rules.ts";
import type { HostDevices } from "./devices.ts";
import { toResources } from "./resources.ts";
import { parseSecurity } from "./security.ts";
import { toSysctls } from "./sysctls.ts";
import { toRlimits } from "./ulimits.ts";

/** COMPAT: where Docker mounts the init of `--init`. */
const INIT_TARGET = "/sbin/docker-init";

/** Process 1 of the container that another one joins by `container:x`. */
export interface Donor {
  pid: number;
}

export interface BundleInput {
  record: ContainerRecord;
  rootfs: Rootfs;
  /** From the networks; an empty path means: leave the image's own file. */
  files: { hostname: string; hosts: string; resolvConf: string };
  mounts: OciMount[];
  devices: HostDevices;
  hostname: string;
  /** Of legacy links; the container's own variables win. */
  linkEnv: string[];
  pidDonor: Donor | null;
  ipcDonor: Donor | null;
  /** Our init on the host; null: the workload is process 1 itself. */
  initPath: string | null;
  /** null: no filter. */
  seccomp: ((capabilities: readonly string[]) => OciSeccomp) | null;
  apparmorProfile: string;
  /** It runs in a user namespace with these maps; null: in the host's. */
  idMaps: IDMaps | null;
  engine: {
    cgroupParent: string;
    defaultUlimits: Readonly<Record<string, { soft: number; hard: number }>>;
    noNewPrivileges: boolean;
    capabilities: ReadonlySet<string>;
  };
}

export function toBundle(input: BundleInput): Bundle {
  const { record } = input;
  const { config, hostConfig } = record;
  const security = parseSecurity(hostConfig.SecurityOpt, { noNewPrivileges: input.engine.noNewPrivileges });
  const capabilities = effectiveCapabilities(
    { add: hostConfig.CapAdd, drop: hostConfig.CapDrop, isPrivileged: hostConfig.Privileged },
    input.engine.capabilities,
  );
  const [height = 0, width = 0] = hostConfig.ConsoleSize;
  const argv = [record.path, ...record.args];
  return {
    id: record.id,
    rootfs: input.rootfs,
    spec: {
      ociVersion: "1.2.0",
      process: {
        terminal: config.Tty,
        ...(config.Tty && height > 0 && width > 0 ? { consoleSize: { height, width } } : {}),
        // Launch resolves the user inside the root file system.
        user: { uid: 0, gid: 0, umask: 0o022, additionalGids: [] },
        args: input.initPath === null ? argv : [INIT_TARGET, "--", ...argv],
        env: toEnv(config.Env, input.hostname, config.Tty, input.linkEnv),
        cwd: config.WorkingDir || "/",
        capabilities: {
          bounding: capabilities,
          effective: capabilities,
          permitted: capabilities,
          inheritable: [],
          ambient: [],
        },
        rlimits: toRlimits(hostConfig.Ulimits, input.engine.defaultUlimits),
        noNewPrivileges: security.noNewPrivileges,
        ...(input.apparmorProfile === "" ? {} : { apparmorProfile: input.apparmorProfile }),
        oomScoreAdj: hostConfig.OomScoreAdj,
      },
      root: { path: input.rootfs.target, readonly: hostConfig.ReadonlyRootfs },
      hostname: hostConfig.UTSMode === "host" ? "" : input.hostname,
      ...(config.Domainname === "" ? {} : { domainname: config.Domainname }),
      mounts: toMounts(input, security.hasWritableCgroups),
      linux: {
        namespaces: toNamespaces(input),
        uidMappings: [...(input.idMaps?.uidMappings ?? [])],
        gidMappings: [...(input.idMaps?.gidMappings ?? [])],
        devices: mergeDevices(DEFAULT_DEVICES, input.devices.devices),
        resources: toResources(hostConfig, input.devices),
        cgroupsPath: cgroupsPath(hostConfig.CgroupParent || input.engine.cgroupParent, record.id),
        ...(input.seccomp === null ? {} : { seccomp: input.seccomp(capabilities) }),
        maskedPaths: hostConfig.Privileged ? [] : (hostConfig.MaskedPaths ?? []),
        readonlyPaths: hostConfig.Privileged ? [] : (hostConfig.ReadonlyPaths ?? []),
        sysctl: toSysctls(hostConfig, {
          hasOwnNetwork: hasOwnNetwork(hostConfig),
          isMapped: input.idMaps !== null,
        }),
      },
      annotations: hostConfig.Annotations,
    },
  };
}

/** A network namespace that is neither the host's nor another container's. */
function hasOwnNetwork({ NetworkMode }: HostConfig): boolean {
  return NetworkMode !== "host" && !NetworkMode.startsWith("container:");
}

export function cgroupsPath(parent: string, id: string): string {
  return `/${parent}/${id}`.replace(/\/{2,}/g, "/");
}

/** PATH, HOSTNAME and TERM first; the container's own replace them in place, or add to them. `KEY` alone removes it. */
export function toEnv(
  own: readonly string[],
  hostname: string,
  hasTerminal: boolean,
  links: readonly string[] = [],
): string[] {
  const env = [DEFAULT_PATH, `HOSTNAME=${hostname}`, ...(hasTerminal ? ["TERM=xterm"] : []), ...links];
  const places = new Map(env.map((entry, index) => [envKey(entry), index]));
  const removed = new Set<number>();
  for (const entry of own) {
    const key = envKey(entry);
    const place = places.get(key);
    if (!entry.includes("=")) {
      if (place !== undefined) removed.add(place);
    } else if (place === undefined) {
      places.set(key, env.push(entry) - 1);
    } else {
      env[place] = entry;
      removed.delete(place);
    }
  }
  return env.filter((_entry, index) => !removed.has(index));
}

function toNamespaces({ record, pidDonor, ipcDonor, idMaps }: BundleInput): OciNamespace[] {
  const { hostConfig } = record;
  const namespaces: OciNamespace[] = [{ type: "mount" }];
  // Which network namespace is entered, launch is told apart from the bundle: it is an open descriptor.
  if (hostConfig.NetworkMode !== "host") namespaces.push({ type: "network" });
  // Which one, launch is told in the same way.
  if (idMaps !== null) namespaces.push({ type: "user" });
  if (hostConfig.UTSMode !== "host") namespaces.push({ type: "uts" });
  if (pidDonor) namespaces.push({ type: "pid", path: `/proc/${pidDonor.pid}/ns/pid` });
  else if (hostConfig.PidMode !== "host") namespaces.push({ type: "pid" });
  if (ipcDonor) namespaces.push({ type: "ipc", path: `/proc/${ipcDonor.pid}/ns/ipc` });
  else if (hostConfig.IpcMode !== "host") namespaces.push({ type: "ipc" });
  if (hostConfig.CgroupnsMode === "private") namespaces.push({ type: "cgroup" });
  return namespaces;
}

/** The engine's own mounts first, parents before what lies below them; a mount of the user's takes the place of ours. */
function toMounts(input: BundleInput, hasWritableCgroups: boolean): OciMount[] {
  const { record, files, initPath } = input;
  const own = [
    ...defaultMounts(record.hostConfig, hasWritableCgroups, input.ipcDonor),
    ...fileMount("/etc/resolv.conf", files.resolvConf, input),
    ...fileMount("/etc/hostname", files.hostname, input),
    ...fileMount("/etc/hosts", files.hosts, input),
    ...(initPath === null
      ? []
      : [{ destination: INIT_TARGET, type: "bind", source: initPath, options: ["bind", "ro"] }]),
  ];
  const taken = new Set(input.mounts.map((mount) => mount.destination));
  const isHidden = (destination: string): boolean =>
    taken.has(destination) ||
    (taken.has("/dev") && destination.startsWith("/dev/")) ||
    (taken.has("/proc") && destination === "/proc");
  return [...own.filter((mount) => !isHidden(mount.destination)), ...input.mounts];
}

function defaultMounts(hostConfig: HostConfig, hasWritableCgroups: boolean, ipcDonor: Donor | null): OciMount[] {
  const { Privileged, ShmSize, IpcMode } = hostConfig;
  const mode = Privileged ? "rw" : "ro";
  const mounts: OciMount[] = [
    PROC,
    DEV,
    DEV_PTS,
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", mode] },
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: ["nosuid", "noexec", "nodev", "relatime", hasWritableCgroups ? "rw" : mode],
    },
  ];
  if (IpcMode === "host") {
    mounts.push(
      // A new mount of it shows the queues of the namespace that it is made in: the host's, also where they are mounted nowhere.
      DEV_MQUEUE,
      { destination: "/dev/shm", type: "bind", source: "/dev/shm", options: ["rbind", "rprivate"] },
    );
    return mounts;
  }
  mounts.push(DEV_MQUEUE);
  if (ipcDonor) {
    const source = `/proc/${ipcDonor.pid}/root/dev/shm`;
    mounts.push({ destination: "/dev/shm", type: "bind", source, options: ["rbind", "rprivate"] });
  } else if (IpcMode !== "none") {
    const options = ["nosuid", "noexec", "nodev", "mode=1777", `size=${ShmSize}`];
    mounts.push({ destination: "/dev/shm", type: "tmpfs", source: "shm", options });
  }
  return mounts;
}

/** One of the three files that the engine writes. With a read-only root they are read-only as well. */
function fileMount(destination: string, source: string, { record, idMaps }: BundleInput): OciMount[] {
  if (source === "") return [];
  const options = [
    "rbind",
    "rprivate",
    ...(record.hostConfig.ReadonlyRootfs ? ["ro"] : []),
    ...(idMaps ? ["idmap"] : []),
  ];
  return [{ destination, type: "bind", source, options }];
}

/** A device asked for by path takes the place of a standard one. */
function mergeDevices(standard: readonly OciDevice[], added: readonly OciDevice[]): OciDevice[] {
  return [...new Map([...standard, ...added].map((device) => [device.path, device])).values()];
}
