// Reading a container: attach and logs, with the checks that come before either. What they do is attach.ts and logs.ts.
import type { LogReader } from "../../../runtime/mod.ts";
import { conflict } from "../../errors.ts";
import type { AttachOptions, ByteStream, LogQuery } from "../mod.ts";
import { prepareAttach } from "./attach.ts";
import type { ContainersDeps } from "./deps.ts";
import { readableLogOf } from "./log_of.ts";
import { readLogs } from "./logs.ts";
import type { Live } from "./registry.ts";

export function attach(
  deps: ContainersDeps,
  nameOrID: string,
  options: AttachOptions,
): { hasTerminal: boolean; run(stream: ByteStream): Promise<void> } {
  const live = deps.registry.get(nameOrID);
  const { config, state } = live.record;
  if (state.status === "paused") {
    throw conflict(`container ${nameOrID} is paused, unpause the container before attach`);
  }
  if (state.status === "restarting") {
    throw conflict(`container ${nameOrID} is restarting, wait until the container is running`);
  }
  const run = prepareAttach(
    {
      slot: live.slot,
      config: { isTTY: config.Tty, isStdinOpen: config.OpenStdin, isStdinOnce: config.StdinOnce },
      reader: () => readerOf(deps, live),
      writer: () => live.run?.log ?? null,
      detachKeys: "",
      onDetach: () => deps.machine.announce(live, { action: "detach" }),
    },
    options,
  );
  deps.machine.announce(live, { action: "attach" });
  return { hasTerminal: config.Tty, run };
}

export function logs(
  deps: ContainersDeps,
  nameOrID: string,
  query: LogQuery,
  signal: AbortSignal,
): { hasTerminal: boolean; chunks: AsyncIterable<Uint8Array> } {
  const live = deps.registry.get(nameOrID);
  const { status } = live.record.state;
  if (status === "dead" || status === "removing") {
    throw conflict("can not get logs from container which is dead or marked for removal");
  }
  const hasTerminal = live.record.config.Tty;
  const { ended } = live.slot;
  return { hasTerminal, chunks: readLogs(readerOf(deps, live), query, { isFramed: !hasTerminal, ended }, signal) };
}

function readerOf(deps: ContainersDeps, live: Live): LogReader | null {
  return readableLogOf(deps, live.record, live.run?.log ?? null);
}
