// The columns of ps(1), by the names that `-o` and `--sort` take (ps(1), STANDARD FORMAT SPECIFIERS).
import type { FourIDs, Process, ProcSource } from "./process.ts";

export interface Column {
  title: string;
  value(process: Process, source: ProcSource): string;
}

type Value = (process: Process, source: ProcSource) => string | number;

const seconds = (process: Process, source: ProcSource): number =>
  Math.max(1, (source.now().getTime() - process.startedAtMs) / 1000);
const cpuShare = (process: Process, source: ProcSource): number =>
  (process.cpuSeconds * 100) / seconds(process, source);
const kilobytes = (bytes: number): number => Math.floor(bytes / 1024);
const user =
  (which: keyof FourIDs & number): Value =>
  ({ uids }, source) =>
    source.userName(uids[which] ?? 0);
const group =
  (which: keyof FourIDs & number): Value =>
  ({ gids }, source) =>
    source.groupName(gids[which] ?? 0);
const ofStatus =
  (name: string): Value =>
  ({ status }) =>
    status.get(name) ?? "-";
const namespace =
  (name: string): Value =>
  ({ link }) =>
    link(`ns/${name}`) || "-";

/** Title, names (the first is the one listings here use), value. */
const TABLE: readonly (readonly [title: string, names: string, value: Value])[] = [
  ["PID", "pid tgid", ({ pid }) => pid],
  ["PPID", "ppid", ({ ppid }) => ppid],
  ["PGID", "pgid", ({ pgid }) => pgid],
  ["PGRP", "pgrp", ({ pgid }) => pgid],
  ["SID", "sid", ({ sid }) => sid],
  ["SESS", "sess session", ({ sid }) => sid],
  ["TPGID", "tpgid", ({ terminalGroup }) => terminalGroup],
  ["LWP", "lwp", ({ lwp }) => lwp],
  ["SPID", "spid", ({ lwp }) => lwp],
  ["TID", "tid", ({ lwp }) => lwp],
  ["NLWP", "nlwp", ({ threads }) => threads],
  ["THCNT", "thcount", ({ threads }) => threads],
  ["UID", "uid", ({ uids }) => uids[1]],
  ["EUID", "euid", ({ uids }) => uids[1]],
  ["RUID", "ruid", ({ uids }) => uids[0]],
  ["SUID", "suid", ({ uids }) => uids[2]],
  ["SVUID", "svuid", ({ uids }) => uids[2]],
  ["FUID", "fuid", ({ uids }) => uids[3]],
  ["UID", "user:UID", user(1)],
  ["USER", "user uname", user(1)],
  ["EUSER", "euser", user(1)],
  ["RUSER", "ruser", user(0)],
  ["SUSER", "suser", user(2)],
  ["SVUSER", "svuser", user(2)],
  ["FUSER", "fuser", user(3)],
  ["GID", "gid", ({ gids }) => gids[1]],
  ["EGID", "egid", ({ gids }) => gids[1]],
  ["RGID", "rgid", ({ gids }) => gids[0]],
  ["SGID", "sgid", ({ gids }) => gids[2]],
  ["SVGID", "svgid", ({ gids }) => gids[2]],
  ["FGID", "fgid", ({ gids }) => gids[3]],
  ["GROUP", "group", group(1)],
  ["EGROUP", "egroup", group(1)],
  ["RGROUP", "rgroup", group(0)],
  ["SGROUP", "sgroup", group(2)],
  ["FGROUP", "fgroup", group(3)],
  ["SUPGID", "supgid", ({ status }) => (status.get("Groups") ?? "").trim().replaceAll(/\s+/g, ",") || "-"],
  ["SUPGRP", "supgrp", (process, source) => groupNames(process, source)],
  ["COMMAND", "comm ucomm", ({ command }) => command],
  ["CMD", "ucmd", ({ command }) => command],
  ["COMMAND", "fname", ({ command }) => command.slice(0, 8)],
  ["CMD", "cmd", ({ args }) => args],
  ["COMMAND", "args command", ({ args }) => args],
  ["EXE", "exe", ({ link }) => link("exe") || "-"],
  ["C", "c", (process, source) => Math.min(99, Math.floor(cpuShare(process, source)))],
  ["CP", "cp", (process, source) => Math.floor(cpuShare(process, source) * 10)],
  ["%CPU", "%cpu pcpu", (process, source) => cpuShare(process, source).toFixed(1)],
  ["%MEM", "%mem pmem", ({ residentBytes }, source) => ((residentBytes * 100) / source.memoryBytes).toFixed(1)],
  ["VSZ", "vsz vsize", ({ virtualBytes }) => kilobytes(virtualBytes)],
  ["RSS", "rss rssize rsz", ({ residentBytes }) => kilobytes(residentBytes)],
  ["SZ", "sz", ({ virtualBytes }) => Math.floor(virtualBytes / 4096)],
  ["SIZE", "size", ({ status }) => parseInt(status.get("VmData") ?? "0") + parseInt(status.get("VmStk") ?? "0")],
  ["PSS", "pss", (process) => ofMaps(process, /^Pss:\s+(\d+)/gm)],
  ["USS", "uss", (process) => ofMaps(process, /^Private_(?:Clean|Dirty):\s+(\d+)/gm)],
  ["TRS", "trs", ({ codeBytes }) => kilobytes(codeBytes)],
  ["DRS", "drs", ({ virtualBytes, codeBytes }) => Math.max(0, kilobytes(virtualBytes - codeBytes))],
  ["TTY", "tname tty", ({ terminal }) => terminal],
  ["TT", "tt", ({ terminal }) => terminal],
  ["STAT", "stat", statusText],
  ["S", "s state", ({ state }) => state],
  ["F", "f flag flags", ({ flags }) => ((flags >>> 6) & 0x7).toString(16)],
  ["NI", "ni nice", ({ nice }) => nice],
  ["PRI", "pri", ({ priority }) => 39 - priority],
  ["PRI", "opri intpri", ({ priority }) => 60 + priority],
  ["PRI", "priority", ({ priority }) => priority],
  ["RTPRIO", "rtprio", ({ realtimePriority }) => realtimePriority || "-"],
  ["CLS", "cls class policy", ({ policy }) => CLASSES[policy] ?? "?"],
  ["POL", "pol", ({ policy }) => CLASSES[policy] ?? "?"],
  ["PSR", "psr", ({ cpu }) => cpu],
  ["CPUID", "cpuid", ({ cpu }) => cpu],
  ["ADDR", "addr", () => "-"],
  ["WCHAN", "wchan nwchan", ({ file }) => file("wchan").replace(/^0?$/, "-")],
  ["MAJFL", "majflt maj_flt pagein", ({ majorFaults }) => majorFaults],
  ["MINFL", "minflt min_flt", ({ minorFaults }) => minorFaults],
  ["STIME", "stime start_time", ({ startedAtMs }, source) => startText(startedAtMs, source)],
  ["START", "bsdstart", ({ startedAtMs }, source) => startText(startedAtMs, source)],
  ["STARTED", "start", ({ startedAtMs }, source) => startedText(startedAtMs, source)],
  ["STARTED", "lstart", ({ startedAtMs }) => longText(new Date(startedAtMs))],
  ["TIME", "time cputime atime", ({ cpuSeconds }) => clockText(cpuSeconds)],
  ["TIME", "cputimes times", ({ cpuSeconds }) => cpuSeconds],
  ["TIME", "bsdtime", ({ cpuSeconds }) => `${Math.floor(cpuSeconds / 60)}:${two(cpuSeconds % 60)}`],
  ["ELAPSED", "etime", (process, source) => clockText(Math.floor(seconds(process, source))).replace(/^00:/, "")],
  ["ELAPSED", "etimes", (process, source) => Math.floor(seconds(process, source))],
  ["PENDING", "pending sig sig_pend", ofStatus("ShdPnd")],
  ["BLOCKED", "blocked sig_block sigmask", ofStatus("SigBlk")],
  ["IGNORED", "ignored sig_ignore sigignore", ofStatus("SigIgn")],
  ["CAUGHT", "caught sig_catch sigcatch", ofStatus("SigCgt")],
  ["CGROUP", "cgroup", ({ file }) => file("cgroup").trim().replaceAll("\n", ",") || "-"],
  ["OOM", "oom", ({ file }) => file("oom_score").trim() || "-"],
  ["OOMADJ", "oomadj", ({ file }) => file("oom_score_adj").trim() || "-"],
  ["LABEL", "label context", ({ file }) => file("attr/current").replaceAll(/[\0\n]/g, "") || "-"],
  ["CGROUPNS", "cgroupns", namespace("cgroup")],
  ["IPCNS", "ipcns", namespace("ipc")],
  ["MNTNS", "mntns", namespace("mnt")],
  ["NETNS", "netns", namespace("net")],
  ["PIDNS", "pidns", namespace("pid")],
  ["TIMENS", "timens", namespace("time")],
  ["USERNS", "userns", namespace("user")],
  ["UTSNS", "utsns", namespace("uts")],
];

/** SCHED_OTHER to SCHED_EXT; see sched(7). */
const CLASSES: readonly string[] = ["TS", "FF", "RR", "B", "ISO", "IDL", "DLN", "EXT"];

/** By any of its names, in lower case but for `user:UID`; null: there is none. */
export function columnNamed(name: string): Column | null {
  for (const [title, names, value] of TABLE) {
    if (names.split(" ").includes(name)) return { title, value: (process, source) => String(value(process, source)) };
  }
  return null;
}

/** Kilobytes of its memory, counted by the kernel there and then. */
function ofMaps({ file }: Process, lines: RegExp): number {
  return Array.from(file("smaps_rollup").matchAll(lines), ([, size]) => Number(size)).reduce((a, b) => a + b, 0);
}

function groupNames({ status }: Process, source: ProcSource): string {
  const ids = (status.get("Groups") ?? "").split(/\s+/).filter((id) => id !== "");
  return ids.map((id) => source.groupName(Number(id))).join(",") || "-";
}

function statusText({ state, nice, status, sid, pid, threads, terminalGroup, pgid }: Process): string {
  return [
    state,
    nice < 0 ? "<" : nice > 0 ? "N" : "",
    parseInt(status.get("VmLck") ?? "0") > 0 ? "L" : "",
    sid === pid ? "s" : "",
    threads > 1 ? "l" : "",
    terminalGroup === pgid ? "+" : "",
  ].join("");
}

/** The time today, the day this year, the year before that. */
function startText(startedAtMs: number, source: ProcSource): string {
  const [started, now] = [new Date(startedAtMs), source.now()];
  if (started.toDateString() === now.toDateString()) return started.toTimeString().slice(0, 5);
  if (started.getFullYear() !== now.getFullYear()) return String(started.getFullYear());
  return `${started.toDateString().slice(4, 7)}${two(started.getDate())}`;
}

const DAY_MS = 86_400_000;

/** The time within a day, the date before that. */
function startedText(startedAtMs: number, source: ProcSource): string {
  const started = new Date(startedAtMs);
  if (source.now().getTime() - startedAtMs < DAY_MS) return started.toTimeString().slice(0, 8);
  return `${started.toDateString().slice(4, 7)} ${two(started.getDate())}`;
}

/** `Tue Nov 24 00:49:39 2026`. */
function longText(time: Date): string {
  const [weekday, month] = time.toDateString().split(" ");
  return `${weekday} ${month} ${String(time.getDate()).padStart(2)} ${time.toTimeString().slice(0, 8)} ${time.getFullYear()}`;
}

/** `[days-]hours:minutes:seconds`. */
function clockText(total: number): string {
  const days = Math.floor(total / 86_400);
  const rest = [Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60, Math.floor(total) % 60];
  return `${days > 0 ? `${days}-` : ""}${rest.map(two).join(":")}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
