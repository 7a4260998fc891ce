// bzip2 and xz by the tools that hosts have for them. WHY: nobody compresses images so any more, and a user who imports an
// old archive has its tool; dockerd asks the host's xz too. A decoder of our own would be code that hostile bytes meet and
// hardly anybody needs, and a tool is a process of its own, with its memory bounded.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { LayerError } from "./layer_error.ts";

type Tool = "bzip2" | "xz";

/** xz -9 needs 65 MiB to decompress; an archive may ask for 4 GiB. bzip2 never needs more than 4 MiB. */
const ARGUMENTS: Readonly<Record<Tool, readonly string[]>> = {
  bzip2: ["-d", "-c", "-q"],
  xz: ["-d", "-c", "-q", "--memlimit-decompress=256MiB"],
};
/** What is kept of a tool's complaints. */
const MAX_COMPLAINT_CHARACTERS = 1000;

/** Throws LayerError where the tool is missing, and for what it refuses. It is ended with the reading. */
export async function* decompressByTool(tool: Tool, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const child = spawn(tool, [...ARGUMENTS[tool]], { stdio: ["pipe", "pipe", "pipe"] });
  const closed = new Promise<{ code: number | null; error: Error | null }>((resolve) => {
    child.once("error", (error) => resolve({ code: null, error }));
    child.once("close", (code) => resolve({ code, error: null }));
  });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    if (complaint.length < MAX_COMPLAINT_CHARACTERS) complaint += text;
  });
  let sourceError: unknown;
  // A tool that has given up reads no further: what it says in the end is what counts.
  child.stdin.on("error", () => undefined);
  const feeding = feed(child.stdin, source, closed).catch((error: unknown) => {
    sourceError = error ?? new Error("the archive cannot be read");
    child.kill("SIGKILL");
  });
  try {
    for await (const chunk of child.stdout) yield chunk as Uint8Array;
    const { code, error } = await closed;
    if (sourceError !== undefined) throw sourceError;
    if (error !== null) throw missing(tool, error);
    if (code !== 0)
      throw new LayerError(`the ${tool} data is damaged: ${complaint.trim() || `${tool} ended with ${code}`}`);
  } finally {
    child.kill("SIGKILL");
    await closed;
    await feeding;
  }
}

function missing(tool: Tool, cause: Error): Error {
  const isMissing = (cause as NodeJS.ErrnoException).code === "ENOENT";
  const why = isMissing ? `there is no ${tool} on this host's PATH` : cause.message;
  return new LayerError(`${tool} compression cannot be undone: ${why}`, { cause });
}

async function feed(
  stdin: NodeJS.WritableStream & { destroyed: boolean },
  source: AsyncIterable<Uint8Array>,
  closed: Promise<unknown>,
): Promise<void> {
  let isClosed = false;
  void closed.then(() => {
    isClosed = true;
  });
  for await (const chunk of source) {
    if (isClosed || stdin.destroyed) return;
    if (!stdin.write(chunk)) await Promise.race([once(stdin, "drain").catch(() => undefined), closed]);
  }
  stdin.end();
}
