// The config of an image, as Go writes it and as nobody should.
import { describe, expect, test } from "bun:test";
import { sha256 } from "../../../src/image/digest.ts";
import { parseImageConfig } from "../../../src/image/image_config.ts";
import { json } from "../../support/images.ts";
import { refusal } from "../../support/refusal.ts";

const digest = sha256(new Uint8Array(0));

describe("parseImageConfig()", () => {
  test("reads what Go writes, nulls and all", () => {
    const config = parseImageConfig(
      json({
        architecture: "amd64",
        os: "linux",
        created: "2024-01-02T03:04:05.123456789Z",
        config: {
          Env: null,
          Cmd: ["sh"],
          Entrypoint: null,
          Labels: null,
          ExposedPorts: { "80/tcp": {} },
          Healthcheck: { Test: ["NONE"], Interval: 0 },
        },
        rootfs: { type: "layers", diff_ids: [digest] },
        history: [{ created_by: "a" }, { created_by: "b", empty_layer: true }],
      }),
    );
    expect(config.config).toEqual({
      Cmd: ["sh"],
      ExposedPorts: { "80/tcp": {} },
      Healthcheck: { Test: ["NONE"], Interval: 0 },
    });
    expect(config.history.map((entry) => entry.isEmptyLayer)).toEqual([false, true]);
    expect(config.createdAt).toBe("2024-01-02T03:04:05.123456789Z");
  });
  test("refuses other systems and broken documents", () => {
    const good = { os: "linux", rootfs: { type: "layers", diff_ids: [] } };
    expect(parseImageConfig(json(good))).toMatchObject({ diffIDs: [], createdAt: "0001-01-01T00:00:00Z", config: {} });
    expect(refusal(() => parseImageConfig(json({ ...good, os: "windows" })))).toContain('operating system "windows"');
    expect(refusal(() => parseImageConfig(json({ os: "linux" })))).toContain("rootfs");
    expect(refusal(() => parseImageConfig(json({ ...good, rootfs: { type: "layers", diff_ids: ["x"] } })))).toContain(
      "diff_ids.0",
    );
    expect(refusal(() => parseImageConfig(json({ ...good, config: { Env: [1] } })))).toContain("config.Env.0");
  });
});
