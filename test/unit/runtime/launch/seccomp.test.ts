// Filters: run by a small BPF machine here, over the calls they are made for.
import { describe, expect, test } from "bun:test";
import type { OciSeccomp } from "../../../../runtime/bundle.ts";
import { compileSeccomp, createSeccompCompiler } from "../../../../runtime/launch/seccomp.ts";
import { defaultSeccompProfile } from "../../../../runtime/launch/seccomp_default.ts";
import { syscallNumbers } from "../../../../runtime/launch/syscall_numbers.ts";
import { parseSeccompProfile, resolveSeccomp } from "../../../../src/engine/containers/seccomp.ts";

const AUDIT = { x64: 0xc000003e, x86: 0x40000003, arm64: 0xc00000b7, arm: 0x40000028, riscv64: 0xc00000f3 } as const;
const ALLOW = 0x7fff0000,
  KILL_PROCESS = 0x80000000;
const errno = (number: number): number => 0x50000 | number;

/** What the kernel would do with the program: the instructions that filters use, and a failure for all others. */
function evaluate(filter: Uint8Array, arch: keyof typeof AUDIT, nr: number, args: bigint[] = []): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, nr, true);
  data.setUint32(4, AUDIT[arch], true);
  args.forEach((arg, index) => data.setBigUint64(16 + index * 8, arg, true));
  const view = new DataView(filter.buffer, filter.byteOffset, filter.byteLength);
  let accumulator = 0;
  for (let at = 0; at < filter.length / 8; at++) {
    const code = view.getUint16(at * 8, true),
      k = view.getUint32(at * 8 + 4, true);
    const jump = (isTrue: boolean): number => view.getUint8(at * 8 + (isTrue ? 2 : 3));
    if (code === 0x20) accumulator = data.getUint32(k, true);
    else if (code === 0x05) at += k;
    else if (code === 0x15) at += jump(accumulator === k);
    else if (code === 0x25) at += jump(accumulator > k);
    else if (code === 0x35) at += jump(accumulator >= k);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x06) return k;
    else throw new Error(`instruction ${code}`);
  }
  throw new Error("fell off the end");
}

function number(arch: "x64" | "x86" | "arm64" | "arm", name: string): number {
  const found = syscallNumbers(arch).get(name);
  if (found === undefined) throw new Error(`no ${name} on ${arch}`);
  return found;
}

function profile(changes: Partial<OciSeccomp> = {}): OciSeccomp {
  return { defaultAction: "SCMP_ACT_ERRNO", syscalls: [], ...changes };
}

const docker = (capabilities: string[], arch: "x64" | "arm64" = "x64"): Uint8Array =>
  compileSeccomp(
    resolveSeccomp(parseSeccompProfile(JSON.stringify(defaultSeccompProfile())), {
      arch,
      kernelVersion: "6.18.0",
      capabilities,
    }),
    arch,
  );

describe("the default profile", () => {
  const filter = docker([]);
  const on = (name: string, ...args: bigint[]): number => evaluate(filter, "x64", number("x64", name), args);

  test("allows the ordinary, refuses the rest", () => {
    for (const name of ["read", "write", "execve", "openat", "futex", "clone", "exit_group", "capset", "prctl"]) {
      expect([name, on(name)]).toEqual([name, ALLOW]);
    }
    for (const name of [
      "mount",
      "unshare",
      "setns",
      "bpf",
      "kexec_load",
      "init_module",
      "reboot",
      "keyctl",
      "open_by_handle_at",
    ]) {
      expect([name, on(name)]).toEqual([name, errno(1)]);
    }
  });

  test("looks at arguments", () => {
    expect(on("clone", 0x10000000n)).toBe(errno(1)); // CLONE_NEWUSER
    expect(on("clone", 17n)).toBe(ALLOW);
    expect(on("clone3")).toBe(errno(38));
    expect(on("personality", 0n)).toBe(ALLOW);
    expect(on("personality", 0xffffffffn)).toBe(ALLOW);
    expect(on("personality", 0x40000n)).toBe(errno(1));
    expect(on("socket", 2n)).toBe(ALLOW);
    expect(on("socket", 38n)).toBe(errno(1)); // AF_ALG
    expect(on("socket", 40n)).toBe(errno(1)); // AF_VSOCK
    expect(on("socket", 41n)).toBe(ALLOW);
  });

  test("what is newer than our tables is not there, what is x32's neither", () => {
    expect(evaluate(filter, "x64", 5000)).toBe(errno(38));
    expect(evaluate(filter, "x64", 0x40000000)).toBe(errno(38));
    expect(evaluate(filter, "x64", 0xffffffff)).toBe(errno(38));
  });

  test("i386 has its own numbers, other architectures are killed", () => {
    expect(evaluate(filter, "x86", number("x86", "read"))).toBe(ALLOW);
    expect(evaluate(filter, "x86", number("x86", "mount"))).toBe(errno(1));
    expect(evaluate(filter, "arm64", 0)).toBe(KILL_PROCESS);
    expect(evaluate(filter, "riscv64", 0)).toBe(KILL_PROCESS);
  });

  test("capabilities open what belongs to them", () => {
    const admin = docker(["CAP_SYS_ADMIN"]);
    expect(evaluate(admin, "x64", number("x64", "mount"))).toBe(ALLOW);
    expect(evaluate(admin, "x64", number("x64", "clone3"))).toBe(ALLOW);
    expect(evaluate(admin, "x64", number("x64", "clone"), [0x10000000n])).toBe(ALLOW);
    expect(evaluate(docker(["CAP_SYS_BOOT"]), "x64", number("x64", "reboot"))).toBe(ALLOW);
  });

  test("on arm64 with arm's private calls", () => {
    const arm = docker([], "arm64");
    expect(evaluate(arm, "arm64", number("arm64", "openat"))).toBe(ALLOW);
    expect(evaluate(arm, "arm64", number("arm64", "mount"))).toBe(errno(1));
    expect(evaluate(arm, "arm", number("arm", "cacheflush"))).toBe(ALLOW);
    expect(evaluate(arm, "arm", number("arm", "set_tls"))).toBe(ALLOW);
    expect(evaluate(arm, "arm", number("arm", "usr26"))).toBe(errno(1));
    expect(evaluate(arm, "arm", 0xf0100)).toBe(errno(38));
    expect(evaluate(arm, "arm", 1000)).toBe(errno(38));
    expect(evaluate(arm, "x64", 0)).toBe(KILL_PROCESS);
  });

  test("every call of the table has the outcome that the profile's rules give it, by brute force", () => {
    const resolved = resolveSeccomp(parseSeccompProfile(JSON.stringify(defaultSeccompProfile())), {
      arch: "x64",
      kernelVersion: "6.18.0",
      capabilities: [],
    });
    const allowed = new Set(
      resolved.syscalls
        .filter((rule) => rule.action === "SCMP_ACT_ALLOW" && !rule.args?.length)
        .flatMap((rule) => rule.names),
    );
    const special = new Set(
      resolved.syscalls
        .filter((rule) => rule.args?.length || rule.action !== "SCMP_ACT_ALLOW")
        .flatMap((rule) => rule.names),
    );
    for (const arch of ["x64", "x86"] as const) {
      for (const [name, nr] of syscallNumbers(arch)) {
        if (!special.has(name))
          expect([name, evaluate(filter, arch, nr)]).toEqual([name, allowed.has(name) ? ALLOW : errno(1)]);
      }
    }
  });
});

describe("comparisons, over 64 bits", () => {
  const cases: [op: string, value: number | bigint, valueTwo: number | bigint, holds: bigint[], fails: bigint[]][] = [
    ["SCMP_CMP_EQ", 0x1_0000_0002n, 0, [0x1_0000_0002n], [2n, 0x1_0000_0000n, 0x2_0000_0002n]],
    ["SCMP_CMP_NE", 0x1_0000_0002n, 0, [2n, 0x1_0000_0000n, 0n], [0x1_0000_0002n]],
    [
      "SCMP_CMP_LT",
      0x1_0000_0002n,
      0,
      [0n, 0xffff_ffffn, 0x1_0000_0001n],
      [0x1_0000_0002n, 0x1_0000_0003n, 0x2_0000_0000n],
    ],
    ["SCMP_CMP_LE", 0x1_0000_0002n, 0, [0xffff_ffffn, 0x1_0000_0002n], [0x1_0000_0003n, 0x2_0000_0000n]],
    ["SCMP_CMP_GT", 0x1_0000_0002n, 0, [0x1_0000_0003n, 0x2_0000_0000n], [0x1_0000_0002n, 0xffff_ffffn, 0n]],
    ["SCMP_CMP_GE", 0x1_0000_0002n, 0, [0x1_0000_0002n, 0x2_0000_0000n], [0x1_0000_0001n, 0xffff_ffffn]],
    ["SCMP_CMP_MASKED_EQ", 0x1_0000_00f0n, 0x10, [0x10n, 0x1fn, 0x2_0000_0010n], [0x20n, 0x1_0000_0010n, 0n]],
  ];
  test.each(cases)("%s", (op, value, valueTwo, holds, fails) => {
    const filter = compileSeccomp(
      profile({ syscalls: [{ names: ["read"], action: "SCMP_ACT_ALLOW", args: [{ index: 2, value, valueTwo, op }] }] }),
      "x64",
    );
    for (const arg of holds) expect([arg, evaluate(filter, "x64", 0, [0n, 0n, arg])]).toEqual([arg, ALLOW]);
    for (const arg of fails) expect([arg, evaluate(filter, "x64", 0, [0n, 0n, arg])]).toEqual([arg, errno(1)]);
  });

  test("all conditions of a rule must hold, any rule of a call suffices", () => {
    const equal = (index: number, value: number) => ({ index, value, op: "SCMP_CMP_EQ" });
    const filter = compileSeccomp(
      profile({
        syscalls: [
          { names: ["read"], action: "SCMP_ACT_ALLOW", args: [equal(0, 1), equal(1, 2)] },
          { names: ["read"], action: "SCMP_ACT_ERRNO", errnoRet: 5, args: [equal(0, 9)] },
        ],
      }),
      "x64",
    );
    expect(evaluate(filter, "x64", 0, [1n, 2n])).toBe(ALLOW);
    expect(evaluate(filter, "x64", 0, [1n, 3n])).toBe(errno(1));
    expect(evaluate(filter, "x64", 0, [9n])).toBe(errno(5));
  });

  test("several conditions on one argument are alternatives", () => {
    const equal = (value: number) => ({ index: 0, value, op: "SCMP_CMP_EQ" });
    const filter = compileSeccomp(
      profile({ syscalls: [{ names: ["read"], action: "SCMP_ACT_ALLOW", args: [equal(1), equal(2)] }] }),
      "x64",
    );
    expect([1n, 2n, 3n].map((arg) => evaluate(filter, "x64", 0, [arg]))).toEqual([ALLOW, ALLOW, errno(1)]);
  });
});

test("a profile that allows by default allows what is new, but never x32", () => {
  const filter = compileSeccomp(
    profile({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["chmod"], action: "SCMP_ACT_ERRNO" }] }),
    "x64",
  );
  expect(evaluate(filter, "x64", number("x64", "chmod"))).toBe(errno(1));
  expect(evaluate(filter, "x64", 5000)).toBe(ALLOW);
  expect(evaluate(filter, "x64", 0x40000000 + number("x64", "chmod"))).toBe(errno(38));
});

test("actions, and the errno they carry", () => {
  const result = (action: string, errnoRet?: number): number =>
    evaluate(
      compileSeccomp(
        profile({ syscalls: [{ names: ["read"], action, ...(errnoRet === undefined ? {} : { errnoRet }) }] }),
        "x64",
      ),
      "x64",
      0,
    );
  expect(result("SCMP_ACT_KILL")).toBe(0);
  expect(result("SCMP_ACT_KILL_PROCESS")).toBe(KILL_PROCESS);
  expect(result("SCMP_ACT_TRAP")).toBe(0x30000);
  expect(result("SCMP_ACT_LOG")).toBe(0x7ffc0000);
  expect(result("SCMP_ACT_TRACE", 7)).toBe(0x7ff00007);
  expect(result("SCMP_ACT_ERRNO", 38)).toBe(errno(38));
});

test("nonsense is refused, names that nobody knows are passed over", () => {
  expect(() => compileSeccomp(profile({ defaultAction: "SCMP_ACT_MAYBE" }), "x64")).toThrow('"SCMP_ACT_MAYBE"');
  const rule = (op: string, index = 0): OciSeccomp =>
    profile({ syscalls: [{ names: ["read"], action: "SCMP_ACT_ALLOW", args: [{ index, value: 1, op }] }] });
  expect(() => compileSeccomp(rule("SCMP_CMP_ROUGHLY"), "x64")).toThrow('"SCMP_CMP_ROUGHLY"');
  expect(() => compileSeccomp(rule("SCMP_CMP_EQ", 6), "x64")).toThrow("argument 6");
  const unknown = profile({ syscalls: [{ names: ["no_such_call"], action: "SCMP_ACT_ALLOW" }] });
  expect(evaluate(compileSeccomp(unknown, "x64"), "x64", 0)).toBe(errno(1));
  const args = Array.from({ length: 200 }, (_, index) => ({ index: 0, value: index, op: "SCMP_CMP_EQ" }));
  const names = [...syscallNumbers("x64").keys()].slice(0, 50);
  expect(() => compileSeccomp(profile({ syscalls: [{ names, action: "SCMP_ACT_ALLOW", args }] }), "x64")).toThrow(
    "the kernel takes 4096",
  );
});

test("equal profiles are compiled once", () => {
  const compile = createSeccompCompiler("x64");
  const one = profile({
    syscalls: [{ names: ["read"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, value: 1n, op: "SCMP_CMP_EQ" }] }],
  });
  expect(compile(one)).toBe(compile(one));
  expect(compile(structuredClone(one))).toBe(compile(one));
  expect(compile(profile())).not.toBe(compile(one));
});
