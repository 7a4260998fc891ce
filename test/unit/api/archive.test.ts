// The header that tells what a path in a container is, and the mode in it.
import { describe, expect, test } from "bun:test";
import { goFileMode, statHeader } from "../../../src/api/archive.ts";

describe("a file's mode as Go has it", () => {
  test.each([
    ["a file", 0o100644, 0o644],
    ["a directory", 0o040755, 0x80000000 + 0o755],
    ["a symbolic link", 0o120777, 0x08000000 + 0o777],
    ["a block device", 0o060660, 0x04000000 + 0o660],
    ["a character device", 0o020666, 0x04200000 + 0o666],
    ["a named pipe", 0o010600, 0x02000000 + 0o600],
    ["a socket", 0o140755, 0x01000000 + 0o755],
    ["set-user-ID", 0o104755, 0x00800000 + 0o755],
    ["set-group-ID", 0o102755, 0x00400000 + 0o755],
    ["a sticky directory", 0o041777, 0x80100000 + 0o777],
  ])("%s", (_what, mode, wanted) => {
    expect(goFileMode(mode)).toBe(wanted);
  });
});

describe("the header of a path", () => {
  const decode = (header: string): unknown => JSON.parse(Buffer.from(header, "base64").toString());
  const stat = {
    name: "hosts",
    sizeBytes: 174,
    mode: 0o100644,
    modified: [1_700_000_000n, 120_000_000],
    linkTarget: "",
  } as const;

  test("is base64 of JSON with the time to the nanosecond", () => {
    expect(decode(statHeader(stat))).toEqual({
      name: "hosts",
      size: 174,
      mode: 0o644,
      mtime: "2023-11-14T22:13:20.12Z",
      linkTarget: "",
    });
  });

  test("uses the standard alphabet with padding", () => {
    expect(statHeader({ ...stat, name: "???>>>" })).toMatch(/^[A-Za-z0-9+/]+={0,2}$/);
  });

  test("holds names that are no UTF-8 and times that no calendar has", () => {
    const odd = decode(statHeader({ ...stat, name: "caf\udce9", modified: [2n ** 60n, 0], linkTarget: "/\udcff" }));
    expect(odd).toMatchObject({ name: "caf\ufffd", mtime: "9999-12-31T23:59:59Z", linkTarget: "/\ufffd" });
    expect(decode(statHeader({ ...stat, modified: [-1n, 5] }))).toMatchObject({
      mtime: "1969-12-31T23:59:59.000000005Z",
    });
  });
});
