// The shim's exit record, as its pipe and its file hold it (runtime/program/descriptors.ts).

/** With what the shim's buffer holds behind it. */
export function exitRecord(status: number): Uint8Array {
  const bytes = new Uint8Array(176);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, status, true);
  view.setBigInt64(16, 1_700_000_000n, true);
  view.setBigInt64(24, 987_654_321n, true);
  return bytes;
}
