// src/engine/containers/top.ts: the options of ps, /proc/<pid>/stat with names that mean to confuse, and a listing of a
// small /proc.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parsePsArgs, parseStat, type ProcSource, topTable } from "../../../../src/engine/containers/top.ts";

const root = mkdtempSync(join(tmpdir(), "berth-proc-"));
afterAll(() => rmSync(root, { recursive: true }));

const BOOT_SEC = 1_700_000_000;
const source: ProcSource = {
  root,
  userName: (uid) => (uid === 0 ? "root" : String(uid)),
  now: () => new Date((BOOT_SEC + 200) * 1000),
  memoryBytes: 1 << 30,
};

/** proc_pid_stat(5), fields 1 to 24. */
function statLine(
  pid: number,
  command: string,
  values: { ppid?: number; ticks?: number; start?: number } = {},
): string {
  const { ppid = 0, ticks = 0, start = 0 } = values;
  const before = [ppid, pid, pid, 0, -1, 0, 0, 0, 0, 0, ticks, 0, 0, 0, 20, 5, 3, 0, start];
  return `${pid} (${command}) S ${[...before, 4096 * 1024, 256].join(" ")} 18446744073709551615\n`;
}

function addProcess(pid: number, stat: string, uid: number, argv: string[]): void {
  mkdirSync(join(root, String(pid), "fd"), { recursive: true });
  writeFileSync(join(root, String(pid), "stat"), stat);
  writeFileSync(join(root, String(pid), "status"), `Name:\tx\nUid:\t${uid}\t${uid}\t${uid}\t${uid}\n`);
  writeFileSync(join(root, String(pid), "cmdline"), argv.map((arg) => `${arg}\0`).join(""));
}

describe("parsePsArgs()", () => {
  const titles = (text: string): string =>
    parsePsArgs(text)
      .map(({ title }) => title)
      .join(" ");

  test("knows the listings that people ask for", () => {
    expect(titles("-ef")).toBe("UID PID PPID C STIME TTY TIME CMD");
    expect(titles("")).toBe(titles("-ef"));
    expect(titles("aux")).toBe("USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
    expect(titles("x")).toBe("PID TTY STAT TIME COMMAND");
  });

  test("takes columns, with titles of the caller's", () => {
    for (const text of ["-o pid,comm", "-opid,comm", "-eo pid,comm", "--format=pid,comm", "o pid,comm"])
      expect(titles(text)).toBe("PID COMMAND");
    expect(titles("-o pid -o user=WHO")).toBe("PID WHO");
  });

  test("refuses what it does not know, and a listing without PIDs", () => {
    expect(() => parsePsArgs("--forest")).toThrow('unsupported option "--forest"');
    expect(() => parsePsArgs("-o pid,nonsense")).toThrow("nonsense");
    expect(() => parsePsArgs("-o comm")).toThrow("Couldn't find PID field in ps output");
    expect(() => parsePsArgs("-o pid=X")).toThrow("Couldn't find PID field in ps output");
  });
});

describe("parseStat()", () => {
  test("counts fields from the last parenthesis, since a name may hold any byte", () => {
    for (const name of ["sh", "a b", "(evil) R 1 1", ")", ""]) {
      expect(parseStat(statLine(7, name, { ppid: 3, ticks: 250, start: 99 }))).toMatchObject({
        command: name,
        state: "S",
        ppid: 3,
        cpuSeconds: 2,
        nice: 5,
        threads: 3,
        startTicks: 99,
        residentBytes: 1 << 20,
      });
    }
  });

  test("is null for what is no such line", () => {
    for (const text of ["", "7", "7 (sh", "7 sh) S 1", ")(", "7 (sh) S 1 2 3"]) expect(parseStat(text)).toBeNull();
  });
});

test("topTable() lists processes by their start; one that has ended meanwhile is left out", () => {
  writeFileSync(join(root, "stat"), `cpu 1 2 3\nbtime ${BOOT_SEC}\n`);
  addProcess(20, statLine(20, "late", { ppid: 10, start: 10_000, ticks: 6100 }), 1000, []);
  addProcess(10, statLine(10, "sh", { start: 5000 }), 0, ["sh", "-c", "sleep 1"]);
  symlinkSync("/dev/pts/4", join(root, "10", "fd", "0"));
  expect(topTable([20, 10, 30], "-o pid,ppid,user,time,args", source)).toEqual({
    Titles: ["PID", "PPID", "USER", "TIME", "COMMAND"],
    Processes: [
      ["10", "0", "root", "00:00:00", "sh -c sleep 1"],
      ["20", "10", "1000", "00:01:01", "[late]"],
    ],
  });
});
