// A listing of a small /proc: which processes, in which order, with which values.
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ProcSource } from "../../../../src/engine/containers/ps/process.ts";
import { topTable } from "../../../../src/engine/containers/top.ts";

const root = mkdtempSync(join(tmpdir(), "berth-proc-"));
afterAll(() => rmSync(root, { recursive: true }));

const BOOT_SEC = 1_700_000_000;
const source: ProcSource = {
  root,
  userName: (uid) => (uid === 0 ? "root" : String(uid)),
  groupName: (gid) => (gid === 0 ? "root" : `g${gid}`),
  now: () => new Date((BOOT_SEC + 200) * 1000),
  memoryBytes: 1 << 30,
};

interface Values {
  ppid: number;
  uid: number;
  ticks: number;
  start: number;
  state: string;
  nice: number;
  terminal: number;
}

/** proc_pid_stat(5), fields 1 to 41. */
function add(pid: number, command: string, argv: string[], given: Partial<Values> = {}): void {
  const { ppid, uid, ticks, start, state, nice, terminal } = {
    ppid: 1,
    uid: 0,
    ticks: 0,
    start: 0,
    state: "S",
    nice: 0,
    terminal: 0,
    ...given,
  };
  const first = [ppid, pid, pid, terminal, -1, 0x400140, 7, 0, 3, 0, ticks, 0, 0, 0, 20 + nice, nice, 3, 0, start];
  const memory = [4096 * 1024, 256, "18446744073709551615", 4096, 12288];
  const rest = [...Array.from({ length: 10 }, () => 0), 17, 1, 0, 0];
  const line = `${pid} (${command}) ${state} ${[...first, ...memory, ...rest].join(" ")}\n`;
  for (const directory of [`${pid}`, `${pid}/task/${pid}`, `${pid}/task/${pid + 1}`]) {
    mkdirSync(join(root, directory, "fd"), { recursive: true });
    writeFileSync(join(root, directory, "stat"), line);
    const ids = `Uid:\t${uid}\t${uid}\t${uid}\t${uid}\nGid:\t${uid}\t${uid}\t${uid}\t${uid}\nGroups:\t5 6 \n`;
    writeFileSync(join(root, directory, "status"), `Name:\tx\n${ids}SigBlk:\t00ff\nVmLck:\t       0 kB\n`);
    writeFileSync(join(root, directory, "cmdline"), argv.map((arg) => `${arg}\0`).join(""));
  }
  writeFileSync(join(root, `${pid}`, "environ"), "A=1\0B=2\0");
  writeFileSync(join(root, `${pid}`, "wchan"), "0");
  writeFileSync(join(root, `${pid}`, "oom_score_adj"), "-500\n");
}

writeFileSync(join(root, "stat"), `cpu 1 2 3\nbtime ${BOOT_SEC}\n`);
add(10, "sh", ["sh", "-c", "sleep 1"], { start: 5000, terminal: 34820 });
add(30, "late", [], { ppid: 10, start: 10_000, ticks: 6100, uid: 1000 });
add(20, "sleep", ["sleep", "1"], { ppid: 30, nice: 5, state: "R" });
add(40, "dead", [], { ppid: 10, state: "Z" });
symlinkSync("/dev/pts/4", join(root, "10", "fd", "0"));
const PIDS = [20, 10, 40, 30, 50];

const rows = (psArgs: string): string[] => topTable(PIDS, psArgs, source).Processes.map((cells) => cells.join(" "));

test("each process in the order of numbers; one that has ended meanwhile is left out", () => {
  expect(topTable(PIDS, "-o pid,ppid,user,group,time,args", source)).toEqual({
    Titles: ["PID", "PPID", "USER", "GROUP", "TIME", "COMMAND"],
    Processes: [
      ["10", "1", "root", "root", "00:00:00", "sh -c sleep 1"],
      ["20", "30", "root", "root", "00:00:00", "sleep 1"],
      ["30", "10", "1000", "g1000", "00:01:01", "[late]"],
      ["40", "10", "root", "root", "00:00:00", "[dead] <defunct>"],
    ],
  });
});

test("values as ps writes them", () => {
  const columns =
    "pid,stat,pri,opri,ni,sz,rss,vsz,majflt,psr,cls,bsdtime,etimes,supgid,blocked,wchan,oomadj,f,trs,%mem";
  expect(rows(`-p 20 -o ${columns}`)).toEqual([
    "20 RNsl 14 85 5 1024 1024 4096 3 1 TS 0:00 200 5,6 00ff - -500 5 8 0.1",
  ]);
  expect(rows("-p 10 -o pid,tty,comm")).toEqual(["10 pts/4 sh"]);
  expect(rows("-p 30 -o pid,time,cputimes,bsdtime,etime")).toEqual(["30 00:01:01 61 1:01 01:40"]);
});

test("selections are alternatives; all means all; a negation means the others", () => {
  const pids = (psArgs: string): string => rows(`${psArgs} -o pid`).join(" ");
  expect(pids("-p 10,30")).toBe("10 30");
  expect(pids("-C sleep -u 1000")).toBe("20 30");
  expect(pids("--ppid 10")).toBe("30 40");
  expect(pids("-p 10 -N")).toBe("20 30 40");
  expect(pids("-e -p 10")).toBe("10 20 30 40");
  expect(pids("r")).toBe("20");
  expect(pids("20")).toBe("20");
  expect(pids("-t pts/4")).toBe("10");
  expect(pids("-G root -N")).toBe("30");
});

test("sorted by any columns, numbers by their size", () => {
  expect(rows("-eo pid --sort -pid")).toEqual(["40", "30", "20", "10"]);
  expect(rows("axo pid k user,-time,pid")).toEqual(["30", "10", "20", "40"]);
});

test("as a tree, each after its parent, however deep", () => {
  expect(rows("-e --forest -o pid,args")).toEqual([
    "10 sh -c sleep 1",
    "30 \\_ [late]",
    "20 \\_ sleep 1",
    "40 \\_ [dead] <defunct>",
  ]);
});

test("with threads, and with the environment", () => {
  expect(rows("-p 10 -L -o pid,lwp")).toEqual(["10 10", "10 11"]);
  expect(rows("axe 10").map((row) => row.split(" ").slice(4).join(" "))).toContain("sh -c sleep 1 A=1 B=2");
});
