// From an error to the reply: the one table from kind to HTTP status. Every failure before the first byte of a reply ends
// here; once a stream has begun, its error goes in band.
import { EngineError, type ErrorKind } from "../errors.ts";
import { HttpError } from "../http/request_head.ts";
import type { Log } from "../log.ts";
import { json } from "./reply.ts";

const STATUS: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  notFound: 404,
  conflict: 409,
  internal: 500,
  notImplemented: 501,
  unavailable: 503,
};

/**
 * COMPAT: the docker CLI shows `message` only when the content type has no parameters; with a charset it prints the raw JSON.
 */
export function errorResponse(error: unknown, log: Log): Response {
  if (error instanceof EngineError) {
    if (error.kind === "internal") log.error("request failed", { error });
    return json({ message: error.message }, STATUS[error.kind]);
  }
  // A body that broke off or was badly framed: the transport found out while the handler was reading.
  if (error instanceof HttpError) return json({ message: error.message }, error.status);
  log.error("request failed", { error });
  return json({ message: error instanceof Error ? error.message : String(error) }, 500);
}

/** The answer for an unknown path and for a wrong method alike: Docker knows no 405. */
export function pageNotFound(): Response {
  return json({ message: "page not found" }, 404);
}
