// What a legacy link says of the other container.
import { expect, test } from "bun:test";
import { linkVariables, parseLink } from "../../../../src/engine/containers/links.ts";

test("a link in each of its spellings", () => {
  expect(parseLink("db")).toEqual({ container: "db", alias: "db" });
  expect(parseLink("db:data")).toEqual({ container: "db", alias: "data" });
  expect(parseLink("/db:/app/data")).toEqual({ container: "db", alias: "data" });
  expect(() => parseLink("")).toThrow("empty string specified for links");
  expect(() => parseLink("a:b:c")).toThrow("bad format for links: a:b:c");
});

test("ports one by one, and runs of three or more by their ends", () => {
  const facts = {
    name: "/app/my-db",
    alias: "my-db",
    address: "10.0.0.2",
    env: ["A=1=2", "PATH=/x", "HOME=/", "BARE"],
  };
  expect(linkVariables({ ...facts, ports: [] })).toEqual(["MY_DB_NAME=/app/my-db", "MY_DB_ENV_A=1=2"]);
  expect(linkVariables({ ...facts, env: [], ports: ["81/tcp", "80/tcp"] }).slice(0, 3)).toEqual([
    "MY_DB_PORT=tcp://10.0.0.2:80",
    "MY_DB_PORT_80_TCP=tcp://10.0.0.2:80",
    "MY_DB_PORT_80_TCP_ADDR=10.0.0.2",
  ]);
  expect(linkVariables({ ...facts, env: [], ports: ["82/tcp", "80/tcp", "81/tcp"] })).toEqual([
    "MY_DB_PORT=tcp://10.0.0.2:80",
    "MY_DB_PORT_80_TCP_START=tcp://10.0.0.2:80",
    "MY_DB_PORT_80_TCP_ADDR=10.0.0.2",
    "MY_DB_PORT_80_TCP_PROTO=tcp",
    "MY_DB_PORT_80_TCP_PORT_START=80",
    "MY_DB_PORT_80_TCP_END=tcp://10.0.0.2:82",
    "MY_DB_PORT_80_TCP_PORT_END=82",
    "MY_DB_NAME=/app/my-db",
  ]);
});
