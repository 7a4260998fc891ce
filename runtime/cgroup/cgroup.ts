// One cgroup of a container, on v1 (a directory in each hierarchy) or v2 (one directory): made with its limits before the
// container's first process exists, removed after its last. See cgroups(7); limits are planned in resources.ts.
//
// Everything but waiting is synchronous: it is a few dozen control files, 10 to 50 µs each, in the middle of a start.
import { readdirSync, rmdirSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import type { OciResources } from "../bundle.ts";
import { SyscallError } from "../errors.ts";
import type { Cgroup, CgroupStats, HostFacts } from "../mod.ts";
import { attachDeviceProgram, loadDeviceProgram } from "../sys/bpf.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openPath } from "../sys/file.ts";
import { deviceLines, deviceProgram, normalizeDeviceRules } from "./devices.ts";
import { errnoOf, readControl, writeControl } from "./files.ts";
import { countOomKills, watchOomKills } from "./oom.ts";
import { cgroupDirectories, controllerDirectory, makeDirectories } from "./place.ts";
import { restoringValues } from "./restore.ts";
import { type CgroupWrite, type MemoryInForce, planResources } from "./resources.ts";
import { parseLimit, readStatsV1, readStatsV2 } from "./stats.ts";

/** A process in uninterruptible sleep freezes late; Docker users see a pause that fails, not one that hangs. */
const FREEZE_TIMEOUT_MS = 10_000;
/** In kill, freezing only spares rounds; a fork bomb is caught by more rounds as well. */
const KILL_FREEZE_TIMEOUT_MS = 200;
const KILL_ROUNDS = 200;
/** Killed processes leave within milliseconds, unless the kernel waits for a disk. */
const REMOVE_TIMEOUT_MS = 10_000;
const POLL_MAX_MS = 20;

/** What launch needs beside the contract. Disposing lets go of the descriptor; the cgroup itself stays. */
export interface CgroupHandle extends Cgroup, Disposable {
  /** v1: a process joins by writing "0" to each of these. v2: empty, see `directory`. */
  readonly procsFiles: readonly string[];
  /** v2: for CLONE_INTO_CGROUP. Opened on first use, closed by dispose and remove. */
  readonly directory: Fd | null;
  /** Limits that this kernel cannot keep, in the words Docker's clients show. */
  readonly warnings: readonly string[];
}

/**
 * Makes the cgroup `path` (and its parents) with its limits and device rules. On a throw nothing is left behind. The parent
 * directories stay, shared by all containers.
 */
export async function createCgroup(facts: HostFacts, path: string, resources: OciResources): Promise<CgroupHandle> {
  makeDirectories(facts, path);
  const cgroup = new LinuxCgroup(facts, path);
  try {
    cgroup.apply({ ...resources, devices: normalizeDeviceRules(resources.devices) });
    return cgroup;
  } catch (error) {
    await cgroup.remove();
    throw error;
  }
}

/** The handle of a cgroup that exists, or existed: after a restart of the daemon. */
export function openCgroup(facts: HostFacts, path: string): CgroupHandle {
  return new LinuxCgroup(facts, path);
}

class LinuxCgroup implements CgroupHandle {
  readonly #facts: HostFacts;
  readonly #directories: readonly string[];
  readonly #warnings: string[] = [];
  #directory: Fd | null = null;

  constructor(
    facts: HostFacts,
    readonly path: string,
  ) {
    this.#facts = facts;
    this.#directories = cgroupDirectories(facts, path);
  }

  get procsFiles(): readonly string[] {
    return this.#version === 1 ? this.#directories.map((directory) => `${directory}/cgroup.procs`) : [];
  }

  get directory(): Fd | null {
    if (this.#version === 1) return null;
    this.#directory ??= openPath(this.#first, O.RDONLY | O.DIRECTORY);
    return this.#directory;
  }

  get warnings(): readonly string[] {
    return this.#warnings;
  }

  [Symbol.dispose](): void {
    this.#directory?.close();
    this.#directory = null;
  }

  update(resources: OciResources): () => void {
    const plan = planResources(resources, this.#version, resources.memory ? this.#memoryInForce() : undefined);
    const held: (() => void)[] = [];
    const undo = (): void => {
      for (const restore of held.splice(0).reverse()) restore();
    };
    try {
      for (const write of plan.writes) {
        held.push(...this.#restoring(write));
        this.#write(write);
      }
      if (resources.devices.length > 0) this.#applyDevices(resources);
    } catch (error) {
      try {
        undo();
      } catch (cause) {
        throw new AggregateError([error, cause], `${textOf(error)}; and the limits of before cannot be set again`);
      }
      throw error;
    }
    this.#warnings.push(...plan.warnings);
    return undo;
  }

  /** Writes back what a file holds now; nothing for one that is not there. */
  #restoring({ controller, file, values, otherwise }: CgroupWrite): (() => void)[] {
    const directory = this.#controller(controller);
    return [{ file, values }, ...(otherwise ? [otherwise] : [])].flatMap((each) => {
      const path = `${directory}/${each.file}`;
      const before = readControl(path);
      return before === null ? [] : [() => void writeControl(path, restoringValues(before, each.values))];
    });
  }

  #memoryInForce(): MemoryInForce {
    const limit = (file: string): number | null =>
      parseLimit(readControl(`${this.#controller("memory")}/${file}`) ?? "");
    return this.#version === 1
      ? { limit: limit("memory.limit_in_bytes"), total: limit("memory.memsw.limit_in_bytes") }
      : { limit: limit("memory.max"), total: null };
  }

  /** For a new cgroup: limits, then device rules. */
  apply(resources: OciResources): void {
    const plan = planResources(resources, this.#version);
    this.#warnings.push(...plan.warnings);
    for (const write of plan.writes) this.#write(write);
    if (resources.devices.length > 0) this.#applyDevices(resources);
  }

  #write(write: CgroupWrite): void {
    const directory = this.#controller(write.controller);
    const { otherwise } = write;
    if (this.#writeWeighted(`${directory}/${write.file}`, write)) return;
    if (otherwise && writeControl(`${directory}/${otherwise.file}`, otherwise.values)) return;
    if (write.ifMissing === undefined) {
      throw new SyscallError("open", E.ENOENT, { file: `${directory}/${write.file}`, value: write.values.join(", ") });
    }
    this.#warnings.push(write.ifMissing);
  }

  /** With another file to try, a disk whose scheduler is not this file's is no reason to give up. */
  #writeWeighted(path: string, { values, otherwise }: CgroupWrite): boolean {
    try {
      return writeControl(path, values);
    } catch (error) {
      if (otherwise && errnoOf(error) === E.EOPNOTSUPP && readControl(path) !== null) {
        const other = path.slice(0, path.lastIndexOf("/") + 1) + otherwise.file;
        if (readControl(other) !== null) return false;
      }
      throw error;
    }
  }

  #applyDevices({ devices }: OciResources): void {
    if (this.#version === 1) {
      const directory = this.#controller("devices");
      for (const { file, values } of deviceLines(devices)) {
        if (!writeControl(`${directory}/${file}`, values))
          throw new SyscallError("open", E.ENOENT, { file: `${directory}/${file}` });
      }
      return;
    }
    const { directory } = this;
    if (directory === null) return;
    using program = loadDeviceProgram(deviceProgram(devices));
    attachDeviceProgram(directory, program);
  }

  async freeze(): Promise<void> {
    if (await this.#freezeWithin(FREEZE_TIMEOUT_MS)) return;
    await this.thaw();
    throw new SyscallError("freeze", E.EBUSY, { cgroup: this.path, timeoutMs: FREEZE_TIMEOUT_MS });
  }

  async #freezeWithin(timeoutMs: number): Promise<boolean> {
    if (this.#version === 2) {
      writeControl(`${this.#first}/cgroup.freeze`, ["1"]);
      return await until(timeoutMs, () => /^frozen 1$/m.test(readControl(`${this.#first}/cgroup.events`) ?? ""));
    }
    const file = `${this.#controller("freezer")}/freezer.state`;
    let polls = 0;
    return await until(timeoutMs, () => {
      // WHY: v1 misses a process that was forking as it froze its parent; asking again freezes it too, and now and then a
      // thaw lets one finish that another, frozen one waits for (vfork, ptrace).
      if (polls++ % 16 === 15) writeControl(file, ["THAWED"]);
      writeControl(file, ["FROZEN"]);
      return (readControl(file) ?? "").trim() === "FROZEN";
    });
  }

  async thaw(): Promise<void> {
    if (this.#version === 2) {
      writeControl(`${this.#first}/cgroup.freeze`, ["0"]);
      await until(FREEZE_TIMEOUT_MS, () => !/^frozen 1$/m.test(readControl(`${this.#first}/cgroup.events`) ?? ""));
      return;
    }
    const file = `${this.#controller("freezer")}/freezer.state`;
    writeControl(file, ["THAWED"]);
    await until(FREEZE_TIMEOUT_MS, () => (readControl(file) ?? "THAWED").trim() === "THAWED");
  }

  isFrozen(): boolean {
    if (this.#version === 2) return readControl(`${this.#first}/cgroup.freeze`)?.trim() === "1";
    return (readControl(`${this.#controller("freezer")}/freezer.state`) ?? "THAWED").trim() !== "THAWED";
  }

  async kill(): Promise<void> {
    if (this.#version === 2 && writeControl(`${this.#first}/cgroup.kill`, ["1"])) return;
    // A frozen cgroup cannot fork away from us; the signals are delivered as it thaws.
    const isFrozen = this.pids().length > 1 && (await this.#freezeWithin(KILL_FREEZE_TIMEOUT_MS));
    this.#signalAll();
    await this.thaw();
    if (isFrozen) return;
    for (let round = 0; round < KILL_ROUNDS && this.#signalAll() > 0; round++)
      await sleep(Math.min(round, POLL_MAX_MS));
  }

  #signalAll(): number {
    const pids = this.pids();
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if (errnoOf(error) !== E.ESRCH) throw error;
      }
    }
    return pids.length;
  }

  pids(): number[] {
    return [
      ...new Set(
        cgroupTree(this.#first).flatMap((directory) => {
          const text = readControl(`${directory}/cgroup.procs`) ?? "";
          // 0 stands for a process outside our pid namespace.
          return text
            .split("\n")
            .map(Number)
            .filter((pid) => pid > 0);
        }),
      ),
    ];
  }

  stats(): CgroupStats {
    if (this.#version === 2) return readStatsV2(this.#first);
    return readStatsV1((controller) => controllerDirectory(this.#facts, this.path, controller));
  }

  oomKills(): number {
    const directory = controllerDirectory(this.#facts, this.path, "memory");
    return directory === null ? 0 : countOomKills(directory, this.#version);
  }

  watchOom(onKill: () => void): () => void {
    const directory = controllerDirectory(this.#facts, this.path, "memory");
    return directory === null ? () => {} : watchOomKills(directory, this.#version, onKill);
  }

  async remove(): Promise<void> {
    this[Symbol.dispose]();
    let left = this.#directories;
    let last = 0;
    const isGone = await until(REMOVE_TIMEOUT_MS, () => {
      left = left.filter((directory) => (last = removeTree(directory)) !== 0);
      return left.length === 0;
    });
    if (!isGone)
      throw new SyscallError("rmdir", last || E.EBUSY, { path: left.join(", "), timeoutMs: REMOVE_TIMEOUT_MS });
  }

  get #version(): 1 | 2 {
    return this.#facts.cgroupVersion;
  }

  /** The directory that lists processes: any one on v1, since a process joins all of them. */
  get #first(): string {
    const [first] = this.#directories;
    if (first === undefined)
      throw new SyscallError("open", E.ENOENT, { cgroup: this.path, why: "no cgroup hierarchy" });
    return first;
  }

  #controller(name: string): string {
    const directory = controllerDirectory(this.#facts, this.path, name);
    if (directory === null)
      throw new SyscallError("open", E.ENOENT, { cgroup: this.path, why: `no ${name} controller` });
    return directory;
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The directory and all below it, the deepest last. Containers with a writable cgroup mount make children. */
function cgroupTree(directory: string): string[] {
  try {
    const children = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [directory, ...children.flatMap((child) => cgroupTree(`${directory}/${child.name}`))];
  } catch (error) {
    if (errnoOf(error) === E.ENOENT) return [];
    throw error;
  }
}

/** rmdir(2), children first. Returns 0, or the errno of what stands in the way. */
function removeTree(directory: string): number {
  try {
    rmdirSync(directory);
    return 0;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === E.ENOENT) return 0;
    if (errno !== E.EBUSY && errno !== E.ENOTEMPTY) throw new SyscallError("rmdir", errno, { path: directory });
    const children = cgroupTree(directory).slice(1).reverse();
    for (const child of children) {
      try {
        rmdirSync(child);
      } catch (childError) {
        return errnoOf(childError);
      }
    }
    return errno;
  }
}

/** Polls, at first without a pause and then ever slower, until `isDone` or the time is over. */
async function until(timeoutMs: number, isDone: () => boolean): Promise<boolean> {
  for (let waitedMs = 0, pauseMs = 1; ;) {
    if (isDone()) return true;
    if (waitedMs >= timeoutMs) return false;
    await sleep(pauseMs);
    waitedMs += pauseMs;
    pauseMs = Math.min(pauseMs * 2, POLL_MAX_MS);
  }
}
