// --userns-remap by account files that are no machine's.
import { expect, test } from "bun:test";
import { parseCommandLine } from "../../src/config.ts";
import { type Accounts, withRemap } from "../../src/userns_remap.ts";

const FILES: Record<string, string> = {
  "/etc/passwd": "root:x:0:0::/:/bin/sh\nmapped:x:1001:1002::/:/bin/false\nbare:x:1003:1003::/:/bin/false\n",
  "/etc/group": "root:x:0:\nmapped:x:1002:\nother:x:1005:\nbare:x:1003:\n",
  "/etc/subuid": "# none\nmapped:300000:10\n1001:200000:5\nother:100000:65536\nmapped:x:3\nroot:1:1\n",
  "/etc/subgid": "mapped:400000:65536\n",
};

function accounts(files: Record<string, string> = FILES): Accounts & { ran: string[] } {
  const ran: string[] = [];
  return {
    ran,
    readFile: (path) => files[path] ?? null,
    run(program, args) {
      ran.push([program, ...args].join(" "));
      if (program === "useradd") {
        files["/etc/passwd"] += "dockremap:x:999:999::/:/bin/false\n";
        files["/etc/group"] += "dockremap:x:999:\n";
      }
      const [first = 0, last = 0] = (args[1] ?? "").split("-").map(Number);
      if (args[0] === "--add-subuids") files["/etc/subuid"] += `dockremap:${first}:${last - first + 1}\n`;
      if (args[0] === "--add-subgids") files["/etc/subgid"] += `dockremap:${first}:${last - first + 1}\n`;
    },
  };
}

function remap(value: string, machine: Accounts = accounts()) {
  const args = ["--userns-remap", value, "--data-root", "/data", "--exec-root", "/run/x"];
  return withRemap(parseCommandLine({ argv0: "berth", args, env: {}, readFile: () => null }).config, machine);
}

test("the user's ranges, by its name or number, lowest first; groups from the same user", () => {
  for (const value of ["mapped", "1001:1002", "mapped:mapped", "mapped:other", "mapped:1005"]) {
    const { idMaps, dataRoot, execRoot } = remap(value);
    expect(idMaps).toEqual({
      uidMappings: [
        { containerID: 0, hostID: 200000, size: 5 },
        { containerID: 5, hostID: 300000, size: 10 },
      ],
      gidMappings: [{ containerID: 0, hostID: 400000, size: 65536 }],
    });
    expect([dataRoot, execRoot]).toEqual(["/data/200000.400000", "/run/x/200000.400000"]);
  }
});

test("nothing is asked for: nothing changes", () => {
  const config = remap("");
  expect([config.idMaps, config.dataRoot]).toEqual([null, "/data"]);
});

test("what cannot be found is refused", () => {
  const cases: [value: string, words: string][] = [
    ["a:b:c", 'invalid user/group specification in --userns-remap: "a:b:c"'],
    [":x", "invalid user/group specification"],
    ["nobody-here", 'error during uid lookup for "nobody-here": no such user'],
    ["4000", "uid 4000 has no entry in /etc/passwd"],
    ["1001", "gid 1001 has no entry in /etc/group"],
    ["mapped:4000", "gid 4000 has no entry in /etc/group"],
    ["mapped:no", 'error during gid lookup for "no": no such group'],
    ["bare", `Can't create ID mappings: no subuid ranges found for user "bare"`],
    ["root", "root cannot be remapped to itself"],
  ];
  for (const [value, words] of cases) expect(() => remap(value)).toThrow(words);
});

test("default makes its user and ranges above all others; failing that, it is refused", () => {
  const machine = accounts({ ...FILES });
  expect(remap("default", machine).idMaps?.uidMappings).toEqual([{ containerID: 0, hostID: 300010, size: 65536 }]);
  expect(machine.ran).toEqual([
    "useradd --system --user-group --shell /bin/false dockremap",
    "usermod --add-subuids 300010-365545 dockremap",
    "usermod --add-subgids 465536-531071 dockremap",
  ]);
  machine.ran.length = 0;
  expect(remap("default", machine).dataRoot).toBe("/data/300010.465536");
  expect(machine.ran).toEqual([]);
  const broken: Accounts = {
    ...accounts(),
    run: () => {
      throw new Error("useradd: not found");
    },
  };
  expect(() => remap("default", broken)).toThrow('error during "dockremap" user creation: useradd: not found');
});
