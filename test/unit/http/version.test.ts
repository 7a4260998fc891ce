// src/http/version.ts: prefixes of paths and the range of versions.
import { expect, test } from "bun:test";
import { commonHeaders, versionOf, withoutVersion } from "../../../src/http/version.ts";

test("the prefix is taken off, and a path without one stays", () => {
  expect(withoutVersion("/v1.24/containers/json")).toBe("/containers/json");
  expect(withoutVersion("/containers/json")).toBe("/containers/json");
  expect(withoutVersion("/v1.50")).toBe("/");
  expect(withoutVersion("/volumes/v1.50/x")).toBe("/volumes/v1.50/x");
  expect(withoutVersion("/version")).toBe("/version");
  expect(withoutVersion("/v1.50/v1.50/x")).toBe("/v1.50/x");
});

test("a path without a version speaks the newest one", () => {
  expect(versionOf("/_ping")).toEqual({ major: 1, minor: 55 });
  expect(versionOf("/v1.24/_ping")).toEqual({ major: 1, minor: 24 });
  expect(versionOf("/volumes")).toEqual({ major: 1, minor: 55 });
});

test("versions out of range are refused in Docker's words, compared as numbers", () => {
  const tooOld = (version: string) =>
    `client version ${version} is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version`;
  expect(() => versionOf("/v1.12/_ping")).toThrow(tooOld("1.12"));
  expect(() => versionOf("/v1.9/_ping")).toThrow(tooOld("1.9"));
  expect(() => versionOf("/v1/_ping")).toThrow(tooOld("1"));
  expect(() => versionOf("/v1.99/_ping")).toThrow(
    "client version 1.99 is too new. Maximum supported API version is 1.55",
  );
  expect(() => versionOf("/v2.0/_ping")).toThrow(
    "client version 2.0 is too new. Maximum supported API version is 1.55",
  );
});

test("the common headers are the four that Docker sends", () => {
  expect(commonHeaders({ engineVersion: "0.1.0", isExperimental: true })).toEqual({
    "Api-Version": "1.55",
    "Docker-Experimental": "true",
    Ostype: "linux",
    Server: "Docker/0.1.0 (linux)",
  });
});
