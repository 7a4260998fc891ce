// Every cell of the table of states and events that docs/ARCHITECTURE.md shows.
import { describe, expect, test } from "bun:test";
import { EngineError } from "../../../../src/errors.ts";
import { type Event, next, type State, type Status } from "../../../../src/engine/containers/state.ts";

const task = {
  id: "c",
  pid: 7,
  shimPid: 6,
  shimStartTime: "1",
  hasTerminal: false,
  hasStdin: false,
  exitFile: "/e",
  cgroupPath: "/g",
};
const exit = {
  exitCode: 3,
  finishedAt: "2026-01-01T00:00:01Z",
  startedAt: "2026-01-01T00:00:00Z",
  oomKilled: false,
  error: "",
};
const subject = { id: "abc", name: "web" };

const STATES: Record<Status, State> = {
  created: { status: "created" },
  running: { status: "running", task, startedAt: exit.startedAt, stopRequested: false },
  paused: { status: "paused", task, startedAt: exit.startedAt, stopRequested: false },
  restarting: { status: "restarting", exit, nextAttemptAt: "2026-01-01T00:00:02Z" },
  exited: { status: "exited", exit },
  removing: { status: "removing", exit },
  dead: { status: "dead", exit, error: "busy" },
};

const EVENTS: Record<Event["type"], Event> = {
  start: { type: "start" },
  started: { type: "started", task, startedAt: exit.startedAt },
  startFailed: { type: "startFailed", error: "no", exitCode: 127, at: exit.finishedAt },
  stopRequested: { type: "stopRequested" },
  paused: { type: "paused" },
  unpaused: { type: "unpaused" },
  exited: { type: "exited", exit },
  restartPlanned: { type: "restartPlanned", exit, nextAttemptAt: "2026-01-01T00:00:02Z" },
  restartCancelled: { type: "restartCancelled" },
  remove: { type: "remove" },
  removeFailed: { type: "removeFailed", error: "busy" },
};

const BUSY = "container is marked for removal and cannot be started";
const PAUSED = "cannot start a paused container, try unpause instead";
const DOWN = "container abc is not running";
const NEVER = /cannot happen$/;

/** Each cell: the status that follows, or the text of the refusal. */
const TABLE: Record<Event["type"], Record<Status, Status | RegExp>> = {
  start: {
    created: "created",
    running: /^container abc is already running$/,
    paused: new RegExp(`^${PAUSED}$`),
    restarting: "restarting",
    exited: "exited",
    removing: new RegExp(BUSY),
    dead: new RegExp(BUSY),
  },
  started: {
    created: "running",
    running: /already running/,
    paused: new RegExp(PAUSED),
    restarting: "running",
    exited: "running",
    removing: new RegExp(BUSY),
    dead: new RegExp(BUSY),
  },
  startFailed: {
    created: "created",
    running: /already running/,
    paused: new RegExp(PAUSED),
    restarting: "exited",
    exited: "exited",
    removing: new RegExp(BUSY),
    dead: new RegExp(BUSY),
  },
  stopRequested: {
    created: new RegExp(DOWN),
    running: "running",
    paused: "paused",
    restarting: new RegExp(DOWN),
    exited: new RegExp(DOWN),
    removing: new RegExp(DOWN),
    dead: new RegExp(DOWN),
  },
  paused: {
    created: new RegExp(DOWN),
    running: "paused",
    paused: /^container abc is already paused$/,
    restarting: /^Container abc is restarting, wait until the container is running$/,
    exited: new RegExp(DOWN),
    removing: new RegExp(DOWN),
    dead: new RegExp(DOWN),
  },
  unpaused: {
    created: /^Container abc is not paused$/,
    running: /is not paused$/,
    paused: "running",
    restarting: /is not paused$/,
    exited: /is not paused$/,
    removing: /is not paused$/,
    dead: /is not paused$/,
  },
  exited: {
    created: NEVER,
    running: "exited",
    paused: "exited",
    restarting: NEVER,
    exited: NEVER,
    removing: NEVER,
    dead: NEVER,
  },
  restartPlanned: {
    created: NEVER,
    running: "restarting",
    paused: "restarting",
    restarting: NEVER,
    exited: NEVER,
    removing: NEVER,
    dead: NEVER,
  },
  restartCancelled: {
    created: NEVER,
    running: NEVER,
    paused: NEVER,
    restarting: "exited",
    exited: NEVER,
    removing: NEVER,
    dead: NEVER,
  },
  remove: {
    created: "removing",
    running:
      /^cannot remove container "\/web": container is running: stop the container before removing or force remove$/,
    paused: /^cannot remove container "\/web": container is paused and must be unpaused first$/,
    restarting: /container is restarting: stop the container before removing or force remove$/,
    exited: "removing",
    removing: /^removal of container web is already in progress$/,
    dead: "removing",
  },
  removeFailed: {
    created: NEVER,
    running: NEVER,
    paused: NEVER,
    restarting: NEVER,
    exited: NEVER,
    removing: "dead",
    dead: NEVER,
  },
};

describe("the lifecycle table", () => {
  for (const [type, row] of Object.entries(TABLE) as [Event["type"], Record<Status, Status | RegExp>][]) {
    for (const [status, expected] of Object.entries(row) as [Status, Status | RegExp][]) {
      test(`${type} on a ${status} container ${expected instanceof RegExp ? "is refused" : `leads to ${expected}`}`, () => {
        const call = () => next(STATES[status], EVENTS[type], subject);
        if (expected instanceof RegExp) expect(call).toThrow(expected);
        else expect(call().status).toBe(expected);
      });
    }
  }
});

test("what clients may do wrong is a conflict; unpausing what is not paused is Docker's one 500", () => {
  const kind = (state: State, event: Event): string => {
    try {
      next(state, event, subject);
    } catch (error) {
      if (error instanceof EngineError) return error.kind;
    }
    return "none";
  };
  expect(kind(STATES.running, EVENTS.remove)).toBe("conflict");
  expect(kind(STATES.paused, EVENTS.start)).toBe("conflict");
  expect(kind(STATES.running, EVENTS.unpaused)).toBe("internal");
});

test("a start that fails leaves a container that never ran created, with the reason", () => {
  expect(next(STATES.created, EVENTS.startFailed, subject)).toEqual({ status: "created", error: "no", exitCode: 127 });
});

test("a start that fails after a run keeps when that run began", () => {
  const state = next(STATES.exited, EVENTS.startFailed, subject);
  expect(state).toEqual({
    status: "exited",
    exit: { exitCode: 127, error: "no", startedAt: exit.startedAt, finishedAt: exit.finishedAt, oomKilled: false },
  });
});

test("a new run forgets that the last one was asked to stop", () => {
  const stopping = next(STATES.running, EVENTS.stopRequested, subject);
  expect(stopping).toMatchObject({ stopRequested: true });
  const down = next(stopping, EVENTS.exited, subject);
  expect(next(down, EVENTS.started, subject)).toMatchObject({ status: "running", stopRequested: false });
});
