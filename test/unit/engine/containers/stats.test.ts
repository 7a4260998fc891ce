// The sampler: one for all listeners, at work only while there are some, newest samples only.
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { EndpointSettings } from "../../../../src/schema/network.ts";
import type { StatsFrame } from "../../../../src/engine/mod.ts";
import { createRoom, type Room, until } from "../../../support/engine_room.ts";

const SECOND = 1000;

async function running(room: Room, body: Record<string, unknown> = {}): Promise<{ id: string; asked: () => number }> {
  const id = await room.create({ Cmd: ["sleep"], ...body });
  await room.containers.start(id);
  return { id, asked: () => taskOf(room, id).cgroup.asked };
}

function taskOf(room: Room, id: string) {
  const task = room.runtime.tasks.get(id);
  if (task === undefined) throw new Error(`no task ${id}`);
  return task;
}

/** A client: the frames it takes one by one, and its leaving. */
function client(room: Room, id: string) {
  const gone = new AbortController();
  const frames = room.containers.followStats(id, gone.signal)[Symbol.asyncIterator]();
  const next = async (): Promise<StatsFrame> => {
    const { value, done } = await frames.next();
    if (done === true) throw new Error("the stream has ended");
    return value;
  };
  return { frames, next, leave: () => gone.abort() };
}

const usage = ({ sample, previous }: StatsFrame) => [
  previous?.counters.cpuTotalNs ?? null,
  sample?.counters.cpuTotalNs ?? null,
];
const ms = (count: number): number => count * 1_000_000;

describe("followers", () => {
  test("share one sample a second, and each is told what it had before", async () => {
    await using room = await createRoom();
    const { id, asked } = await running(room);
    const [one, two] = [client(room, id), client(room, id)];
    expect(usage(await one.next())).toEqual([null, ms(1)]);
    expect(usage(await two.next())).toEqual([null, ms(1)]);
    room.clock.advance(SECOND);
    expect(usage(await one.next())).toEqual([ms(1), ms(2)]);
    expect(usage(await two.next())).toEqual([ms(1), ms(2)]);
    expect(asked()).toBe(2);
    one.leave();
    two.leave();
    expect(await one.frames.next()).toMatchObject({ done: true });
    expect(await two.frames.next()).toMatchObject({ done: true });
    expect(room.clock.pending).toEqual([]);
  });

  test("nothing is read and no timer runs once they have all gone", async () => {
    await using room = await createRoom();
    const { id, asked } = await running(room);
    const one = client(room, id);
    await one.next();
    expect(room.clock.pending).toEqual([SECOND]);
    await one.frames.return?.();
    expect(room.clock.pending).toEqual([]);
    room.clock.advance(10 * SECOND);
    expect(asked()).toBe(1);
  });

  test("all containers have one timer", async () => {
    await using room = await createRoom();
    const ids = await Promise.all(Array.from({ length: 40 }, () => running(room)));
    const clients = ids.map(({ id }) => client(room, id));
    await Promise.all(clients.map(({ next }) => next()));
    expect(room.clock.pending).toEqual([SECOND]);
    room.clock.advance(SECOND);
    const frames = await Promise.all(clients.map(({ next }) => next()));
    expect(frames.map(usage)).toEqual(ids.map(() => [ms(1), ms(2)]));
  });

  test("a slow one gets the newest sample, compared with the last that it had", async () => {
    await using room = await createRoom();
    const { id } = await running(room);
    const [slow, quick] = [client(room, id), client(room, id)];
    await slow.next();
    await quick.next();
    for (let tick = 0; tick < 5; tick++) {
      room.clock.advance(SECOND);
      await quick.next();
    }
    expect(usage(await slow.next())).toEqual([ms(1), ms(6)]);
    quick.leave();
    slow.leave();
  });

  test("hear zeroes while it does not run, and the end when it is removed", async () => {
    await using room = await createRoom();
    const { id } = await running(room);
    const one = client(room, id);
    await one.next();
    taskOf(room, id).end(0);
    await until(() => room.containers.get(id).state.status === "exited");
    room.clock.advance(SECOND);
    expect(usage(await one.next())).toEqual([ms(1), null]);
    room.clock.advance(SECOND);
    expect(usage(await one.next())).toEqual([null, null]);
    await room.containers.remove(id, { force: false, volumes: false, link: false });
    expect(await one.frames.next()).toMatchObject({ done: true });
  });

  test("end with the daemon", async () => {
    await using room = await createRoom();
    const { id } = await running(room);
    const one = client(room, id);
    await one.next();
    const next = one.frames.next();
    room.containers.close();
    expect(await next).toMatchObject({ done: true });
  });

  test("know the networks of the container alone", async () => {
    await using room = await createRoom();
    const counters = {
      rxBytes: 1,
      rxPackets: 2,
      rxErrors: 3,
      rxDropped: 4,
      txBytes: 5,
      txPackets: 6,
      txErrors: 7,
      txDropped: 8,
    };
    const { id } = await running(room);
    taskOf(room, id).counters.set("eth0", counters).set("tunl0", counters);
    await room.containers.change(id, async () => ({
      endpoints: [
        {
          networkID: "n",
          networkName: "bridge",
          endpointID: "e",
          settings: v.parse(EndpointSettings, {}),
          interfaceName: "eth0",
          macAddress: "",
          ipAddress: "",
          ipPrefixLength: 0,
          gateway: "",
          ip6Address: "",
          ip6PrefixLength: 0,
          gateway6: "",
          dnsNames: [],
        },
      ],
    }));
    expect([...(room.containers.statsNow(id).sample?.interfaces.keys() ?? [])]).toEqual(["eth0"]);
  });
});

describe("one sample", () => {
  const NEVER = new AbortController().signal;

  test("with an earlier one takes a second", async () => {
    await using room = await createRoom();
    const { id } = await running(room);
    const frame = room.containers.stats(id, NEVER);
    await until(() => room.clock.pending.length === 1);
    room.clock.advance(SECOND);
    expect(usage(await frame)).toEqual([ms(1), ms(2)]);
    expect(room.clock.pending).toEqual([]);
  });

  test("beside a follower is compared with what that one had, at once", async () => {
    await using room = await createRoom();
    const { id, asked } = await running(room);
    const one = client(room, id);
    await one.next();
    room.clock.advance(SECOND);
    await one.next();
    expect(usage(await room.containers.stats(id, NEVER))).toEqual([ms(1), ms(2)]);
    expect(asked()).toBe(2);
    one.leave();
  });

  test("a container that came shortly before the tick waits for the next", async () => {
    await using room = await createRoom();
    const [old, young] = [await running(room), await running(room)];
    const first = client(room, old.id);
    await first.next();
    room.clock.advance(SECOND * 0.9);
    const second = client(room, young.id);
    await second.next();
    room.clock.advance(SECOND * 0.1);
    expect([old.asked(), young.asked()]).toEqual([2, 1]);
    room.clock.advance(SECOND);
    expect([old.asked(), young.asked()]).toEqual([3, 2]);
    first.leave();
    second.leave();
  });

  test("of a container that does not run is zeroes, at once", async () => {
    await using room = await createRoom();
    const id = await room.create({ Cmd: ["sleep"] }, "web");
    const frame = { id, name: "web", sample: null, previous: null };
    expect(await room.containers.stats("web", NEVER)).toEqual(frame);
    expect(room.containers.statsNow("web")).toEqual(frame);
  });

  test("of one that is removed meanwhile is a 404, and a client that has gone waits for nothing", async () => {
    await using room = await createRoom();
    const { id } = await running(room);
    const frame = room.containers.stats(id, NEVER).catch((error: unknown) => error);
    const gone = new AbortController();
    const other = room.containers.stats(id, gone.signal).catch((error: unknown) => error);
    await until(() => room.clock.pending.length === 1);
    gone.abort();
    expect(await other).toHaveProperty("name", "AbortError");
    await room.containers.remove(id, { force: true, volumes: false, link: false });
    expect(await frame).toMatchObject({ kind: "notFound", message: `No such container: ${id}` });
  });
});
