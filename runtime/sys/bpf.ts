// bpf(2), as far as a cgroup's device filter needs it. Layouts: union bpf_attr in linux/bpf.h.
import { SyscallError } from "../errors.ts";
import { E } from "./errno.ts";
import { Fd } from "./fd.ts";
import { addressOf, alloc, check, cstr, syscall } from "./ffi.ts";

const PROG_LOAD = 5,
  PROG_ATTACH = 8,
  PROG_GET_FD_BY_ID = 13,
  PROG_QUERY = 16;
const PROG_TYPE_CGROUP_DEVICE = 15;
const ATTACH_CGROUP_DEVICE = 6;
const ALLOW_MULTI = 2,
  REPLACE = 4;
const LOG_BYTES = 64 << 10;
/** A cgroup has one device program of ours; a few more may have been put there by others. */
const MAX_ATTACHED = 64;

/** Loads a program for cgroup device checks. A refusal by the verifier carries the end of its log. */
export function loadDeviceProgram(instructions: Uint8Array): Fd {
  const license = cstr("Apache-2.0");
  const code = alloc(instructions.length);
  code.set(instructions);
  const attr = alloc(128);
  const view = new DataView(attr.buffer);
  view.setUint32(0, PROG_TYPE_CGROUP_DEVICE, true);
  view.setUint32(4, instructions.length / 8, true);
  view.setBigUint64(8, BigInt(addressOf(code)), true);
  view.setBigUint64(16, BigInt(addressOf(license)), true);
  view.setUint32(68, ATTACH_CGROUP_DEVICE, true); // expected_attach_type
  // SAFETY: `attr` is 128 bytes, zero beyond the fields set; `code` and `license` are referenced below, after the call.
  const result = syscall("bpf", PROG_LOAD, attr, 128);
  if (result >= 0) return new Fd(result);
  const log = alloc(LOG_BYTES);
  view.setUint32(24, 1, true); // log_level
  view.setUint32(28, LOG_BYTES, true);
  view.setBigUint64(32, BigInt(addressOf(log)), true);
  // SAFETY: as above; `log` is LOG_BYTES long and is read below.
  const second = syscall("bpf", PROG_LOAD, attr, 128);
  if (second >= 0) return new Fd(second);
  const text = new TextDecoder().decode(log.subarray(0, log.indexOf(0))).trim();
  const context = { instructions: code.length / 8, license: license.length, log: text.slice(-300) };
  throw new SyscallError("bpf BPF_PROG_LOAD", -result, context);
}

/** Makes a program the device filter of a cgroup, in place of the one that is there: atomically, with no gap. */
export function attachDeviceProgram(cgroup: Fd, program: Fd): void {
  using previous = attachedDeviceProgram(cgroup);
  const attr = alloc(20);
  const view = new DataView(attr.buffer);
  view.setUint32(0, cgroup.number, true); // target_fd
  view.setUint32(4, program.number, true); // attach_bpf_fd
  view.setUint32(8, ATTACH_CGROUP_DEVICE, true);
  view.setUint32(12, previous ? ALLOW_MULTI | REPLACE : ALLOW_MULTI, true);
  if (previous) view.setUint32(16, previous.number, true); // replace_bpf_fd
  // SAFETY: `attr` is 20 bytes, the size passed.
  check("bpf", [PROG_ATTACH, attr, 20], { command: "BPF_PROG_ATTACH" });
}

/** The device program attached to this cgroup itself, if any. */
function attachedDeviceProgram(cgroup: Fd): Fd | null {
  const ids = alloc(MAX_ATTACHED * 4);
  const attr = alloc(32);
  const view = new DataView(attr.buffer);
  view.setUint32(0, cgroup.number, true);
  view.setUint32(4, ATTACH_CGROUP_DEVICE, true);
  view.setBigUint64(16, BigInt(addressOf(ids)), true); // prog_ids
  view.setUint32(24, MAX_ATTACHED, true); // prog_cnt, in and out
  // SAFETY: `attr` is 32 bytes, the size passed; `ids` has room for prog_cnt numbers and is read below.
  check("bpf", [PROG_QUERY, attr, 32], { command: "BPF_PROG_QUERY" });
  if (view.getUint32(24, true) === 0) return null;
  const byID = alloc(16);
  new DataView(byID.buffer).setUint32(0, new DataView(ids.buffer).getUint32(0, true), true);
  // SAFETY: `byID` is 16 bytes, more than the 12 passed.
  const result = syscall("bpf", PROG_GET_FD_BY_ID, byID, 12);
  if (result === -E.ENOENT) return null;
  if (result < 0) throw new SyscallError("bpf BPF_PROG_GET_FD_BY_ID", -result);
  return new Fd(result);
}
