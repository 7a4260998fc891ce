// Random damage to what comes from registries and archives: tar streams, manifests, configs, references, hosts files and
// challenges. Each parser answers with a result or with its own kind of error, in bounded time.
//
//   BERTH_FUZZ_SECONDS=600 BERTH_FUZZ_SEED=7 bun test test/root/image_fuzz.test.ts
//
// A failure names the seed of its round: BERTH_FUZZ_SEED=<that> finds it at once.
import { expect, test } from "bun:test";
import process from "node:process";
import { LayerError } from "../../runtime/layer/layer_error.ts";
import { TarReader } from "../../runtime/layer/tar_read.ts";
import { isKind } from "../../src/errors.ts";
import { parseHostsFile } from "../../src/image/hosts_toml.ts";
import { parseImageConfig } from "../../src/image/image_config.ts";
import { parseManifest } from "../../src/image/manifest.ts";
import { canonical, parseReference } from "../../src/image/reference.ts";
import { parseChallenges } from "../../src/image/registry_auth.ts";
import { hostileLayers } from "../support/hostile_layers.ts";
import { directory, file, imageOf, json, layerOf, symlink } from "../support/images.ts";

/** In all, shared by the parsers. */
const SECONDS = Number(process.env["BERTH_FUZZ_SECONDS"] ?? 1.5);
const SEED = Number(process.env["BERTH_FUZZ_SEED"] ?? Date.now() % 1_000_000);
/** One round of any parser on some 10 KB: a quadratic one would be far beyond. */
const ROUND_MS = 5000;

type Random = () => number;

/** mulberry32: small, and good enough to choose bytes. */
function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const below = (random: Random, bound: number): number => Math.floor(random() * bound);

/** Bytes flipped, cut, doubled, or taken from another sample. */
function damage(random: Random, samples: readonly Uint8Array[]): Uint8Array {
  let bytes = Buffer.from(samples[below(random, samples.length)] ?? new Uint8Array(0));
  for (let times = 1 + below(random, 6); times > 0 && bytes.length > 0; times--) {
    const at = below(random, bytes.length);
    const end = Math.min(bytes.length, at + 1 + below(random, 64));
    const kind = below(random, 5);
    if (kind === 0) bytes[at] = below(random, 256);
    else if (kind === 1) bytes[at] = (bytes[at] ?? 0) ^ (1 << below(random, 8));
    else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
    else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
    else {
      const other = Buffer.from(samples[below(random, samples.length)] ?? new Uint8Array(0));
      bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(below(random, other.length + 1))]);
    }
  }
  return bytes.subarray(0, 200_000);
}

const image = imageOf([
  layerOf([
    directory("etc"),
    file("etc/a", "x".repeat(700)),
    symlink("l", "etc/a"),
    file(`${"long/".repeat(40)}f`, "y"),
  ]),
]);
const texts = (...all: string[]): Uint8Array[] => all.map((text) => Buffer.from(text));
const isInvalid = (error: unknown): boolean => isKind(error, "invalid");

const parsers: {
  name: string;
  samples: Uint8Array[];
  parse: (bytes: Uint8Array) => void;
  isOwn: (e: unknown) => boolean;
}[] = [
  {
    name: "tar",
    samples: [
      ...image.layers.map(({ tar }) => tar),
      ...hostileLayers("/outside").flatMap(({ name, blob }) =>
        /stream|gzip|zstd|thousand|million|MiB/.test(name) ? [] : [blob()],
      ),
    ],
    parse(bytes) {
      const reader = new TarReader({ entry: () => undefined, data: () => undefined, end: () => undefined });
      for (let at = 0; at < bytes.length; at += 777) reader.write(bytes.subarray(at, at + 777));
      reader.finish();
    },
    isOwn: (error) => error instanceof LayerError,
  },
  {
    name: "manifest",
    samples: [
      image.manifest,
      json({
        schemaVersion: 2,
        manifests: [{ digest: image.id, size: 5, mediaType: "x", platform: { os: "linux", architecture: "amd64" } }],
      }),
      json({ schemaVersion: 1, fsLayers: [] }),
    ],
    parse: (bytes) => void parseManifest(bytes, ""),
    isOwn: isInvalid,
  },
  { name: "config", samples: [image.config], parse: (bytes) => void parseImageConfig(bytes), isOwn: isInvalid },
  {
    name: "reference",
    samples: texts("busybox", "a.b:5000/c/d__e:tag", `host/x@${image.id}`, "[::1]:5000/x:y", "docker.io/library/x"),
    parse(bytes) {
      const reference = parseReference(Buffer.from(bytes).toString());
      // What is understood is understood the same again by its full name.
      expect(parseReference(canonical(reference))).toEqual(reference);
    },
    isOwn: isInvalid,
  },
  {
    name: "hosts.toml",
    samples: texts(
      'server = "https://x"\n[host."http://y"]\ncapabilities = ["pull"]\nclient = [["a","b"]]\n[host."http://y".header]\na = "b"',
    ),
    parse: (bytes) => void parseHostsFile(Buffer.from(bytes).toString(), "hosts.toml"),
    isOwn: isInvalid,
  },
  {
    name: "challenges",
    samples: texts('Bearer realm="https://a/t",service="s \\"q\\"",scope="repository:a:pull", Basic realm=x'),
    parse: (bytes) => void parseChallenges(Buffer.from(bytes).toString("latin1")),
    isOwn: () => false,
  },
];

test.each(parsers)(
  "$name: random damage gives a result or a plain refusal",
  ({ name, samples, parse, isOwn }) => {
    const until = performance.now() + (SECONDS * 1000) / parsers.length;
    let rounds = 0;
    for (let seed = SEED; rounds === 0 || performance.now() < until; seed++, rounds++) {
      const bytes = damage(randomOf(seed), samples);
      const started = performance.now();
      try {
        parse(bytes);
      } catch (error) {
        if (!isOwn(error)) throw new Error(`${name}, BERTH_FUZZ_SEED=${seed}: ${String(error)}`, { cause: error });
      }
      if (performance.now() - started > ROUND_MS) throw new Error(`${name}, BERTH_FUZZ_SEED=${seed}: takes too long`);
    }
    expect(rounds).toBeGreaterThan(0);
  },
  SECONDS * 1000 + 30_000,
);
