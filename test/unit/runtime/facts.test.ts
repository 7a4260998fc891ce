// Parsers of what /proc and /sys say about the machine.
import { describe, expect, test } from "bun:test";
import { findControllers, parseCpuList } from "../../../runtime/facts.ts";

const HYBRID = `22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:10 master:2 - cgroup cgroup rw,memory
36 31 0:33 / /mnt/a\\040b/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:32 / /elsewhere/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`;

describe("findControllers", () => {
  test("a hybrid machine is v1, co-mounted controllers share a mount, and the first mount of a hierarchy counts", () => {
    const found = findControllers(HYBRID, () => "cpu memory");
    expect(found.version).toBe(1);
    expect([...found.controllers]).toEqual([
      ["cpu", "/sys/fs/cgroup/cpu,cpuacct"],
      ["cpuacct", "/sys/fs/cgroup/cpu,cpuacct"],
      ["memory", "/sys/fs/cgroup/memory"],
      ["devices", "/mnt/a b/devices"],
    ]);
  });

  test("a unified mount alone is v2, with the controllers it says it has", () => {
    const text = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const found = findControllers(text, (mount) =>
      mount === "/sys/fs/cgroup" ? "cpuset cpu io memory hugetlb pids rdma\n" : "",
    );
    expect(found.version).toBe(2);
    expect([...found.controllers.keys()]).toEqual(["cpuset", "cpu", "io", "memory", "pids"]);
    expect(new Set(found.controllers.values())).toEqual(new Set(["/sys/fs/cgroup"]));
  });

  test("no cgroup mount, or lines that are not mountinfo, give no controllers", () => {
    for (const text of ["", "x", "1 2 3\n - \n - cgroup", "a b c d e - cgroup x"]) {
      expect(findControllers(text, () => "").controllers.size).toBe(0);
    }
  });
});

test("parseCpuList() reads ranges and single numbers, and passes over what is neither", () => {
  expect(parseCpuList("0-2,5\n")).toEqual([0, 1, 2, 5]);
  expect(parseCpuList("7")).toEqual([7]);
  for (const text of ["", "x", "3-1", "-1", "1-"]) expect(parseCpuList(text)).toEqual([]);
});
