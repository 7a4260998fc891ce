// An OCI seccomp section to a classic BPF program, as seccomp(2) takes it. Pure. The filter's input is struct seccomp_data:
//
//   u32 nr | u32 arch | u64 instruction_pointer | u64 args[6]
//
// Rules are merged into ranges of numbers with one outcome each, and the ranges into a balanced tree of jge, one per
// architecture: a system call costs about nine instructions instead of hundreds. Numbers above those we know give ENOSYS,
// so that a C library falls back to what the profile's author knew. x32 is refused by the same rule: its numbers start
// at 0x40000000.
import type { OciSeccomp } from "../bundle.ts";
import { type SeccompArch, syscallNumbers } from "./syscall_numbers.ts";

/** AUDIT_ARCH_* (linux/audit.h), by the names that profiles use. x32 shares x86-64's and is not on offer. */
const ARCHITECTURES: Readonly<Record<string, { arch: SeccompArch; audit: number }>> = {
  SCMP_ARCH_X86_64: { arch: "x64", audit: 0xc000003e },
  SCMP_ARCH_X86: { arch: "x86", audit: 0x40000003 },
  SCMP_ARCH_AARCH64: { arch: "arm64", audit: 0xc00000b7 },
  SCMP_ARCH_ARM: { arch: "arm", audit: 0x40000028 },
};

const NATIVE = { x64: "SCMP_ARCH_X86_64", arm64: "SCMP_ARCH_AARCH64" } as const;

const RETURN = {
  KILL_THREAD: 0x00000000,
  KILL_PROCESS: 0x80000000,
  TRAP: 0x00030000,
  ERRNO: 0x00050000,
  TRACE: 0x7ff00000,
  LOG: 0x7ffc0000,
  ALLOW: 0x7fff0000,
} as const;

const EPERM = 1,
  ENOSYS = 38;
/** BPF_MAXINSNS. */
const MAX_INSTRUCTIONS = 4096;
/** Numbers from here on are arm's private calls (cacheflush, set_tls …), not new ones. */
const ARM_PRIVATE = 0x0f0000;

/** __X32_SYSCALL_BIT. */
const X32_BIT = 0x40000000;

/** One instruction: struct sock_filter. */
type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, k: number];

const LOAD = 0x20,
  JUMP = 0x05,
  JUMP_EQ = 0x15,
  JUMP_GT = 0x25,
  JUMP_GE = 0x35,
  AND = 0x54,
  RET = 0x06;
const OFFSET_NR = 0,
  OFFSET_ARCH = 4,
  OFFSET_ARGS = 16;

interface Condition {
  index: number;
  value: bigint;
  valueTwo: bigint;
  op: string;
}

interface Rule {
  action: number;
  conditions: Condition[];
}

/** Compiles a filter for this machine's architecture and those that the profile adds. Throws RangeError for nonsense. */
export function compileSeccomp(profile: OciSeccomp, native: "x64" | "arm64"): Uint8Array {
  const fallback = actionOf(profile.defaultAction, profile.defaultErrnoRet);
  const names = new Set<string>([NATIVE[native], ...(profile.architectures ?? [])]);
  const bodies = [...names].flatMap((name) => {
    const known = ARCHITECTURES[name];
    return known ? [{ audit: known.audit, code: bodyFor(profile, known.arch, fallback) }] : [];
  });
  const program: Instruction[] = [[LOAD, 0, 0, OFFSET_ARCH]];
  for (const { audit, code } of bodies) {
    // A conditional jump reaches 255 instructions; an unconditional one reaches all.
    program.push([JUMP_EQ, 1, 0, audit], [JUMP, 0, 0, code.length], ...code);
  }
  // A call by an architecture that the profile does not name, as libseccomp treats it.
  program.push(ret(RETURN.KILL_PROCESS));
  if (program.length > MAX_INSTRUCTIONS) {
    throw new RangeError(
      `the seccomp profile needs ${program.length} instructions, the kernel takes ${MAX_INSTRUCTIONS}`,
    );
  }
  return encode(program);
}

/** seccomp(2), by the names of the runtime-spec. */
const FLAGS: Readonly<Record<string, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC: 1,
  SECCOMP_FILTER_FLAG_LOG: 2,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 4,
};

export function seccompFlags(profile: OciSeccomp | undefined): number {
  return (profile?.flags ?? []).reduce((flags, name) => {
    const flag = Object.hasOwn(FLAGS, name) ? FLAGS[name] : undefined;
    if (flag === undefined) throw new RangeError(`unknown seccomp flag ${JSON.stringify(name)}`);
    return flags | flag;
  }, 0);
}

/** `SCMP_ACT_*` as the filter's return value. */
function actionOf(action: string, errno: number | undefined): number {
  const data = (errno ?? EPERM) & 0xffff;
  switch (action) {
    case "SCMP_ACT_ALLOW":
      return RETURN.ALLOW;
    case "SCMP_ACT_ERRNO":
      return RETURN.ERRNO | data;
    case "SCMP_ACT_KILL":
    case "SCMP_ACT_KILL_THREAD":
      return RETURN.KILL_THREAD;
    case "SCMP_ACT_KILL_PROCESS":
      return RETURN.KILL_PROCESS;
    case "SCMP_ACT_TRAP":
      return RETURN.TRAP;
    case "SCMP_ACT_LOG":
      return RETURN.LOG;
    case "SCMP_ACT_TRACE":
      return RETURN.TRACE | data;
    default:
      throw new RangeError(`unknown seccomp action ${JSON.stringify(action)}`);
  }
}

/** The rules of each call, in the profile's order. Names that this architecture does not have are passed over. */
function rulesByNumber(profile: OciSeccomp, numbers: Map<string, number>, fallback: number): Map<number, Rule[]> {
  const rules = new Map<number, Rule[]>();
  for (const { names, action, errnoRet, args } of profile.syscalls) {
    const result = actionOf(action, errnoRet);
    // What the default does anyway needs no rule, and must not stand in the way of a later one.
    if (result === fallback) continue;
    const alternatives = conditionsOf(args ?? []);
    for (const name of names) {
      const number = numbers.get(name);
      if (number === undefined) continue;
      const list = rules.get(number) ?? [];
      if (list.length === 0) rules.set(number, list);
      for (const conditions of alternatives) list.push({ action: result, conditions });
    }
  }
  return rules;
}

/** The conditions of one entry: all must hold; but of several on one argument, as with libseccomp under runc, any. */
function conditionsOf(args: NonNullable<OciSeccomp["syscalls"][number]["args"]>): Condition[][] {
  const conditions = args.map(({ index, value, valueTwo, op }) => {
    if (!Number.isInteger(index) || index < 0 || index > 5)
      throw new RangeError(`no system call has an argument ${index}`);
    return { index, value: BigInt.asUintN(64, BigInt(value)), valueTwo: BigInt.asUintN(64, BigInt(valueTwo ?? 0)), op };
  });
  const repeated = new Set(conditions.map(({ index }) => index)).size < conditions.length;
  return repeated ? conditions.map((condition) => [condition]) : [conditions];
}

/** The tree of one architecture, with the load of the number before it. */
function bodyFor(profile: OciSeccomp, arch: SeccompArch, fallback: number): Instruction[] {
  const numbers = syscallNumbers(arch);
  const rules = rulesByNumber(profile, numbers, fallback);
  const highest = Math.max(...[...numbers.values()].filter((number) => number < ARM_PRIVATE));
  // A profile that allows by default allows what is new as well.
  const isDenial = fallback !== RETURN.ALLOW && fallback !== RETURN.LOG;
  const unknown = isDenial ? RETURN.ERRNO | ENOSYS : fallback;
  const ranges: { start: number; code: Instruction[]; key: string }[] = [];
  const add = (start: number, code: Instruction[], key: string): void => {
    if (ranges.at(-1)?.key !== key) ranges.push({ start, code, key });
  };
  const addNumber = (number: number): void => {
    const { code, key } = outcome(rules.get(number), fallback, number);
    add(number, code, key);
  };
  for (let number = 0; number <= highest; number++) addNumber(number);
  add(highest + 1, [ret(unknown)], `ret ${unknown}`);
  const privates = [...numbers.values()].filter((number) => number >= ARM_PRIVATE).sort((a, b) => a - b);
  for (const number of privates) addNumber(number);
  const last = privates.at(-1);
  if (last !== undefined) add(last + 1, [ret(unknown)], `ret ${unknown}`);
  // Also where the default is to allow: x32 has numbers of its own, past every rule about x86-64's.
  if (arch === "x64") add(X32_BIT, [ret(RETURN.ERRNO | ENOSYS)], `ret ${RETURN.ERRNO | ENOSYS}`);
  return [[LOAD, 0, 0, OFFSET_NR], ...tree(ranges)];
}

/** What happens to one call: a return, or its conditions in turn. Equal keys mean equal code. */
function outcome(rules: Rule[] | undefined, fallback: number, number: number): { code: Instruction[]; key: string } {
  const last = rules?.find(({ conditions }) => conditions.length === 0)?.action ?? fallback;
  const conditional = (rules ?? []).filter(({ conditions, action }) => conditions.length > 0 && action !== last);
  const code = conditional.reduceRight<Instruction[]>(
    (rest, { conditions, action }) => [...ifAll(conditions, [ret(action)]), ...rest],
    [ret(last)],
  );
  return { code, key: conditional.length === 0 ? `ret ${last}` : `call ${number}` };
}

/** A balanced search: jge the middle's start, then the upper half behind the lower. */
function tree(ranges: { start: number; code: Instruction[] }[]): Instruction[] {
  const [first] = ranges;
  if (ranges.length === 1 && first) return first.code;
  const middle = ranges.length >> 1;
  const low = tree(ranges.slice(0, middle)),
    high = tree(ranges.slice(middle));
  const start = ranges[middle]?.start ?? 0;
  if (low.length <= 255) return [[JUMP_GE, low.length, 0, start], ...low, ...high];
  return [[JUMP_GE, 0, 1, start], [JUMP, 0, 0, low.length], ...low, ...high];
}

/** `then` when every condition holds; otherwise goes on behind it. Arguments are 64-bit, BPF's words 32: high word first. */
function ifAll(conditions: readonly Condition[], then: Instruction[]): Instruction[] {
  return conditions.reduceRight((rest, condition) => [...test(condition, rest.length), ...rest], then);
}

/** Falls through when the condition holds, and skips `skip` instructions behind the test when not. */
function test({ index, value, valueTwo, op }: Condition, skip: number): Instruction[] {
  const low = OFFSET_ARGS + index * 8,
    high = low + 4;
  const valueHigh = Number(value >> 32n),
    valueLow = Number(value & 0xffffffffn);
  switch (op) {
    case "SCMP_CMP_EQ":
      return [
        [LOAD, 0, 0, high],
        [JUMP_EQ, 0, skip + 2, valueHigh],
        [LOAD, 0, 0, low],
        [JUMP_EQ, 0, skip, valueLow],
      ];
    case "SCMP_CMP_NE":
      return [
        [LOAD, 0, 0, high],
        [JUMP_EQ, 0, 2, valueHigh],
        [LOAD, 0, 0, low],
        [JUMP_EQ, skip, 0, valueLow],
      ];
    case "SCMP_CMP_MASKED_EQ": {
      // `value` is the mask, `valueTwo` what must be left.
      const wantHigh = Number(valueTwo >> 32n),
        wantLow = Number(valueTwo & 0xffffffffn);
      return [
        [LOAD, 0, 0, high],
        [AND, 0, 0, valueHigh],
        [JUMP_EQ, 0, skip + 3, wantHigh],
        [LOAD, 0, 0, low],
        [AND, 0, 0, valueLow],
        [JUMP_EQ, 0, skip, wantLow],
      ];
    }
    case "SCMP_CMP_LT":
    case "SCMP_CMP_LE": {
      // The high word greater: no. Less: yes. Equal: the low word decides.
      const decide = op === "SCMP_CMP_LT" ? JUMP_GE : JUMP_GT;
      return [
        [LOAD, 0, 0, high],
        [JUMP_GT, skip + 3, 0, valueHigh],
        [JUMP_EQ, 0, 2, valueHigh],
        [LOAD, 0, 0, low],
        [decide, skip, 0, valueLow],
      ];
    }
    case "SCMP_CMP_GT":
    case "SCMP_CMP_GE": {
      const decide = op === "SCMP_CMP_GT" ? JUMP_GT : JUMP_GE;
      return [
        [LOAD, 0, 0, high],
        [JUMP_GT, 3, 0, valueHigh],
        [JUMP_EQ, 0, skip + 2, valueHigh],
        [LOAD, 0, 0, low],
        [decide, 0, skip, valueLow],
      ];
    }
    default:
      throw new RangeError(`unknown seccomp comparison ${JSON.stringify(op)}`);
  }
}

function ret(value: number): Instruction {
  return [RET, 0, 0, value];
}

/** struct sock_filter {u16 code, u8 jt, u8 jf, u32 k}. */
function encode(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach(([code, ifTrue, ifFalse, k], index) => {
    if (ifTrue > 255 || ifFalse > 255) throw new RangeError("a seccomp rule with too many conditions");
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, ifTrue);
    view.setUint8(index * 8 + 3, ifFalse);
    view.setUint32(index * 8 + 4, k >>> 0, true);
  });
  return bytes;
}

/** As many distinct filters as are kept: a daemon sees one per set of capabilities, and a few of its users' own. */
const FILTERS_KEPT = 64;

/** A compiler that remembers: the same profile, or an equal one, is compiled once. */
export function createSeccompCompiler(native: "x64" | "arm64"): (profile: OciSeccomp) => Uint8Array {
  const byObject = new WeakMap<OciSeccomp, Uint8Array>();
  const byText = new Map<string, Uint8Array>();
  return (profile) => {
    const known = byObject.get(profile);
    if (known) return known;
    const text = JSON.stringify(profile, (_key, value) => (typeof value === "bigint" ? value.toString() : value));
    let filter = byText.get(text);
    if (!filter) {
      filter = compileSeccomp(profile, native);
      const oldest = byText.size >= FILTERS_KEPT ? byText.keys().next().value : undefined;
      if (oldest !== undefined) byText.delete(oldest);
      byText.set(text, filter);
    }
    byObject.set(profile, filter);
    return filter;
  };
}
