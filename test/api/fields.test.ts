// Keeps the tables of fields in docs/API.md true: each field that the description of the API has for a new container has its
// row, each test that a row names exists, and each refusal is asked for, of the engine's own checks over a fake kernel.
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { testAPI } from "../support/api.ts";
import { engineAPI, type Schema } from "../support/engine_api.ts";
import { createRoom } from "../support/engine_room.ts";
import { fakeEngine } from "../support/fake_engine.ts";

/** A create request that is right but for these fields: the status and the message, or the warning, that it gets. */
interface Answer {
  body?: object;
  hostConfig?: object;
  status: number;
  message: string | RegExp;
  /** The refusal comes at start: what the host has is looked up then. */
  atStart?: boolean;
}

const NO_QOS = "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps";

/** For each row that is `refused`. */
const REFUSED: Record<string, Answer> = {
  "HostConfig.IOMaximumIOps": { hostConfig: { IOMaximumIOps: 1 }, status: 400, message: NO_QOS },
  "HostConfig.IOMaximumBandwidth": { hostConfig: { IOMaximumBandwidth: 1 }, status: 400, message: NO_QOS },
  "HostConfig.Cgroup": {
    hostConfig: { Cgroup: "container:x" },
    status: 400,
    message: 'invalid cgroup "container:x": another container\'s cgroup cannot be joined',
  },
  "HostConfig.Isolation": {
    hostConfig: { Isolation: "hyperv" },
    status: 400,
    message: 'invalid isolation: unsupported isolation "hyperv" on linux',
  },
};

/** For each row that is `warned`: 201, and this among the warnings. */
const WARNED: Record<string, Answer> = {
  "HostConfig.CpuCount": {
    hostConfig: { CpuCount: 1 },
    status: 201,
    message: "linux does not support CPU count. Count discarded.",
  },
  "HostConfig.CpuPercent": {
    hostConfig: { CpuPercent: 50 },
    status: 201,
    message: "linux does not support CPU percent. Percent discarded.",
  },
};

interface Row {
  field: string;
  state: string;
  seenBy: string;
  note: string;
}

function readRows(): Row[] {
  const page = readFileSync(new URL("../../docs/API.md", import.meta.url), "utf8");
  return page.split(/^## /m).flatMap((section) => {
    const owner = /^Fields of (\w+)\n/.exec(section)?.[1];
    if (owner === undefined) return [];
    return [...section.matchAll(/^\| `([\w.]+)` \| (\w+) \| (.*?) \| (.*?) ?\|$/gm)].map(
      ([, name = "", state = "", seenBy = "", note = ""]) => ({ field: `${owner}.${name}`, state, seenBy, note }),
    );
  });
}

/** Each field of a create request, below the definition that has it. Resources are fields of HostConfig. */
function describedFields(): string[] {
  const { definitions } = engineAPI();
  const fields: string[] = [];
  const seen = new Set<string>();
  const definition = (ref: string): [name: string, schema: Schema] => {
    const name = ref.split("/").at(-1) ?? "";
    const schema = definitions[name];
    if (schema === undefined) throw new Error(`the description has no definition ${name}`);
    return [name, schema];
  };
  const propertiesOf = (schema: Schema): Record<string, Schema> => ({
    ...schema.properties,
    ...Object.assign(
      {},
      ...(schema.allOf ?? []).map((part) => propertiesOf(part.$ref ? definition(part.$ref)[1] : part)),
    ),
  });
  const below = (at: string, schema: Schema): void => {
    if (schema.$ref !== undefined) {
      const [name, found] = definition(schema.$ref);
      if (seen.has(name)) return;
      seen.add(name);
      if (found.properties || found.allOf) walk(name, found);
      else below(name, found);
    } else if (schema.items) below(at, schema.items);
    else if (typeof schema.additionalProperties === "object") below(at, schema.additionalProperties);
    else if (schema.properties || schema.allOf) walk(at, schema);
  };
  const walk = (owner: string, schema: Schema): void => {
    for (const [name, each] of Object.entries(propertiesOf(schema))) {
      fields.push(`${owner}.${name}`);
      below(`${owner}.${name}`, each);
    }
  };
  for (const name of ["ContainerConfig", "HostConfig", "NetworkingConfig"]) walk(...definition(name));
  return fields;
}

const rows = readRows();
const withState = (state: string): string[] => rows.filter((row) => row.state === state).map(({ field }) => field);

describe("the tables of fields in docs/API.md", () => {
  test("have one row for each field of the description, and no other", () => {
    expect(rows.map(({ field }) => field).sort()).toEqual(describedFields().sort());
  });

  test("know no other states, and say of each field that does nothing why", () => {
    const states = ["acts", "refused", "warned", "inert", "filled"];
    expect(rows.filter(({ state }) => !states.includes(state))).toEqual([]);
    expect(rows.filter(({ state, note }) => ["inert", "warned"].includes(state) && note === "")).toEqual([]);
  });

  test("name for each field that acts a test that exists", () => {
    const missing = rows.filter(({ state, seenBy }) => state === "acts" && !isTest(seenBy));
    expect(missing).toEqual([]);
  });

  test("have a request here for each field that is refused or warned of, and for no other", () => {
    expect(Object.keys(REFUSED).sort()).toEqual(withState("refused").sort());
    expect(Object.keys(WARNED).sort()).toEqual(withState("warned").sort());
  });
});

/** `e2e/settings: --read-only` is a test (or a group of them) of that title in test/e2e/settings.test.ts. */
function isTest(seenBy: string): boolean {
  const [, file = "", title = ""] = /^([\w/]+): (.+)$/.exec(seenBy) ?? [];
  const path = new URL(`../${file}.test.ts`, import.meta.url);
  return title !== "" && existsSync(path) && readFileSync(path, "utf8").includes(`${JSON.stringify(title)}`);
}

async function ask({ body = {}, hostConfig = {}, atStart = false }: Answer) {
  await using room = await createRoom();
  const api = testAPI(fakeEngine({ containers: room.containers }));
  const json = { Image: "busybox", ...body, HostConfig: hostConfig };
  const created = await api.call("POST", "/containers/create", { json });
  if (!atStart) return created;
  expect(created.status).toBe(201);
  return await api.call("POST", `/containers/${(created.body as { Id: string }).Id}/start`);
}

test.each(Object.entries(REFUSED))("%s is refused as its row says", async (_field, answer) => {
  const { status, body } = await ask(answer);
  expect({ status, body }).toEqual({
    status: answer.status,
    body: {
      message: typeof answer.message === "string" ? answer.message : expect.stringMatching(answer.message),
    },
  });
});

test("each field that is warned of is answered with its warning", async () => {
  for (const [field, answer] of Object.entries(WARNED)) {
    const { status, body } = await ask(answer);
    const { Warnings } = body as { Warnings: string[] };
    const isSaid = Warnings.some((warning) =>
      typeof answer.message === "string" ? warning === answer.message : answer.message.test(warning),
    );
    expect({ field, status, Warnings, isSaid }).toMatchObject({ status: answer.status, isSaid: true });
  }
});
