// doctor's findings as a table.
import type { Finding } from "../../runtime/doctor.ts";

/** Name, state, what it is for, and what was found. */
export function formatFindings(findings: readonly Finding[]): string {
  const width = (texts: string[]): number => Math.max(0, ...texts.map((text) => text.length)) + 2;
  const names = width(findings.map(({ name }) => name));
  const states = width(findings.map(({ state }) => state));
  const uses = width(findings.map(({ neededFor }) => neededFor));
  return findings
    .map(
      ({ name, state, detail, neededFor }) =>
        `${name.padEnd(names)}${state.padEnd(states)}${neededFor.padEnd(uses)}${detail}`.trimEnd() + "\n",
    )
    .join("");
}
