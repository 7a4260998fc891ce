// Signals by number and by name.
import { expect, test } from "bun:test";
import { parseSignal } from "../../../../src/engine/containers/signals.ts";

test("signals by number, by name in any case, and the real-time ones", () => {
  const known: [string, number][] = [
    ["9", 9],
    ["KILL", 9],
    ["sigterm", 15],
    ["SIGUSR1", 10],
    ["RTMIN", 34],
    ["RTMIN+3", 37],
    ["SIGRTMAX-1", 63],
    ["64", 64],
    ["POLL", 29],
  ];
  for (const [text, number] of known) expect(parseSignal(text)).toBe(number);
  for (const bad of ["", "0", "65", "999", "SIG", "SIGX", "-9", "RTMIN-1", "RTMAX+1", "1.5", "TERM ", "toString"]) {
    expect(() => parseSignal(bad)).toThrow(`invalid signal: ${bad}`);
  }
});
