// Processes as /proc has them, for a listing like that of ps(1). See proc_pid_stat(5), proc_pid_status(5).
import { readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";

/** Where processes are looked up: /proc, or a copy in a test. */
export interface ProcSource {
  root: string;
  /** From the host's user and group databases. */
  userName(uid: number): string;
  groupName(gid: number): string;
  now(): Date;
  memoryBytes: number;
}

/** USER_HZ, the unit of times in /proc/<pid>/stat: 100 on every Linux architecture. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;
/** Threads of one process that are listed. */
const MAX_THREADS = 4096;

/** Real, effective, saved, of the file system. */
export type FourIDs = readonly [real: number, effective: number, saved: number, files: number];

type Stat = NonNullable<ReturnType<typeof parseStat>>;

export interface Process extends Stat {
  pid: number;
  /** The thread's number; the process's where threads are not listed. */
  lwp: number;
  uids: FourIDs;
  gids: FourIDs;
  /** With its arguments, or its name in brackets where it has none. */
  args: string;
  terminal: string;
  startedAtMs: number;
  /** Lines of /proc/<pid>/status by their names. */
  status: ReadonlyMap<string, string>;
  /** The text of another file in its directory; "" where there is none. */
  file: (name: string) => string;
  /** Where a link in its directory leads; "" where it cannot be said. */
  link: (name: string) => string;
}

export function readProcesses(source: ProcSource, pids: readonly number[], withThreads: boolean): Process[] {
  const bootMs = bootTimeMs(source);
  return pids.flatMap((pid) => {
    const lwps = withThreads ? threadsOf(source, pid) : [pid];
    return lwps.map((lwp) => readProcess(source, pid, lwp, withThreads, bootMs)).filter((process) => process !== null);
  });
}

function bootTimeMs(source: ProcSource): number {
  const boot = /^btime (\d+)$/m.exec(readFileSync(`${source.root}/stat`, "utf8"));
  return Number(boot?.[1] ?? 0) * 1000;
}

function threadsOf(source: ProcSource, pid: number): number[] {
  try {
    return readdirSync(`${source.root}/${pid}/task`)
      .map(Number)
      .sort((a, b) => a - b)
      .slice(0, MAX_THREADS);
  } catch (error) {
    if (hasEnded(error)) return [];
    throw error;
  }
}

/** null: it has ended. */
function readProcess(source: ProcSource, pid: number, lwp: number, isThread: boolean, bootMs: number): Process | null {
  const directory = isThread ? `${source.root}/${pid}/task/${lwp}` : `${source.root}/${pid}`;
  try {
    const stat = parseStat(readFileSync(`${directory}/stat`, "utf8"));
    if (stat === null) return null;
    const status = parseStatus(readFileSync(`${directory}/status`, "utf8"));
    const words = readFileSync(`${source.root}/${pid}/cmdline`, "utf8").replace(/\0+$/, "").replaceAll("\0", " ");
    const end = stat.state === "Z" ? " <defunct>" : "";
    return {
      ...stat,
      pid,
      lwp,
      uids: fourIDs(status.get("Uid")),
      gids: fourIDs(status.get("Gid")),
      command: stat.command + end,
      // A kernel thread or a zombie has no arguments; ps puts the name in brackets.
      args: words === "" ? `[${stat.command}]${end}` : words,
      terminal: terminalName(source, pid, stat.terminalNumber),
      startedAtMs: bootMs + (stat.startTicks * 1000) / TICKS_PER_SECOND,
      status,
      file: (name) => orNothing(() => readFileSync(`${directory}/${name}`, "utf8")),
      link: (name) => orNothing(() => linkOf(`${directory}/${name}`)),
    };
  } catch (error) {
    if (hasEnded(error)) return null;
    throw error;
  }
}

function hasEnded(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH");
}

/** What may be missing: a file that this kernel does not have, or of a process that has just ended. */
function orNothing(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}

/** Namespaces are told by their number, everything else by its name. */
function linkOf(path: string): string {
  return path.includes("/ns/") ? String(statSync(path).ino) : readlinkSync(path);
}

/** The command stands in parentheses and may contain any byte, so fields are counted from the last one. */
export function parseStat(text: string) {
  const [open, close] = [text.indexOf("("), text.lastIndexOf(")")];
  if (open < 0 || close < open) return null;
  const fields = text
    .slice(close + 2)
    .trim()
    .split(" ");
  if (fields.length < 22) return null;
  // The first of these is field 3 of the manual page.
  const number = (field: number): number => Number(fields[field - 3] ?? 0);
  return {
    command: text.slice(open + 1, close),
    state: fields[0] ?? "?",
    ppid: number(4),
    pgid: number(5),
    sid: number(6),
    terminalNumber: number(7),
    terminalGroup: number(8),
    flags: number(9),
    minorFaults: number(10),
    majorFaults: number(12),
    cpuSeconds: Math.floor((number(14) + number(15)) / TICKS_PER_SECOND),
    priority: number(18),
    nice: number(19),
    threads: number(20),
    startTicks: number(22),
    virtualBytes: number(23),
    residentBytes: number(24) * PAGE_BYTES,
    codeBytes: Math.max(0, number(27) - number(26)),
    cpu: number(39),
    realtimePriority: number(40),
    policy: number(41),
  };
}

function parseStatus(text: string): Map<string, string> {
  const lines = text.split("\n").filter((line) => line.includes(":"));
  return new Map(
    lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()] as const),
  );
}

function fourIDs(text = ""): FourIDs {
  const [real = 0, effective = 0, saved = 0, files = 0] = text.split(/\s+/).map(Number);
  return [real, effective, saved, files];
}

function terminalName(source: ProcSource, pid: number, number: number): string {
  if (number === 0) return "?";
  for (const fd of ["0", "1", "2"]) {
    try {
      const target = readlinkSync(`${source.root}/${pid}/fd/${fd}`);
      if (target.startsWith("/dev/") && target !== "/dev/null") return target.slice("/dev/".length);
    } catch {
      // Closed, or ended meanwhile.
    }
  }
  return `pts/${number & 0xff}`;
}
