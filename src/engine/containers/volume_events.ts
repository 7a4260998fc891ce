// The volume events of a container that starts or has ended.
import type { Events } from "../mod.ts";
import type { ContainerRecord } from "./container.ts";

export function announceVolumes(deps: { events: Events }, record: ContainerRecord, action: "mount" | "unmount"): void {
  for (const mount of record.mounts) {
    if (mount.type !== "volume") continue;
    const { driver, destination, isWritable, propagation } = mount;
    const common = { driver, container: record.id };
    deps.events.publish(
      "volume",
      action,
      mount.name,
      action === "unmount"
        ? common
        : {
            ...common,
            destination,
            "read/write": String(isWritable),
            propagation,
          },
    );
  }
}
