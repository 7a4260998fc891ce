// The lifecycle of a container: one state at a time, each with just what it needs, and the one function that says which
// event leads where. The table of states and events stands in docs/ARCHITECTURE.md; a test walks every cell of it.
import type { TaskRecord } from "../../../runtime/mod.ts";
import { conflict, type EngineError, internal } from "../../errors.ts";
import type { HealthReport } from "./health.ts";

export interface Exit {
  exitCode: number;
  /** ISO 8601 in UTC. */
  finishedAt: string;
  startedAt: string;
  oomKilled: boolean;
  /** Why a start failed; empty when the workload ran. */
  error: string;
  /** What its health checks last said; absent without any. */
  health?: HealthReport;
}

export type State =
  | { status: "created"; error?: string; exitCode?: number }
  | { status: "running"; task: TaskRecord; startedAt: string; stopRequested: boolean }
  | { status: "paused"; task: TaskRecord; startedAt: string; stopRequested: boolean }
  | { status: "restarting"; exit: Exit; nextAttemptAt: string }
  | { status: "exited"; exit: Exit }
  | { status: "removing"; exit: Exit | null }
  | { status: "dead"; exit: Exit | null; error: string };

export type Status = State["status"];

export type Event =
  /** A start is wanted. It changes nothing yet: the state follows once the workload runs, or has failed to. */
  | { type: "start" }
  | { type: "started"; task: TaskRecord; startedAt: string }
  | { type: "startFailed"; error: string; exitCode: number; at: string }
  /** A stop, or a fatal signal sent by hand: what ends next has been asked to. */
  | { type: "stopRequested" }
  | { type: "paused" }
  | { type: "unpaused" }
  | { type: "exited"; exit: Exit }
  /** It exited, and its restart policy wants it back. */
  | { type: "restartPlanned"; exit: Exit; nextAttemptAt: string }
  | { type: "restartCancelled" }
  | { type: "remove" }
  | { type: "removeFailed"; error: string };

/** Whom the texts name: the full ID, the name without its slash. */
export interface Subject {
  id: string;
  name: string;
}

/** The state after `event`. Pure and total: throws `conflict` with Docker's words where the event is not allowed. */
export function next(state: State, event: Event, subject: Subject): State {
  switch (event.type) {
    case "start":
      return checkStart(state, subject);
    case "started":
      checkStart(state, subject);
      return { status: "running", task: event.task, startedAt: event.startedAt, stopRequested: false };
    case "startFailed":
      return afterFailedStart(checkStart(state, subject), event);
    case "stopRequested":
      if (state.status === "running" || state.status === "paused") return { ...state, stopRequested: true };
      throw notRunning(subject);
    case "paused":
      if (state.status === "running") return { ...state, status: "paused" };
      if (state.status === "paused") throw conflict(`container ${subject.id} is already paused`);
      if (state.status === "restarting") throw isRestarting(subject);
      throw notRunning(subject);
    case "unpaused":
      if (state.status === "paused") return { ...state, status: "running" };
      // COMPAT: the one wrong state that Docker answers with 500.
      throw internal(`Container ${subject.id} is not paused`);
    case "exited":
      if (state.status === "running" || state.status === "paused") return { status: "exited", exit: event.exit };
      throw impossible(state, event, subject);
    case "restartPlanned":
      if (state.status === "running" || state.status === "paused") {
        return { status: "restarting", exit: event.exit, nextAttemptAt: event.nextAttemptAt };
      }
      throw impossible(state, event, subject);
    case "restartCancelled":
      if (state.status === "restarting") return { status: "exited", exit: state.exit };
      throw impossible(state, event, subject);
    case "remove":
      return { status: "removing", exit: checkRemove(state, subject) };
    case "removeFailed":
      if (state.status === "removing") return { status: "dead", exit: state.exit, error: event.error };
      throw impossible(state, event, subject);
  }
}

function checkStart<S extends State>(state: S, subject: Subject): S {
  switch (state.status) {
    case "created":
    case "exited":
    case "restarting":
      return state;
    case "running":
      throw conflict(`container ${subject.id} is already running`);
    case "paused":
      throw conflict("cannot start a paused container, try unpause instead");
    case "removing":
    case "dead":
      throw conflict("container is marked for removal and cannot be started");
  }
}

/** A container that never ran stays `created`; the error shows in either case. */
function afterFailedStart(state: State, event: Event & { type: "startFailed" }): State {
  if (state.status === "created") return { status: "created", error: event.error, exitCode: event.exitCode };
  const startedAt = exitOf(state)?.startedAt ?? event.at;
  const { error, exitCode } = event;
  return { status: "exited", exit: { exitCode, error, startedAt, finishedAt: event.at, oomKilled: false } };
}

function checkRemove(state: State, subject: Subject): Exit | null {
  const refuse = (why: string): EngineError =>
    conflict(`cannot remove container "/${subject.name}": container is ${why}`);
  switch (state.status) {
    case "running":
    case "restarting":
      throw refuse(`${state.status}: stop the container before removing or force remove`);
    case "paused":
      throw refuse("paused and must be unpaused first");
    case "removing":
      // COMPAT: the devcontainers CLI takes `already in progress` for success.
      throw conflict(`removal of container ${subject.name} is already in progress`);
    case "created":
      return state.exitCode === undefined
        ? null
        : {
            exitCode: state.exitCode,
            error: state.error ?? "",
            startedAt: NEVER,
            finishedAt: NEVER,
            oomKilled: false,
          };
    case "exited":
    case "dead":
      return state.exit;
  }
}

/** COMPAT: what Docker shows for a time that has not come. */
const NEVER = "0001-01-01T00:00:00Z";

export function notRunning(subject: Subject): EngineError {
  return conflict(`container ${subject.id} is not running`);
}

export function isRestarting(subject: Subject): EngineError {
  return conflict(`Container ${subject.id} is restarting, wait until the container is running`);
}

/** An event that only the engine itself sends, in a state it never sends it in. */
function impossible(state: State, event: Event, subject: Subject): EngineError {
  return internal(`container ${subject.id} is ${state.status}: ${event.type} cannot happen`);
}

/** How the last run ended; null when there was none or it goes on. */
export function exitOf(state: State): Exit | null {
  switch (state.status) {
    case "restarting":
    case "exited":
    case "removing":
    case "dead":
      return state.exit;
    case "created":
    case "running":
    case "paused":
      return null;
  }
}

/** The exit code that clients see: of the last run, or of a start that failed. */
export function exitCodeOf(state: State): number {
  return state.status === "created" ? (state.exitCode ?? 0) : (exitOf(state)?.exitCode ?? 0);
}

/** A process exists. COMPAT: what Docker calls running includes the pause between two restarts; see isUp. */
export function hasTask(state: State): state is State & { status: "running" | "paused" } {
  return state.status === "running" || state.status === "paused";
}

/** Docker's `State.Running`. */
export function isUp(state: State): boolean {
  return hasTask(state) || state.status === "restarting";
}
