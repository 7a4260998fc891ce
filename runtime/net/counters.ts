// The counters of network interfaces, as /proc/<pid>/net/dev has them. See proc_pid_net(5).
import type { InterfaceCounters } from "../mod.ts";

/**
 * Two lines of titles, then one line for each interface: eight numbers of what came in, eight of what went out.
 *
 *   eth0: bytes packets errs drop fifo frame compressed multicast   bytes packets errs drop fifo colls carrier compressed
 */
export function parseInterfaces(text: string): Map<string, InterfaceCounters> {
  const found = new Map<string, InterfaceCounters>();
  for (const line of text.split("\n").slice(2)) {
    // A name may hold colons; a number does not.
    const colon = line.lastIndexOf(":");
    const name = line.slice(0, colon).trim();
    const numbers = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    if (colon < 0 || name === "lo" || numbers.length < 16 || !numbers.every(Number.isFinite)) continue;
    const at = (index: number): number => numbers[index] ?? 0;
    found.set(name, {
      rxBytes: at(0),
      rxPackets: at(1),
      rxErrors: at(2),
      rxDropped: at(3),
      txBytes: at(8),
      txPackets: at(9),
      txErrors: at(10),
      txDropped: at(11),
    });
  }
  return found;
}
