// The networks every engine has, and the words in which others are refused.
import { type EngineError, invalid } from "../../errors.ts";
import { newID, type RandomBytes } from "../ids.ts";
import type { NetworkRecord } from "../mod.ts";

export const PREDEFINED = ["bridge", "host", "none"] as const;

export function isPredefined(name: string): boolean {
  return (PREDEFINED as readonly string[]).includes(name) || name === "default";
}

/** The record of a predefined network at its first start; its ID then stays. */
export function predefinedRecord(name: (typeof PREDEFINED)[number], random: RandomBytes, now: Date): NetworkRecord {
  return {
    id: newID(random),
    name,
    createdAt: now.toISOString(),
    driver: name === "none" ? "null" : name,
    scope: "local",
    enableIPv4: true,
    enableIPv6: false,
    isInternal: false,
    isAttachable: false,
    isIngress: false,
    ipam: { driver: "default", options: null, config: [] },
    options: {},
    labels: {},
  };
}

/** Several faults in one message, a line each, as Docker joins them. */
export function invalidLines(lines: readonly string[]): EngineError {
  return invalid(lines.join("\n"));
}
