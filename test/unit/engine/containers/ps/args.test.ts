// The options of ps in its three dialects: which columns they mean, and what ps says of those it does not know.
import { expect, test } from "bun:test";
import { parsePsArgs } from "../../../../../src/engine/containers/ps/args.ts";

const titles = (text: string): string =>
  parsePsArgs(text)
    .columns.map(({ title }) => title)
    .join(" ");

/** What procps 4 prints as its first line. */
test.each([
  ["-ef", "UID PID PPID C STIME TTY TIME CMD"],
  ["-e", "PID TTY TIME CMD"],
  ["-eF", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"],
  ["-el", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"],
  ["-ely", "S UID PID PPID C PRI NI RSS SZ WCHAN TTY TIME CMD"],
  ["-elf", "F S UID PID PPID C PRI NI ADDR SZ WCHAN STIME TTY TIME CMD"],
  ["-ejH", "PID PGID SID TTY TIME CMD"],
  ["-ejf", "UID PID PPID PGID SID C STIME TTY TIME CMD"],
  ["-eLf", "UID PID PPID LWP C NLWP STIME TTY TIME CMD"],
  ["-elF", "F S UID PID PPID C PRI NI ADDR SZ WCHAN RSS PSR STIME TTY TIME CMD"],
  ["-ePf", "UID PID PPID PSR C STIME TTY TIME CMD"],
  ["-elc", "F S UID PID PPID CLS PRI ADDR SZ WCHAN TTY TIME CMD"],
  ["-eM", "LABEL PID TTY TIME CMD"],
  ["axZ", "LABEL PID TTY STAT TIME COMMAND"],
  ["-ef -o pid,cmd", "PID CMD"],
  ["-eT", "PID SPID TTY TIME CMD"],
  ["-ec", "PID CLS PRI TTY TIME CMD"],
  ["aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"],
  ["-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"],
  ["auxww", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"],
  ["x", "PID TTY STAT TIME COMMAND"],
  ["axl", "F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND"],
  ["axj", "PPID PID PGID SID TTY TPGID STAT UID TIME COMMAND"],
  ["axs", "UID PID PENDING BLOCKED IGNORED CAUGHT STAT TTY TIME COMMAND"],
  ["axv", "PID TTY STAT TIME MAJFL TRS DRS RSS %MEM COMMAND"],
  ["-e -O ppid", "PID PPID S TTY TIME COMMAND"],
  ["axo pid,ppid,user,comm", "PID PPID USER COMMAND"],
  ["-o pid,lstart,wchan:20,args", "PID STARTED WCHAN COMMAND"],
  ["--format=pid,comm", "PID COMMAND"],
  ["--format pid", "PID"],
  ["-opid,comm", "PID COMMAND"],
  ["-o pid -o user=WHO", "PID WHO"],
  ["-o pid -o comm=A,B", "PID A,B"],
  ["-eo pid,%cpu,%mem,nlwp,netns,cgroup,label", "PID %CPU %MEM NLWP NETNS CGROUP LABEL"],
])("%s", (text, wanted) => {
  expect(titles(text)).toBe(wanted);
});

test.each([
  ["--nonsense", "ps: error: unknown gnu long option"],
  ["-?", "ps: error: garbage option"],
  ["-e !", "ps: error: garbage option"],
  ["-K", "ps: error: unsupported SysV option"],
  ["axK", "ps: error: unsupported option (BSD syntax)"],
  ["-o pid,bogus", 'ps: error: unknown user-defined format specifier "bogus"'],
  ["aux -o pid", "ps: error: conflicting format options"],
  ["-p", "ps: error: list of process IDs must follow -p"],
  ["-p x", "ps: error: process ID list syntax error"],
  ["-o", "ps: error: format specification must follow -o"],
  ["--sort", "ps: error: long sort specification must follow --sort"],
  ["-e --sort bogus", "ps: error: unknown sort specifier"],
  ["-o comm", "Couldn't find PID field in ps output"],
  ["-o pid=X", "Couldn't find PID field in ps output"],
  ["aux --no-headers", "Couldn't find PID field in ps output"],
  ["-o pid -o comm=PID", 'specifying "comm=PID" is not allowed'],
  ["-o pid -o comm= -o args=PIDS", 'specifying "args=PIDS" is not allowed'],
])("%s is refused", (text, message) => {
  let error: unknown;
  try {
    parsePsArgs(text);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toMatchObject({ kind: "internal", message });
});
