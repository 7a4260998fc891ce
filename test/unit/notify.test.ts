// What is told to a service manager, and what it hands over.
import { describe, expect, test } from "bun:test";
import { createLog } from "../../src/log.ts";
import { createNotifier, inheritedSockets } from "../../src/notify.ts";

const lines: string[] = [];
const log = createLog(
  (line) => lines.push(line),
  () => "info",
  () => new Date(0),
);

describe("createNotifier()", () => {
  test("sends sd_notify's states to the socket of the environment", () => {
    const sent: [string, string][] = [];
    const notifier = createNotifier({ NOTIFY_SOCKET: "/run/notify" }, log, (address, text) =>
      sent.push([address, text]),
    );
    notifier.ready("serving");
    notifier.reloading(12n);
    notifier.stopping();
    expect(sent).toEqual([
      ["/run/notify", "READY=1\nSTATUS=serving"],
      ["/run/notify", "RELOADING=1\nMONOTONIC_USEC=12"],
      ["/run/notify", "STOPPING=1"],
    ]);
  });

  test("does nothing without a service manager, and logs one that does not listen", () => {
    const fail = () => {
      throw new Error("ECONNREFUSED");
    };
    createNotifier({}, log, fail).ready("x");
    expect(lines).toEqual([]);
    createNotifier({ NOTIFY_SOCKET: "@gone" }, log, fail).ready("x");
    expect(lines.join("")).toContain("ECONNREFUSED");
  });
});

describe("inheritedSockets()", () => {
  const adopt = (descriptor: number) => descriptor !== 4;

  test("are those from 3 on that exist, with their names", () => {
    const env = { LISTEN_PID: "7", LISTEN_FDS: "3", LISTEN_FDNAMES: "docker.socket::x" };
    expect(inheritedSockets(env, 7, adopt)).toEqual([
      { descriptor: 3, name: "docker.socket" },
      { descriptor: 5, name: "x" },
    ]);
  });

  test("are none when they are meant for another process, or the number is no number", () => {
    expect(inheritedSockets({ LISTEN_PID: "8", LISTEN_FDS: "1" }, 7, adopt)).toEqual([]);
    for (const LISTEN_FDS of ["", "x", "-1", "0", "1e9", "1.5", undefined]) {
      expect(inheritedSockets({ LISTEN_PID: "7", LISTEN_FDS }, 7, adopt)).toEqual([]);
    }
    expect(inheritedSockets({}, 7, adopt)).toEqual([]);
  });
});
