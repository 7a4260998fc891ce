// `--security-opt` in all its spellings.
import { describe, expect, test } from "bun:test";
import { parseSecurity } from "../../../../src/engine/containers/security.ts";

describe("security options", () => {
  const parse = (...options: string[]) => parseSecurity(options, { noNewPrivileges: false });
  test("take both separators, and a profile that contains either", () => {
    expect(parse("no-new-privileges").noNewPrivileges).toBe(true);
    expect(parse("no-new-privileges:false").noNewPrivileges).toBe(false);
    expect(parse('seccomp={"a":"b=c"}').seccomp).toBe('{"a":"b=c"}');
    expect(parse("apparmor:unconfined", "label=disable", "writable-cgroups=true")).toMatchObject({
      apparmor: "unconfined",
      hasWritableCgroups: true,
    });
  });
  test("refuse what they do not know", () => {
    expect(() => parse("nope")).toThrow('invalid --security-opt 1: "nope"');
    expect(() => parse("no-new-privileges=maybe")).toThrow('invalid --security-opt 2: "no-new-privileges=maybe"');
  });
});
