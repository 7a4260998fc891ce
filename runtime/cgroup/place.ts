// Where cgroups live: the directories of one path in each hierarchy, made level by level, each level with what its children
// need. v1: cpuset files filled from the parent; v2: controllers enabled in cgroup.subtree_control from the top down.
import { mkdirSync, readFileSync, rmdirSync } from "node:fs";
import { dirname } from "node:path";
import { SyscallError } from "../errors.ts";
import type { HostFacts } from "../mod.ts";
import { E } from "../sys/errno.ts";
import { alloc, syscall } from "../sys/ffi.ts";
import { errnoOf, readControl, writeControl } from "./files.ts";

/** The v1 controllers that limit or count for us. Others (perf_event, net_cls …) would only cost an attach each. */
export const USED_V1 = ["memory", "cpu", "cpuacct", "cpuset", "devices", "freezer", "blkio", "pids"] as const;
/** The v2 controllers that limit or count for us. */
export const USED_V2 = ["cpuset", "cpu", "io", "memory", "pids"] as const;

/** Our own processes go here where the no-internal-processes rule wants a cgroup of ours emptied. */
const DAEMON_LEAF = "berth-daemon";
/** Processes may fork while a cgroup is being emptied; each round takes what the last one left. */
const EMPTYING_ROUNDS = 10;

/** The directories of a cgroup: v1 one for each distinct hierarchy, v2 one. */
export function cgroupDirectories(facts: HostFacts, path: string): string[] {
  if (facts.cgroupVersion === 2) return [join(unifiedMount(facts), path)];
  const mounts = USED_V1.flatMap((controller) => facts.controllers.get(controller) ?? []);
  return [...new Set(mounts)].map((mount) => join(mount, path));
}

/** The directory in which a controller's files of this cgroup lie; null where it is not mounted. */
export function controllerDirectory(facts: HostFacts, path: string, controller: string): string | null {
  const mount = facts.controllers.get(controller);
  return mount === undefined ? null : join(mount, path);
}

export function unifiedMount(facts: HostFacts): string {
  const mount = facts.controllers.values().next().value;
  if (mount === undefined)
    throw new SyscallError("open", E.ENOENT, { file: "cgroup.controllers", why: "no controller" });
  return mount;
}

/**
 * Makes the directories of a cgroup and of its parents. An empty one left by a killed daemon is made afresh. On a throw
 * those of the cgroup itself are gone again.
 */
export function makeDirectories(facts: HostFacts, path: string): void {
  const made: string[] = [];
  try {
    for (const directory of cgroupDirectories(facts, path)) {
      const mount = directory.slice(0, directory.length - normal(path).length);
      makeLeaf(directory);
      made.push(directory);
      if (directory === controllerDirectory(facts, path, "cpuset") && facts.cgroupVersion === 1)
        fillCpuset(mount, directory);
      if (facts.cgroupVersion === 2) enableControllers(mount, directory, [...facts.controllers.keys()]);
    }
  } catch (error) {
    // Nothing has joined them yet.
    for (const directory of made) removeStale(directory);
    throw error;
  }
}

function makeLeaf(directory: string): void {
  try {
    mkdirSync(directory);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === E.ENOENT) {
      mkdir(dirname(directory), true);
      mkdir(directory, false);
    } else if (errno === E.EEXIST) {
      removeStale(directory);
      mkdir(directory, false);
    } else throw new SyscallError("mkdir", errno, { path: directory });
  }
}

function mkdir(path: string, recursive: boolean): void {
  try {
    mkdirSync(path, { recursive });
  } catch (error) {
    throw new SyscallError("mkdir", errnoOf(error), { path });
  }
}

/** WHY: adopting a left-over cgroup would keep its limits and counters. One with processes in it is not ours to remove. */
function removeStale(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    throw new SyscallError("rmdir", errnoOf(error), { path: directory, why: "a cgroup of this name is in use" });
  }
}

/**
 * A v1 cpuset is born empty and takes no process until it has CPUs and memory nodes, which its parent must have too. A
 * parent that we have filled ourselves is told to give its children what it has (cgroup.clone_children of cgroups(7)).
 */
function fillCpuset(mount: string, directory: string): void {
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    if ((readControl(`${directory}/${file}`) ?? "").trim() !== "") continue;
    const parent = dirname(directory);
    if (parent.length < mount.length) return;
    if (parent !== mount && (readControl(`${parent}/${file}`) ?? "").trim() === "") {
      fillCpuset(mount, parent);
      writeControl(`${parent}/cgroup.clone_children`, ["1"]);
    }
    writeControl(`${directory}/${file}`, [(readControl(`${parent}/${file}`) ?? "").trim()]);
  }
}

/** Enables the wanted controllers for `directory` in every cgroup above it, the topmost first. */
function enableControllers(mount: string, directory: string, wanted: readonly string[]): void {
  const present = words(readControl(`${directory}/cgroup.controllers`));
  if (wanted.every((controller) => present.includes(controller))) return;
  const above: string[] = [];
  for (let level = dirname(directory); level.length >= mount.length && level !== "/"; level = dirname(level))
    above.unshift(level);
  const own = ownUnifiedPath(readFileSync("/proc/self/cgroup", "utf8"));
  for (const level of above) {
    const available = words(readControl(`${level}/cgroup.controllers`));
    const enabled = words(readControl(`${level}/cgroup.subtree_control`));
    const lacking = wanted.filter((controller) => available.includes(controller) && !enabled.includes(controller));
    if (lacking.length > 0) enable(level, lacking, own !== null && level === join(mount, own));
  }
}

/**
 * WHY all at once: a cgroup with processes takes threaded controllers (cpu, cpuset, pids) alone, and then, having become the
 * root of a threaded subtree, never memory and io. Only where the kernel refuses one are they tried one by one; what is
 * missing after that shows when a limit of it is asked for.
 */
function enable(level: string, controllers: readonly string[], isOurOwn: boolean): void {
  const file = `${level}/cgroup.subtree_control`;
  const value = controllers.map((controller) => `+${controller}`).join(" ");
  try {
    writeControl(file, [value]);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === E.EBUSY && isOurOwn) {
      emptyInto(level, `${level}/${DAEMON_LEAF}`);
      writeControl(file, [value]);
    } else if (errno === E.EBUSY) {
      throw new SyscallError("write", errno, { file, value, why: "processes live in this cgroup itself" });
    } else if (!REFUSES_ONE.includes(errno)) throw error;
    else if (controllers.length > 1)
      controllers.toSorted(domainFirst).forEach((controller) => enable(level, [controller], isOurOwn));
  }
}

/** A controller is not there, or has processes it cannot take (cpu and real-time ones). */
const REFUSES_ONE: readonly number[] = [E.EINVAL, E.ENOENT, E.EOPNOTSUPP];
const THREADED: readonly string[] = ["cpu", "cpuset", "pids"];
const domainFirst = (a: string, b: string): number => Number(THREADED.includes(a)) - Number(THREADED.includes(b));

/** A cgroup below the root may have processes or controllers for its children, not both: ours step into a leaf. */
function emptyInto(level: string, leaf: string): void {
  mkdirSync(leaf, { recursive: true });
  for (let round = 0; round < EMPTYING_ROUNDS; round++) {
    const pids = words(readControl(`${level}/cgroup.procs`)).filter((pid) => pid !== "0");
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        writeControl(`${leaf}/cgroup.procs`, [pid]);
      } catch (error) {
        if (errnoOf(error) !== E.ESRCH) throw error;
      }
    }
  }
}

/** The `0::/path` line of /proc/self/cgroup. */
export function ownUnifiedPath(text: string): string | null {
  return /^0::(\/.*)$/m.exec(text)?.[1] ?? null;
}

/**
 * The parent of all containers' cgroups: `/berth` as configured, or, where systemd has delegated a subtree to our unit (v2,
 * `Delegate=yes`), below that: systemd may do as it likes with everything else.
 */
export function cgroupParent(facts: HostFacts, configured: string, isExplicit: boolean): string {
  if (isExplicit || facts.cgroupVersion === 1) return normal(configured);
  const own = ownUnifiedPath(readFileSync("/proc/self/cgroup", "utf8"));
  if (own === null || own === "/") return normal(configured);
  const unit = own.endsWith(`/${DAEMON_LEAF}`) ? dirname(own) : own;
  return isDelegated(join(unifiedMount(facts), unit)) ? join(unit, configured) : normal(configured);
}

/** systemd marks what it has delegated with an extended attribute. */
function isDelegated(directory: string): boolean {
  const value = alloc(8);
  return ["trusted.delegate", "user.delegate"].some(
    (name) =>
      // SAFETY: `value` is 8 bytes, the size passed, and is read after the call.
      syscall("lgetxattr", directory, name, value, 8) === 1 && value[0] === 0x31,
  );
}

const words = (text: string | null): string[] => (text ?? "").split(/\s+/).filter((word) => word !== "");
/** With one leading slash and none at the end; `/` is "". */
const normal = (path: string): string => `/${path}`.replace(/\/+/g, "/").replace(/\/$/, "");
const join = (mount: string, path: string): string => `${mount}${normal(path)}`;
