// What a control file held before an update, as values that bring it back: an update that fails half-way leaves every limit
// as it was. Pure; the formats are those of the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.

/** A value for one device, or for all others: `254:0 1048576`, `254:0 rbps=1048576`, `default 100`. */
const KEYED = /^(\d+:\d+|default) (.+)$/;

/** What to write so that the file is again as it was: `before` is its whole text, `written` what the update writes. */
export function restoringValues(before: string, written: readonly string[]): string[] {
  if (!written.some((value) => KEYED.test(value))) return [before.trim()];
  const lines = before.split("\n").flatMap((line) => {
    const [, key = "", value = ""] = KEYED.exec(line.trim()) ?? [];
    return key === "" ? [] : [[key, value] as const];
  });
  const held = new Map(lines);
  return written.flatMap((value) => {
    const [, key = "", now = ""] = KEYED.exec(value) ?? [];
    if (key === "") return [];
    // A file of one weight (`100`) has no keys: it is the default's.
    if (key === "default" && !held.has(key)) return [`default ${before.trim()}`];
    return [`${key} ${held.get(key) ?? neutral(now)}`];
  });
}

/** The value of a device that had none: `rbps=5` was `rbps=max`, and 0 takes a v1 throttle or a weight away. */
function neutral(value: string): string {
  return value.includes("=") ? value.replace(/=\S+/g, "=max") : "0";
}
