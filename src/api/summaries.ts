// The list of containers as text. A summary is made once for a record and kept with it, but for its Status, whose words
// depend on the time: a list of a hundred is asked for some thousand times a second by who polls it.
import type { HealthReport } from "../engine/containers/health.ts";
import type { ContainerRecord } from "../engine/containers/container.ts";
import { statusText, type SummaryFacts, summaryView, type ViewContext } from "./container_view.ts";

/** What a kept summary was made of, beside its record. Records and reports are replaced as a whole when they change. */
interface Kept {
  health: HealthReport | null;
  imageNow: string | null;
  networkID: string;
  before: string;
  status: string;
  after: string;
  text: string;
}

interface Summaries {
  /** The body of the reply. The same bytes as before when nothing in it has changed. */
  list(all: readonly SummaryFacts[], context: ViewContext): Uint8Array<ArrayBuffer>;
}

export function createSummaries(): Summaries {
  /** One for each version of the API that is spoken: there are some thirty. */
  const byVersion = new Map<number, Summaries>();
  return {
    list(all, context) {
      const { major, minor } = context.version;
      const key = major * 1000 + minor;
      const found = byVersion.get(key) ?? summariesOfVersion();
      byVersion.set(key, found);
      return found.list(all, context);
    },
  };
}

function summariesOfVersion(): Summaries {
  const kept = new WeakMap<ContainerRecord, Kept>();
  let last: { texts: string[]; bytes: Uint8Array<ArrayBuffer> } = { texts: [], bytes: encode([]) };
  const textOf = (facts: SummaryFacts, context: ViewContext): string => {
    if (facts.sizes !== null) return JSON.stringify(summaryView(facts, context));
    const { record, health, imageNow } = facts;
    const networkID = networkIDOf(record, context);
    const found = kept.get(record);
    const isSame =
      found !== undefined && found.health === health && found.imageNow === imageNow && found.networkID === networkID;
    const summary = isSame ? found : split(summaryView(facts, context));
    const status = statusText(record.state, context.now, health);
    if (isSame && found.status === status) return found.text;
    const text = `${summary.before}${JSON.stringify(status)}${summary.after}`;
    const { before, after } = summary;
    kept.set(record, { health, imageNow, networkID, before, status, after, text });
    return text;
  };
  return {
    list(all, context) {
      const texts = all.map((facts) => textOf(facts, context));
      const isSame = texts.length === last.texts.length && texts.every((text, at) => text === last.texts[at]);
      if (!isSame) last = { texts, bytes: encode(texts) };
      return last.bytes;
    },
  };
}

function encode(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`[${texts.join(",")}]\n`);
}

/** Two modes have no endpoint in the record, and show the network of that name. */
function networkIDOf({ endpoints, hostConfig }: ContainerRecord, { networkID }: ViewContext): string {
  const name = hostConfig.NetworkMode;
  return endpoints.length === 0 && (name === "host" || name === "none") ? networkID(name) : "";
}

/** The text up to the value of Status, and from there on. It is never the first field, nor the last. */
function split(view: object): { before: string; after: string } {
  const fields = Object.entries(view);
  const at = fields.findIndex(([name]) => name === "Status");
  const before = JSON.stringify(Object.fromEntries(fields.slice(0, at)));
  const after = JSON.stringify(Object.fromEntries(fields.slice(at + 1)));
  return { before: `${before.slice(0, -1)},"Status":`, after: `,${after.slice(1)}` };
}
