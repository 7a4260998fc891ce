// Users and groups against passwd and group files, well-formed and not.
import { describe, expect, test } from "bun:test";
import { UserLookupError } from "../../../../runtime/errors.ts";
import { parseGroup, parsePasswd, resolveUser } from "../../../../runtime/launch/user.ts";

const files = {
  passwd: "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n1234:x:55:56::/odd:/bin/sh\n",
  group: "root:x:0:\nwheel:x:10:root,alice\nalice:x:1000:\nextra:x:77:alice, bob\n",
};
const none = { passwd: "", group: "" };

test("a name brings its group, its home and the groups that list it", () => {
  expect(resolveUser("alice", [], files)).toEqual({
    uid: 1000,
    gid: 1000,
    groups: [1000, 10, 77],
    home: "/home/alice",
  });
});

test("nothing asked for is root, with or without files", () => {
  expect(resolveUser("", [], files)).toEqual({ uid: 0, gid: 0, groups: [0, 10], home: "/root" });
  expect(resolveUser("", [], none)).toEqual({ uid: 0, gid: 0, groups: [0], home: "/" });
});

test("a number is looked up first, and stands for itself otherwise", () => {
  expect(resolveUser("1000", [], files)).toMatchObject({ uid: 1000, gid: 1000, groups: [1000, 10, 77] });
  expect(resolveUser("4242", [], files)).toEqual({ uid: 4242, gid: 0, groups: [0], home: "/" });
  // An account may be named like a number.
  expect(resolveUser("1234", [], files)).toMatchObject({ uid: 55, gid: 56, home: "/odd" });
});

test("a group asked for replaces the account's, and then no other counts", () => {
  expect(resolveUser("alice:wheel", [], files)).toMatchObject({ gid: 10, groups: [10] });
  expect(resolveUser("alice:500", [], files)).toMatchObject({ gid: 500, groups: [500] });
  expect(resolveUser(":wheel", [], files)).toMatchObject({ uid: 0, gid: 10, groups: [10] });
});

test("added groups are names or numbers", () => {
  expect(resolveUser("4242", ["wheel", "900", "10"], files).groups).toEqual([0, 10, 900]);
});

describe("Docker's words", () => {
  const words =
    (user: string, groupAdd: string[] = []) =>
    () =>
      resolveUser(user, groupAdd, files);
  test("for what is not found", () => {
    expect(words("bob")).toThrow(new UserLookupError("unable to find user bob: no matching entries in passwd file"));
    expect(words("alice:none")).toThrow(
      new UserLookupError("unable to find group none: no matching entries in group file"),
    );
    expect(words("alice", ["none"])).toThrow("unable to find group none: no matching entries in group file");
  });
  test("for what is out of range", () => {
    expect(words("2147483648")).toThrow("uids and gids must be in range 0-2147483647");
    expect(words("-1")).toThrow("uids and gids must be in range");
    expect(words("0:99999999999")).toThrow("uids and gids must be in range");
  });
});

test("malformed lines are passed over", () => {
  const passwd =
    "\n# comment\nroot\n:x:0:0\nbad:x:abc:0::/:\nneg:x:-1:0::/:\nok:x:7:8::/ok:/bin/sh\n+::::::\nhuge:x:99999999999:1::/:\nshort:x:9:9";
  expect(parsePasswd(passwd)).toEqual([
    { name: "ok", uid: 7, gid: 8, home: "/ok" },
    { name: "short", uid: 9, gid: 9, home: "/" },
  ]);
  expect(parseGroup("wheel\nwheel:x:\nwheel:x:1e3:a\nok:x:5\nok2:x:6:a,,b ")).toEqual([
    { name: "ok", gid: 5, members: [""] },
    { name: "ok2", gid: 6, members: ["a", "", "b"] },
  ]);
});

test("an account without a name is in no group by an empty member", () => {
  expect(resolveUser("4242", [], { passwd: "", group: "odd:x:5:\n" }).groups).toEqual([0]);
});
