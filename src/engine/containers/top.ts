// `docker top`: the processes of a container as ps(1) would list them, read from /proc, so that no ps is needed. PIDs are
// the host's, as Docker shows them.
import type { TopTable } from "../mod.ts";
import { parsePsArgs, type PsRequest, type SortKey } from "./ps/args.ts";
import { type Process, type ProcSource, readProcesses } from "./ps/process.ts";

export function topTable(pids: readonly number[], psArgs: string, source: ProcSource): TopTable {
  const request = parsePsArgs(psArgs.trim() === "" ? "-ef" : psArgs);
  const all = readProcesses(source, pids, request.hasThreads).sort((a, b) => a.pid - b.pid || a.lwp - b.lwp);
  const chosen = inOrder(all.filter(chooser(request, source)), request.sort, source);
  const shown = request.hasTree ? asTree(chosen) : chosen;
  return {
    Titles: request.columns.map((column) => column.title),
    Processes: shown.map((process) => request.columns.map((column) => column.value(toShow(process, request), source))),
  };
}

function chooser({ selectors, isNegated, onlyRunning }: PsRequest, source: ProcSource): (process: Process) => boolean {
  return (process) => {
    const isSelected = selectors.length === 0 || selectors.some((holds) => holds(process, source));
    return isSelected !== isNegated && (!onlyRunning || process.state === "R" || process.state === "D");
  };
}

function inOrder(processes: Process[], keys: readonly SortKey[], source: ProcSource): Process[] {
  return processes.toSorted((a, b) => {
    for (const { column, isDescending } of keys) {
      const order = compare(column.value(a, source), column.value(b, source));
      if (order !== 0) return isDescending ? -order : order;
    }
    return 0;
  });
}

/** Numbers by their size, everything else by its text. */
function compare(a: string, b: string): number {
  const [x, y] = [Number(a), Number(b)];
  if (Number.isFinite(x) && Number.isFinite(y)) return x - y;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Each after its parent, marked by a line that leads to it. */
function asTree(processes: readonly Process[]): Process[] {
  const here = new Set(processes.map(({ pid }) => pid));
  const children = Map.groupBy(processes, ({ ppid }) => (here.has(ppid) ? ppid : 0));
  const shown = new Set<Process>();
  // Not by recursion: a container's processes may be nested as deep as it likes.
  const left = children.get(0)?.toReversed() ?? [];
  for (let process = left.pop(); process !== undefined; process = left.pop()) {
    if (shown.has(process)) continue;
    shown.add(process);
    left.push(...(children.get(process.pid)?.toReversed() ?? []));
  }
  return Array.from(shown, (process) => {
    if (!here.has(process.ppid)) return process;
    return { ...process, args: `\\_ ${process.args}`, command: `\\_ ${process.command}` };
  });
}

/** COMPAT: as `ps e` does, after the arguments. */
function toShow(process: Process, { hasEnvironment }: PsRequest): Process {
  if (!hasEnvironment) return process;
  const environment = process.file("environ").replace(/\0+$/, "").replaceAll("\0", " ");
  return { ...process, args: `${process.args} ${environment}`.trim() };
}
