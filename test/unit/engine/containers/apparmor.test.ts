// Which AppArmor profile a container gets, and what happens where the default one cannot be had.
import { expect, test } from "bun:test";
import * as v from "valibot";
import { apparmorProfile, createAppArmor } from "../../../../src/engine/containers/apparmor.ts";
import { HostConfig } from "../../../../src/schema/host_config.ts";

const host = (given: object = {}) => v.parse(HostConfig, given);
const PRIVILEGED = { Privileged: true };
const named = (name: string) => ({ SecurityOpt: [`apparmor=${name}`] });

function withLoad(load: () => Promise<"loaded" | "missing">) {
  const warnings: string[] = [];
  const log = { warn: (text: string) => void warnings.push(text) };
  const quiet = { debug() {}, info() {}, error() {}, with: () => quiet, ...log };
  return {
    warnings,
    apparmor: createAppArmor({ isSupported: true, defaultProfile: "docker-default", load, log: quiet }),
  };
}

test("the profile of a container: the one named, none for privileged ones, or the default", () => {
  const of = (given: object, isSupported = true) => apparmorProfile(host(given), isSupported, "docker-default");
  expect(of({})).toBe("docker-default");
  expect(of(PRIVILEGED)).toBe("unconfined");
  expect(of({ ...PRIVILEGED, ...named("mine") })).toBe("mine");
  expect(of(named("unconfined"))).toBe("unconfined");
  expect(of({}, false)).toBe("");
});

test("the default profile is loaded for those alone that are to have it", async () => {
  let loads = 0;
  const { apparmor } = withLoad(async () => (loads++, "loaded"));
  for (const given of [{}, PRIVILEGED, named("mine"), named("unconfined"), named("docker-default")]) {
    await apparmor.prepare(host(given));
  }
  expect(loads).toBe(2);
  expect([apparmor.profile(host()), apparmor.profile(host(PRIVILEGED)), apparmor.profile(host(named("mine")))]).toEqual(
    ["docker-default", "", "mine"],
  );
});

test("without a parser containers run without it, and one warning says so", async () => {
  const { apparmor, warnings } = withLoad(async () => "missing");
  await apparmor.prepare(host());
  await apparmor.prepare(host());
  expect(apparmor.profile(host())).toBe("");
  expect(warnings).toHaveLength(1);
});

test("a parser that refuses it refuses the start", async () => {
  const { apparmor } = withLoad(() => Promise.reject(new Error("bad rule")));
  await expect(apparmor.prepare(host())).rejects.toThrow(
    "AppArmor enabled on system but the docker-default profile could not be loaded: bad rule",
  );
});
