// The message of an error that is the user's mistake, for tests of parsers.
import { EngineError } from "../../src/errors.ts";

/** What `work` refuses with, as `invalid`. Throws where it is accepted, or fails for another reason. */
export function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof EngineError && error.kind === "invalid") return error.message;
    throw error;
  }
  throw new Error("was accepted");
}
