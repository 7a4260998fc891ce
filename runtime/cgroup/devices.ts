// Device rules: to the lines that cgroup v1 takes, and to the eBPF program that cgroup v2 asks on each open and mknod of a
// device (BPF_PROG_TYPE_CGROUP_DEVICE; the layouts are in linux/bpf.h). Pure; cgroup.ts writes, sys/bpf.ts loads. In both,
// the last rule that matches wins.
import type { OciDeviceRule } from "../bundle.ts";

const ALL = "rwm";

/**
 * The rules in the shortest form that means the same: what stands before a rule about everything is dropped, and where no
 * such rule stands, everything is denied first. So the first rule always says what holds for what no other names.
 */
export function normalizeDeviceRules(rules: readonly OciDeviceRule[]): OciDeviceRule[] {
  const last = rules.findLastIndex(
    (rule) => rule.type === "a" && isFull(rule) && isAny(rule.major) && isAny(rule.minor),
  );
  if (last >= 0) return rules.slice(last);
  return [{ allow: false, type: "a", access: ALL }, ...rules];
}

/** v1: writes for devices.deny and devices.allow, in order. */
export function deviceLines(rules: readonly OciDeviceRule[]): { file: string; values: string[] }[] {
  const lines: { file: string; values: string[] }[] = [];
  for (const rule of normalizeDeviceRules(rules)) {
    const file = rule.allow ? "devices.allow" : "devices.deny";
    // The kernel takes "a" for everything; a rule "a" with numbers stands for a character and a block rule.
    const types =
      rule.type === "a" && !(isAny(rule.major) && isAny(rule.minor) && isFull(rule)) ? ["c", "b"] : [rule.type];
    const values = types.map((type) =>
      type === "a" ? "a" : `${type} ${star(rule.major)}:${star(rule.minor)} ${rule.access || ALL}`,
    );
    const previous = lines.at(-1);
    if (previous?.file === file) previous.values.push(...values);
    else lines.push({ file, values });
  }
  return lines;
}

const isAny = (number: number | undefined): boolean => number === undefined || number < 0;
const isFull = (rule: OciDeviceRule): boolean => accessBits(rule.access) === 7;
const star = (number: number | undefined): string => (isAny(number) ? "*" : String(number));

/** BPF_DEVCG_ACC_MKNOD, READ and WRITE. */
function accessBits(access: string): number {
  if (access === "") return 7;
  return (access.includes("m") ? 1 : 0) | (access.includes("r") ? 2 : 0) | (access.includes("w") ? 4 : 0);
}

const DEVICE_BLOCK = 1,
  DEVICE_CHARACTER = 2;

/** One eBPF instruction: opcode, destination and source register, jump offset, immediate. */
interface Instruction {
  op: number;
  dst?: number;
  src?: number;
  off?: number;
  imm?: number;
}

const LOAD_WORD = 0x61; // dst = *(u32 *)(src + off)
const MOV_REG = 0xbc; // dst = (u32)src
const MOV = 0xb4; // dst = imm
const AND = 0x54; // dst &= imm
const SHIFT_RIGHT = 0x74; // dst >>= imm
const JUMP_EQUAL = 0x15; // if dst == imm goto +off
const JUMP_NOT_EQUAL = 0x55; // if dst != imm goto +off
const EXIT = 0x95;
const RESULT = 0,
  CONTEXT = 1,
  ACCESS = 2,
  TYPE = 3,
  MAJOR = 4,
  MINOR = 5,
  SCRATCH = 1;

/**
 * v2: the program. It loads the four facts of struct bpf_cgroup_dev_ctx {u32 access_type; u32 major; u32 minor} (the type
 * is the lower half of access_type), then tries the rules from the last to the first:
 *
 *     if type != c goto next
 *     if access & ~(rule's access) goto next
 *     if major != M goto next; if minor != N goto next
 *     return 1 (allow) or 0
 *   next: …
 *
 * The first rule has no condition (normalizeDeviceRules), so the last instructions are reached and always answer.
 */
export function deviceProgram(rules: readonly OciDeviceRule[]): Uint8Array<ArrayBuffer> {
  const program: Instruction[] = [
    { op: LOAD_WORD, dst: ACCESS, src: CONTEXT, off: 0 },
    { op: MOV_REG, dst: TYPE, src: ACCESS },
    { op: AND, dst: TYPE, imm: 0xffff },
    { op: SHIFT_RIGHT, dst: ACCESS, imm: 16 },
    { op: LOAD_WORD, dst: MAJOR, src: CONTEXT, off: 4 },
    { op: LOAD_WORD, dst: MINOR, src: CONTEXT, off: 8 },
  ];
  for (const rule of normalizeDeviceRules(rules).reverse()) {
    const verdict = rule.allow ? 1 : 0;
    const body: Instruction[] = [{ op: MOV, dst: RESULT, imm: verdict }, { op: EXIT }];
    const conditions = ruleConditions(rule);
    // Each failed condition jumps to just behind the rule's exit.
    conditions.forEach((instruction, index) => {
      const isJump = instruction.op === JUMP_NOT_EQUAL || instruction.op === JUMP_EQUAL;
      if (isJump) instruction.off = conditions.length - index - 1 + body.length;
    });
    program.push(...conditions, ...body);
  }
  return encode(program);
}

function ruleConditions(rule: OciDeviceRule): Instruction[] {
  const conditions: Instruction[] = [];
  if (rule.type !== "a") {
    conditions.push({ op: JUMP_NOT_EQUAL, dst: TYPE, imm: rule.type === "b" ? DEVICE_BLOCK : DEVICE_CHARACTER });
  }
  // An access may ask for several bits at once. A rule that allows must cover all of them, one that denies need share one.
  const bits = accessBits(rule.access);
  if (bits !== 7) {
    const masked = rule.allow ? 7 & ~bits : bits;
    conditions.push({ op: MOV_REG, dst: SCRATCH, src: ACCESS }, { op: AND, dst: SCRATCH, imm: masked });
    conditions.push({ op: rule.allow ? JUMP_NOT_EQUAL : JUMP_EQUAL, dst: SCRATCH, imm: 0 });
  }
  if (!isAny(rule.major)) conditions.push({ op: JUMP_NOT_EQUAL, dst: MAJOR, imm: rule.major ?? 0 });
  if (!isAny(rule.minor)) conditions.push({ op: JUMP_NOT_EQUAL, dst: MINOR, imm: rule.minor ?? 0 });
  return conditions;
}

/** struct bpf_insn {u8 code; u8 dst:4, src:4; s16 off; s32 imm}. */
function encode(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(program.length * 8));
  const view = new DataView(bytes.buffer);
  program.forEach(({ op, dst = 0, src = 0, off = 0, imm = 0 }, index) => {
    view.setUint8(index * 8, op);
    view.setUint8(index * 8 + 1, dst | (src << 4));
    view.setInt16(index * 8 + 2, off, true);
    view.setInt32(index * 8 + 4, imm, true);
  });
  return bytes;
}
