// Seccomp profiles: conditions, plain ones, and what is none.
import { describe, expect, test } from "bun:test";
import { defaultSeccompProfile } from "../../../../runtime/mod.ts";
import { parseSeccompProfile, readSeccompProfile, resolveSeccomp } from "../../../../src/engine/containers/seccomp.ts";

describe("seccomp profiles", () => {
  const profile = readSeccompProfile(defaultSeccompProfile());
  const names = (target: Partial<Parameters<typeof resolveSeccomp>[1]>): Set<string> => {
    const { syscalls } = resolveSeccomp(profile, { arch: "x64", kernelVersion: "6.18.0", capabilities: [], ...target });
    return new Set(
      syscalls.filter((rule) => rule.action === "SCMP_ACT_ALLOW" && !rule.args).flatMap((rule) => rule.names),
    );
  };
  test("rules depend on capabilities, architecture and kernel", () => {
    expect(names({}).has("read")).toBe(true);
    expect(names({}).has("mount")).toBe(false);
    expect(names({ capabilities: ["CAP_SYS_ADMIN"] }).has("mount")).toBe(true);
    expect(names({ arch: "x64" }).has("arch_prctl")).toBe(true);
    expect(names({ arch: "arm64" }).has("arch_prctl")).toBe(false);
    expect(names({ kernelVersion: "4.4.0" }).has("ptrace")).toBe(false);
    expect(names({ kernelVersion: "4.8.0" }).has("ptrace")).toBe(true);
  });
  test("architectures come from the map of the machine's own", () => {
    expect(resolveSeccomp(profile, { arch: "arm64", kernelVersion: "6.1", capabilities: [] }).architectures).toEqual([
      "SCMP_ARCH_AARCH64",
      "SCMP_ARCH_ARM",
    ]);
  });
  test("a plain runtime-spec profile passes through, with old one-name rules", () => {
    const plain = parseSeccompProfile(
      JSON.stringify({
        defaultAction: "SCMP_ACT_ALLOW",
        architectures: ["SCMP_ARCH_X86_64"],
        syscalls: [{ name: "mkdir", action: "SCMP_ACT_ERRNO", errnoRet: 5 }],
      }),
    );
    expect(resolveSeccomp(plain, { arch: "x64", kernelVersion: "6.1", capabilities: [] })).toEqual({
      defaultAction: "SCMP_ACT_ALLOW",
      architectures: ["SCMP_ARCH_X86_64"],
      syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 5 }],
    });
  });
  test("what is no profile is refused", () => {
    for (const bad of [
      "",
      "{",
      "[]",
      "{}",
      '{"defaultAction":1}',
      '{"defaultAction":"x","syscalls":[{"names":["a"]}]}',
    ]) {
      expect(() => parseSeccompProfile(bad)).toThrow("Decoding seccomp profile failed");
    }
  });
});
