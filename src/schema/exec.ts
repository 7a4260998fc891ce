// Exec sessions as clients ask for them. Source: ExecConfig and ExecStartConfig in v1.55.yaml.
import * as v from "valibot";
import { flag, list, text, words } from "./common.ts";

export const ExecCreate = v.object({
  AttachStdin: flag(),
  AttachStdout: flag(),
  AttachStderr: flag(),
  /** [height, width] in cells. */
  ConsoleSize: list(v.number()),
  DetachKeys: text(),
  Tty: flag(),
  Env: list(v.string()),
  Cmd: words(),
  Privileged: flag(),
  User: text(),
  WorkingDir: text(),
});
export type ExecCreate = v.InferOutput<typeof ExecCreate>;

export const ExecStart = v.object({ Detach: flag(), Tty: flag(), ConsoleSize: list(v.number()) });
export type ExecStart = v.InferOutput<typeof ExecStart>;
