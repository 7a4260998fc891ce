// EngineError: the kinds of failure the Engine API tells apart, and a constructor for each. `api/error_response.ts` holds
// the one table from kind to HTTP status. Thrown by services; never used for an expected outcome.

export type ErrorKind =
  "invalid" | "unauthorized" | "forbidden" | "notFound" | "conflict" | "notImplemented" | "unavailable" | "internal";

export class EngineError extends Error {
  override readonly name = "EngineError";
  constructor(
    readonly kind: ErrorKind,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

type Construct = (message: string, options?: ErrorOptions) => EngineError;
const of =
  (kind: ErrorKind): Construct =>
  (message, options) =>
    new EngineError(kind, message, options);

/** A body, query or reference that cannot mean anything, or a command that cannot be started. */
export const invalid = of("invalid");
/** Registry credentials are missing or wrong. */
export const unauthorized = of("unauthorized");
/** An operation Docker refuses to everybody, such as removing a predefined network. */
export const forbidden = of("forbidden");
/** No such container, image, network, volume or exec session. */
export const notFound = of("notFound");
/** A name in use, a wrong state, an object in use. */
export const conflict = of("conflict");
/** Known to the API, not to berth; listed in docs/API.md. */
export const notImplemented = of("notImplemented");
/** The answer Docker gives outside a swarm. */
export const unavailable = of("unavailable");
/** Everything else: logged once, with its cause. */
export const internal = of("internal");

/** Whether an error is one of ours and of this kind. */
export function isKind(error: unknown, kind: ErrorKind): boolean {
  return error instanceof EngineError && error.kind === kind;
}
