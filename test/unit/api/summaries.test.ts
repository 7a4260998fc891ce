// The list as kept text: always what the views would make of it, whatever has changed since.
import { expect, test } from "bun:test";
import { type SummaryFacts, summaryView, type ViewContext } from "../../../src/api/container_view.ts";
import { createSummaries } from "../../../src/api/summaries.ts";
import { fakeRecord, runningSince } from "../../support/fake_engine.ts";

const context = (seconds: number, minor = 55): ViewContext => ({
  version: { major: 1, minor },
  config: { dataRoot: "/d", storageDriver: "overlay2" },
  now: new Date(Date.UTC(2026, 0, 2, 4, 0, seconds)),
  networkID: (name) => `id of ${name}`,
});

function facts(change: Partial<SummaryFacts> = {}): SummaryFacts {
  const record = fakeRecord({ state: runningSince("2026-01-02T03:59:55Z") });
  return { record, sizes: null, health: null, imageNow: null, ...change };
}

test("the text is that of the views at every moment, for every version, and after every change", () => {
  const summaries = createSummaries();
  const first = facts();
  const named = facts({
    record: {
      ...first.record,
      name: 'odd "Status":"x"',
      config: { ...first.record.config, Labels: { '"Status":': "," } },
    },
  });
  const host = facts({
    record: { ...first.record, endpoints: [], hostConfig: { ...first.record.hostConfig, NetworkMode: "host" } },
  });
  const healthy = { ...first, health: { status: "healthy", failingStreak: 0, log: [] } as const satisfies object };
  const moments: [SummaryFacts[], ViewContext][] = [
    [[first, named], context(0)],
    [[first, named], context(0)],
    [[first, named], context(1)],
    [[first, named], context(1, 40)],
    [[named], context(1)],
    [[first, host], context(59)],
    [[first, host], { ...context(59), networkID: () => "another" }],
    [[{ ...first, health: { ...healthy.health, log: [] } }], context(59)],
    [[{ ...first, imageNow: "sha256:0" }], context(59)],
    [[{ ...first, sizes: { rwBytes: 1, rootFsBytes: 2 } }], context(59)],
    [[], context(59)],
  ];
  for (const [all, at] of moments) {
    const text = new TextDecoder().decode(summaries.list(all, at));
    expect(text).toBe(`${JSON.stringify(all.map((each) => summaryView(each, at)))}\n`);
  }
});

test("nothing is made anew while nothing changes", () => {
  const summaries = createSummaries();
  const all = [facts(), facts()];
  const body = summaries.list(all, context(0));
  expect(summaries.list(all, context(0))).toBe(body);
  expect(summaries.list(all, context(1))).not.toBe(body);
});
