// Challenges and token replies: parsing, and malformed input.
import { expect, test } from "bun:test";
import { errorText, parseChallenges } from "../../../src/image/registry_auth.ts";

test("a bearer challenge gives realm, service and scope", () => {
  const header = 'Bearer realm="https://auth.example/token",service="reg.example",scope="repository:a/b:pull,push"';
  expect(parseChallenges(header)).toEqual([
    {
      scheme: "bearer",
      parameters: { realm: "https://auth.example/token", service: "reg.example", scope: "repository:a/b:pull,push" },
    },
  ]);
});

test("several challenges in one header stay apart", () => {
  const found = parseChallenges('Basic realm="x", Bearer realm="https://a/t" , service=plain');
  expect(found).toEqual([
    { scheme: "basic", parameters: { realm: "x" } },
    { scheme: "bearer", parameters: { realm: "https://a/t", service: "plain" } },
  ]);
});

test("a quoted value keeps its escaped characters", () => {
  expect(parseChallenges('Basic realm="a\\"b\\\\c"')[0]?.parameters.realm).toBe('a"b\\c');
});

test.each(["", "   ", ",,,", '"quoted"', "=x", "\u0000"])("nonsense gives no challenge: %j", (header) => {
  expect(parseChallenges(header)).toEqual([]);
});

test("an unterminated quote ends the list instead of running on", () => {
  expect(parseChallenges('Bearer realm="https://a/t')).toEqual([{ scheme: "bearer", parameters: {} }]);
});

test("the words of an error body come out as the CLI shows them", () => {
  const body = '{"errors":[{"code":"DENIED","message":"requested access to the resource is denied","detail":[]}]}';
  expect(errorText(body)).toBe("denied: requested access to the resource is denied");
});

test.each(["", "<html>", "[]", '{"errors":3}', "null"])("a body that is no error document has no words: %j", (body) => {
  expect(errorText(body)).toBe("");
});
