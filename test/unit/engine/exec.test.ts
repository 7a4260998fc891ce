// Exec sessions over the fake runtime: from create to what is left of them afterwards.
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import type { ByteStream } from "../../../src/engine/mod.ts";
import { EngineError } from "../../../src/errors.ts";
import { EXEC_KEPT_MS } from "../../../src/limits.ts";
import { ExecCreate } from "../../../src/schema/exec.ts";
import { createRoom, type Room, until } from "../../support/engine_room.ts";

const exec = (body: Record<string, unknown>) => v.parse(ExecCreate, { Cmd: ["sleep"], ...body });
const START = { Detach: false, Tty: false, ConsoleSize: [] };

async function running(room: Room): Promise<string> {
  const id = await room.create({ Cmd: ["sleep"], Env: ["A=1"], WorkingDir: "/w" });
  await room.containers.start(id);
  return id;
}

async function refusal(work: () => Promise<unknown>): Promise<[string, string]> {
  try {
    await work();
  } catch (error) {
    if (error instanceof EngineError) return [error.kind, error.message];
    throw error;
  }
  return ["none", ""];
}

/** A client that sends nothing and keeps what it is sent. */
function listener(): { stream: ByteStream; received: Uint8Array[]; isClosed: () => boolean } {
  const received: Uint8Array[] = [];
  let isClosed = false;
  const stream: ByteStream = {
    read: () => new Promise(() => {}),
    write: (bytes) => void received.push(bytes.slice()),
    closeWrite: () => {
      isClosed = true;
    },
    destroy: () => {},
    onGone: () => {},
  };
  return { stream, received, isClosed: () => isClosed };
}

describe("create", () => {
  test("is refused without a command, and on a container that does not run", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"] });
    expect(await refusal(() => room.exec.create(id, exec({ Cmd: [] })))).toEqual([
      "invalid",
      "No exec command specified",
    ]);
    expect(await refusal(() => room.exec.create(id, exec({})))).toEqual(["conflict", `container ${id} is not running`]);
    await room.containers.start(id);
    await room.containers.pause(id);
    expect(await refusal(() => room.exec.create(id, exec({})))).toEqual([
      "conflict",
      `Container ${id} is paused, unpause the container before exec`,
    ]);
    expect(await refusal(() => room.exec.create("nope", exec({})))).toEqual(["notFound", "No such container: nope"]);
  });
});

describe("start", () => {
  test("runs in the container's environment, with the session's own on top", async () => {
    await using room = await createRoom();
    const container = await running(room);
    const { id } = await room.exec.create(
      container,
      exec({ Env: ["A=2", "B=3"], Tty: true, User: "u", ConsoleSize: [10, 20] }),
    );
    await room.exec.startDetached(id, START);
    const request = room.runtime.execs[0]?.request;
    expect(request).toMatchObject({ cwd: "/w", user: "u", terminal: { rows: 10, columns: 20 }, hasStdin: false });
    expect(request?.env).toContain("A=2");
    expect(request?.env).toContain("B=3");
    expect(request?.env).toContain("TERM=xterm");
    expect(room.exec.get(id)).toMatchObject({ isRunning: true, exitCode: null });
    expect(room.containers.execIDs(container)).toEqual([id]);
  });

  test("happens once", async () => {
    await using room = await createRoom();
    const container = await running(room);
    const { id } = await room.exec.create(container, exec({}));
    await room.exec.startDetached(id, START);
    expect(await refusal(() => room.exec.startDetached(id, START))).toEqual([
      "conflict",
      `exec command ${id} is already running`,
    ]);
    room.runtime.execs[0]?.task.end(3);
    await until(() => !room.exec.get(id).isRunning);
    expect(room.exec.get(id).exitCode).toBe(3);
    expect(await refusal(() => room.exec.startAttached(id, START))).toEqual([
      "conflict",
      `exec command ${id} has already run`,
    ]);
  });

  test("tells of its steps with the command and the code", async () => {
    await using room = await createRoom();
    const container = await running(room);
    const { id } = await room.exec.create(container, exec({ Cmd: ["exit", "4"] }));
    await room.exec.startDetached(id, START);
    await until(() => room.story.at(-1) === "container exec_die");
    expect(room.story.slice(-3)).toEqual([
      "container exec_create: exit 4",
      "container exec_start: exit 4",
      "container exec_die",
    ]);
  });

  test("of what is not there is told in the stream, framed, and leaves code 127", async () => {
    await using room = await createRoom();
    const container = await running(room);
    const { id } = await room.exec.create(container, exec({ Cmd: ["nope"] }));
    const session = await room.exec.startAttached(id, START);
    const client = listener();
    await session.run(client.stream);
    const [head, text] = client.received;
    expect(head?.[0]).toBe(1);
    expect(new TextDecoder().decode(text)).toBe(
      'OCI runtime exec failed: exec failed: unable to start container process: exec: "nope": executable file not found in $PATH\r\n',
    );
    expect(client.isClosed()).toBe(true);
    expect(room.exec.get(id)).toMatchObject({ isRunning: false, exitCode: 127 });
  });

  test("of what is not there, detached, is a 400", async () => {
    await using room = await createRoom();
    const container = await running(room);
    const { id } = await room.exec.create(container, exec({ Cmd: ["nope"] }));
    expect((await refusal(() => room.exec.startDetached(id, START)))[0]).toBe("invalid");
  });

  test("knows its exit code when the client sees the end", async () => {
    await using room = await createRoom();
    const container = await running(room);
    const { id } = await room.exec.create(container, exec({ AttachStdout: true, Cmd: ["exit", "6"] }));
    const client = listener();
    const session = await room.exec.startAttached(id, START);
    await session.run(client.stream);
    expect(room.exec.get(id).exitCode).toBe(6);
  });

  test("is over when its client has gone before the connection could be taken", async () => {
    await using room = await createRoom();
    const container = await running(room);
    const { id } = await room.exec.create(container, exec({ Cmd: ["true"] }));
    const session = await room.exec.startAttached(id, START);
    session.abandon?.();
    expect(room.exec.get(id)).toMatchObject({ isRunning: false, exitCode: 126 });
  });
});

test("the end of the container is the end of its sessions", async () => {
  await using room = await createRoom();
  const container = await running(room);
  const { id } = await room.exec.create(container, exec({}));
  await room.exec.startDetached(id, START);
  await room.containers.kill(container, null);
  await until(() => !room.exec.get(id).isRunning);
  expect(room.exec.get(id).exitCode).toBe(137);
  await room.containers.remove(container, { force: false, volumes: false, link: false });
  expect(await refusal(async () => room.exec.get(id))).toEqual(["notFound", `No such exec instance: ${id}`]);
});

test("a session that has ended can be read for five minutes", async () => {
  await using room = await createRoom();
  const container = await running(room);
  const { id } = await room.exec.create(container, exec({ Cmd: ["true"] }));
  await room.exec.startDetached(id, START);
  await until(() => !room.exec.get(id).isRunning);
  room.clock.advance(EXEC_KEPT_MS - 1);
  await room.exec.create(container, exec({}));
  expect(room.exec.get(id).exitCode).toBe(0);
  room.clock.advance(2);
  await room.exec.create(container, exec({}));
  expect((await refusal(async () => room.exec.get(id)))[0]).toBe("notFound");
});

test("resize reaches the terminal, and is a conflict on what does not run", async () => {
  await using room = await createRoom();
  const container = await running(room);
  const { id } = await room.exec.create(container, exec({ Tty: true }));
  expect((await refusal(() => room.exec.resize(id, 1, 2)))[0]).toBe("conflict");
  await room.exec.startDetached(id, START);
  await room.exec.resize(id, 3, 4);
  expect(room.runtime.execs[0]?.task.sizes).toEqual([[3, 4]]);
});
