// `docker top`: the processes of a container as ps(1) would list them, read from /proc, so that no ps is needed. PIDs are
// the host's, as Docker shows them.
import { readFileSync, readlinkSync } from "node:fs";
import { internal, invalid } from "../../errors.ts";
import type { TopTable } from "../mod.ts";

/** Where processes are looked up: /proc, or a copy in a test. */
export interface ProcSource {
  root: string;
  /** From the host's user database. */
  userName(uid: number): string;
  now(): Date;
  memoryBytes: number;
}

/** USER_HZ, the unit of times in /proc/<pid>/stat: 100 on every Linux architecture. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

interface Process {
  pid: number;
  ppid: number;
  uid: number;
  state: string;
  command: string;
  args: string;
  terminal: string;
  pgid: number;
  sid: number;
  nice: number;
  threads: number;
  cpuSeconds: number;
  startedAtMs: number;
  virtualBytes: number;
  residentBytes: number;
}

/** Columns for a default listing, or those asked for with -o. Throws for options that it does not know. */
export function parsePsArgs(text: string): Column[] {
  const words = text
    .trim()
    .split(/\s+/)
    .filter((word) => word !== "");
  const columns: Column[] = [];
  let style: readonly string[] = FULL;
  for (let index = 0; index < words.length; index++) {
    const word = words[index] ?? "";
    const asked = /^(?:-?o|--format=?|-eo|-efo|axo)(.*)$/.exec(word);
    if (asked) {
      const list = asked[1] || words[++index] || "";
      columns.push(...parseColumns(list));
    } else if (/^-[eAfFH]+$/.test(word)) style = FULL;
    else if (/^a?u?x?w*$|^-?aux$/.test(word) && word !== "") style = word.includes("u") ? USER : SHORT;
    else if (!/^-?w+$/.test(word))
      throw invalid(`ps: unsupported option ${JSON.stringify(word)}; known are -ef, aux and -o with a list of columns`);
  }
  const chosen = columns.length > 0 ? columns : style.map(columnNamed);
  if (!chosen.some((column) => column.title === "PID")) throw internal("Couldn't find PID field in ps output");
  return chosen;
}

function parseColumns(list: string): Column[] {
  return list
    .split(",")
    .filter((name) => name !== "")
    .map((item) => {
      const [name = "", title] = item.split("=");
      const column = columnNamed(name.trim().toLowerCase());
      return title === undefined || title === "" ? column : { ...column, title };
    });
}

export function topTable(pids: readonly number[], psArgs: string, source: ProcSource): TopTable {
  const columns = parsePsArgs(psArgs === "" ? "-ef" : psArgs);
  const bootMs = bootTimeMs(source);
  const processes = pids.map((pid) => readProcess(source, pid, bootMs)).filter((process) => process !== null);
  processes.sort((a, b) => a.startedAtMs - b.startedAtMs || a.pid - b.pid);
  return {
    Titles: columns.map((column) => column.title),
    Processes: processes.map((process) => columns.map((column) => column.value(process, source))),
  };
}

// ---- columns

interface Column {
  title: string;
  value(process: Process, source: ProcSource): string;
}

const FULL = ["user:UID", "pid", "ppid", "c", "stime", "tname", "time", "cmd"];
const USER = ["user", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "start", "time", "args"];
const SHORT = ["pid", "tname", "stat", "time", "args"];

const seconds = (process: Process, source: ProcSource): number =>
  Math.max(1, (source.now().getTime() - process.startedAtMs) / 1000);
const cpuShare = (process: Process, source: ProcSource): number =>
  (process.cpuSeconds * 100) / seconds(process, source);

const COLUMNS: Readonly<Record<string, Column>> = {
  pid: { title: "PID", value: (process) => String(process.pid) },
  ppid: { title: "PPID", value: (process) => String(process.ppid) },
  pgid: { title: "PGID", value: (process) => String(process.pgid) },
  pgrp: { title: "PGRP", value: (process) => String(process.pgid) },
  sid: { title: "SID", value: (process) => String(process.sid) },
  uid: { title: "UID", value: (process) => String(process.uid) },
  user: { title: "USER", value: (process, source) => source.userName(process.uid) },
  "user:UID": { title: "UID", value: (process, source) => source.userName(process.uid) },
  comm: { title: "COMMAND", value: (process) => process.command },
  cmd: { title: "CMD", value: (process) => process.args },
  args: { title: "COMMAND", value: (process) => process.args },
  c: { title: "C", value: (process, source) => String(Math.min(99, Math.floor(cpuShare(process, source)))) },
  "%cpu": { title: "%CPU", value: (process, source) => cpuShare(process, source).toFixed(1) },
  "%mem": {
    title: "%MEM",
    value: (process, source) => ((process.residentBytes * 100) / source.memoryBytes).toFixed(1),
  },
  vsz: { title: "VSZ", value: (process) => String(Math.floor(process.virtualBytes / 1024)) },
  rss: { title: "RSS", value: (process) => String(Math.floor(process.residentBytes / 1024)) },
  tname: { title: "TTY", value: (process) => process.terminal },
  stat: { title: "STAT", value: (process) => statusText(process) },
  s: { title: "S", value: (process) => process.state },
  ni: { title: "NI", value: (process) => String(process.nice) },
  nlwp: { title: "NLWP", value: (process) => String(process.threads) },
  stime: { title: "STIME", value: (process, source) => startText(process, source) },
  start: { title: "START", value: (process, source) => startText(process, source) },
  time: { title: "TIME", value: (process) => clockText(process.cpuSeconds) },
  etime: { title: "ELAPSED", value: (process, source) => clockText(Math.floor(seconds(process, source))) },
};

const ALIASES: Readonly<Record<string, string>> = {
  command: "args",
  ucmd: "comm",
  ucomm: "comm",
  pcpu: "%cpu",
  pmem: "%mem",
  vsize: "vsz",
  rssize: "rss",
  rsz: "rss",
  tty: "tname",
  tt: "tname",
  euser: "user",
  uname: "user",
  euid: "uid",
  state: "s",
  nice: "ni",
  thcount: "nlwp",
  start_time: "stime",
  bsdstart: "start",
  lstart: "start",
  cputime: "time",
  bsdtime: "time",
  sess: "sid",
};

function columnNamed(name: string): Column {
  const key = ALIASES[name] ?? name;
  const column = Object.hasOwn(COLUMNS, key) ? COLUMNS[key] : undefined;
  if (!column) throw invalid(`ps: unknown user-defined format specifier ${JSON.stringify(name)}`);
  return column;
}

function statusText(process: Process): string {
  return [
    process.state,
    process.nice < 0 ? "<" : process.nice > 0 ? "N" : "",
    process.sid === process.pid ? "s" : "",
    process.threads > 1 ? "l" : "",
  ].join("");
}

/** The time today, the day this year, the year before that. */
function startText(process: Process, source: ProcSource): string {
  const [started, now] = [new Date(process.startedAtMs), source.now()];
  if (started.toDateString() === now.toDateString()) return started.toTimeString().slice(0, 5);
  if (started.getFullYear() !== now.getFullYear()) return String(started.getFullYear());
  return `${started.toDateString().slice(4, 7)}${String(started.getDate()).padStart(2, "0")}`;
}

function clockText(total: number): string {
  const whole = Math.floor(total);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return [hours, minutes, rest].map((part) => String(part).padStart(2, "0")).join(":");
}

// ---- /proc

function bootTimeMs(source: ProcSource): number {
  const boot = /^btime (\d+)$/m.exec(readFileSync(`${source.root}/stat`, "utf8"));
  return Number(boot?.[1] ?? 0) * 1000;
}

/** null: it has ended. */
function readProcess(source: ProcSource, pid: number, bootMs: number): Process | null {
  try {
    const stat = parseStat(readFileSync(`${source.root}/${pid}/stat`, "utf8"));
    if (stat === null) return null;
    const status = readFileSync(`${source.root}/${pid}/status`, "utf8");
    const args = readFileSync(`${source.root}/${pid}/cmdline`, "utf8").replace(/\0+$/, "").replaceAll("\0", " ");
    return {
      ...stat,
      pid,
      uid: Number(/^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1] ?? 0),
      // A kernel thread or a zombie has no arguments; ps puts the name in brackets.
      args: args === "" ? `[${stat.command}]` : args,
      terminal: terminalName(source, pid, stat.terminalNumber),
      startedAtMs: bootMs + (stat.startTicks * 1000) / TICKS_PER_SECOND,
    };
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")) return null;
    throw error;
  }
}

/** proc_pid_stat(5). The command stands in parentheses and may contain any byte, so fields are counted from the last one. */
export function parseStat(text: string) {
  const [open, close] = [text.indexOf("("), text.lastIndexOf(")")];
  if (open < 0 || close < open) return null;
  const fields = text
    .slice(close + 2)
    .trim()
    .split(" ");
  if (fields.length < 22) return null;
  // The first of these is field 3 of the manual page.
  const number = (field: number): number => Number(fields[field - 3]);
  return {
    command: text.slice(open + 1, close),
    state: fields[0] ?? "?",
    ppid: number(4),
    pgid: number(5),
    sid: number(6),
    terminalNumber: number(7),
    cpuSeconds: Math.floor((number(14) + number(15)) / TICKS_PER_SECOND),
    nice: number(19),
    threads: number(20),
    startTicks: number(22),
    virtualBytes: number(23),
    residentBytes: number(24) * PAGE_BYTES,
  };
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
