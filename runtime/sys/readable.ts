// A descriptor as a stream: the event loop waits for it, and no thread does. The one place that needs Bun for it: Deno
// waits only for descriptors that it has opened itself.
import { SyscallError } from "../errors.ts";
import { E } from "./errno.ts";
import type { Fd } from "./fd.ts";

export type DescriptorReader = ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;

/** Reads a pipe or an eventfd to its end. The descriptor stays the caller's, who cancels before closing it. */
export function readerOf(fd: Fd): DescriptorReader {
  if (typeof Bun === "undefined") throw new SyscallError("read", E.ENOSYS, { runtime: "this needs Bun" });
  return Bun.file(fd.number).stream().getReader();
}
