// What an exec session asks for, where a test cares only for its command.
import type { Bundle } from "../../runtime/bundle.ts";
import type { ExecRequest } from "../../runtime/mod.ts";

export function execRequest(bundle: Bundle, args: string[], changes: Partial<ExecRequest> = {}): ExecRequest {
  return {
    args,
    env: ["PATH=/bin"],
    cwd: "/",
    user: "",
    groupAdd: [],
    terminal: null,
    hasStdin: false,
    privileged: false,
    bundle,
    ...changes,
  };
}
