// Dockerfile instructions of `docker commit -c`: what each does to a configuration, and Docker's words for what it refuses.
import { describe, expect, test } from "bun:test";
import { parseSignal } from "../../../src/engine/containers/signals.ts";
import { applyChanges } from "../../../src/image/changes.ts";
import type { ImageConfig } from "../../../src/engine/mod.ts";

const options = { checkSignal: (text: string) => void parseSignal(text) };
const apply = (config: ImageConfig, ...changes: string[]): ImageConfig => applyChanges(config, changes, options);

test("each instruction changes its part of the configuration, in their order", () => {
  const before: ImageConfig = { Env: ["PATH=/bin", "A=0"], Cmd: ["sh"], WorkingDir: "/w", Labels: { old: "1" } };
  const changed = apply(
    before,
    'ENV A=1 B="x y" C=$A',
    "ENV old form  of it",
    "expose 80 8000-8001/UDP 127.0.0.1:90:91",
    "LABEL k=v other='$A'",
    "USER $A",
    "VOLUME /a /b",
    'VOLUME ["/with space"]',
    "WORKDIR rel",
    "WORKDIR ../up",
    "STOPSIGNAL SIGUSR1",
    "ONBUILD RUN make",
    "# a comment",
    "HEALTHCHECK --interval=1m30s --retries=2 CMD true",
    'ENTRYPOINT ["/bin/tool", "-v"]',
  );
  expect(changed).toEqual({
    // Variables are those from before the instruction.
    Env: ["PATH=/bin", "A=1", "B=x y", "C=0", "old=form  of it"],
    Cmd: null,
    Entrypoint: ["/bin/tool", "-v"],
    ExposedPorts: { "80/tcp": {}, "8000/udp": {}, "8001/udp": {}, "91/tcp": {} },
    Labels: { old: "1", k: "v", other: "$A" },
    User: "1",
    Volumes: { "/a": {}, "/b": {}, "/with space": {} },
    WorkingDir: "/w/up",
    StopSignal: "SIGUSR1",
    OnBuild: ["RUN make"],
    Healthcheck: { Interval: 90_000_000_000, Retries: 2, Test: ["CMD-SHELL", "true"] },
  });
  expect(before).toMatchObject({ Cmd: ["sh"], Env: ["PATH=/bin", "A=0"] });
});

test("a command for the shell uses the image's shell; an entrypoint keeps a command that comes with it", () => {
  expect(apply({}, "CMD echo $HOME").Cmd).toEqual(["/bin/sh", "-c", "echo $HOME"]);
  expect(apply({ Shell: ["/bin/ash", "-ec"] }, "CMD echo hi").Cmd).toEqual(["/bin/ash", "-ec", "echo hi"]);
  expect(apply({ Cmd: ["old"] }, 'CMD ["new"]', "ENTRYPOINT tool").Cmd).toEqual(["new"]);
  expect(apply({}, "HEALTHCHECK NONE").Healthcheck).toEqual({ Test: ["NONE"] });
  expect(apply({}, 'HEALTHCHECK CMD ["a", "b"]').Healthcheck).toEqual({ Test: ["CMD", "a", "b"] });
});

test("a line goes on after a backslash", () => {
  expect(apply({}, "ENV A=1 \\", "  B=2").Env).toEqual(["A=1", "B=2"]);
});

test.each([
  ["ENV A=${B:-else}", "else"],
  ["ENV A=${SET:+then}", "then"],
  ["ENV A=${B:+then}", ""],
  ["ENV A=${EMPTY-else}", ""],
  ["ENV A=${EMPTY:-${SET}s}", "yess"],
  ['ENV A="\\"$SET\\" \\n"', '"yes" \\n'],
  ["ENV A=a\\ b", "a b"],
  ["ENV A='$SET'", "$SET"],
  ["ENV A=\\$SET", "$SET"],
])("%s gives %p", (change, value) => {
  expect(apply({ Env: ["SET=yes", "EMPTY="] }, change).Env?.at(-1)).toBe(`A=${value}`);
});

describe("what Docker refuses, in its words", () => {
  test.each([
    ["RUN ls", "RUN is not a valid change command"],
    ["bogus", "bogus is not a valid change command"],
    ["# only a comment", "file with no instructions"],
    ["ENV foo", "ENV must have two arguments"],
    ["ENV", "ENV requires at least one argument"],
    ["ENV a=b c", `Syntax error - can't find = in "c". Must be of the form: name=value`],
    ["ENV =x", "ENV names can not be blank"],
    ["LABEL a", "LABEL must have two arguments"],
    ["EXPOSE", "EXPOSE requires at least one argument"],
    ["EXPOSE foo", "Invalid containerPort: foo"],
    ["EXPOSE 70000", "Invalid containerPort: 70000"],
    ["EXPOSE 10-5", "Invalid containerPort: 10-5"],
    ["EXPOSE 80/xyz", "Invalid proto: xyz"],
    ["USER", "USER requires exactly one argument"],
    ["WORKDIR", "WORKDIR requires exactly one argument"],
    ["WORKDIR $nope", "cannot normalize nothing"],
    ["STOPSIGNAL FOO", "invalid signal: FOO"],
    ["VOLUME", "VOLUME requires at least one argument"],
    ['VOLUME [""]', "VOLUME specified can not be an empty string"],
    ["ONBUILD", "ONBUILD requires at least one argument"],
    ["ONBUILD ONBUILD x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
    ["ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"],
    ["HEALTHCHECK", "HEALTHCHECK requires at least one argument"],
    ["HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"],
    ["HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"],
    ["HEALTHCHECK FOO x", 'Unknown type "FOO" in HEALTHCHECK (try CMD)'],
    ["HEALTHCHECK --foo=1 CMD x", "unknown flag: --foo"],
    ["HEALTHCHECK --interval CMD x", "missing a value on flag: --interval"],
    ["HEALTHCHECK --interval=x CMD y", 'time: invalid duration "x"'],
    ["HEALTHCHECK --interval=1us CMD y", 'Interval "interval" cannot be less than 1ms'],
    ["HEALTHCHECK --retries=-1 CMD y", "--retries cannot be negative (-1)"],
    ["HEALTHCHECK --retries=x CMD y", 'strconv.ParseInt: parsing "x": invalid syntax'],
    ['CMD ["a", 1]', "when using JSON array syntax, arrays must be comprised of strings only"],
    ["CMD --foo", "unknown flag: --foo"],
    ["ENV a='b", `failed to process "'b": unexpected end of statement while looking for matching single-quote`],
    ['ENV a="b', `failed to process "\\"b": unexpected end of statement while looking for matching double-quote`],
    ["ENV a=${b:?x}", 'failed to process "${b:?x}": b: x'],
    ["ENV a=${b", 'failed to process "${b": unsupported modifier () in substitution'],
    ["ENV a=${}", 'failed to process "${}": bad substitution'],
  ])("%s", (change, message) => {
    expect(() => apply({}, change)).toThrow(message);
  });

  test("all names are looked at before any instruction is", () => {
    expect(() => apply({}, "ENV foo", "RUN x")).toThrow("RUN is not a valid change command");
  });
});
