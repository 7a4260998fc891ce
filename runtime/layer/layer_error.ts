// LayerError: the bytes of a layer or an archive are wrong (damaged, truncated, hostile, of an unknown kind). Whoever sent
// them is at fault; SyscallError says the same of this machine.

export class LayerError extends Error {
  override readonly name = "LayerError";
}
