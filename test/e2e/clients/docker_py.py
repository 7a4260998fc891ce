"""docker-py against berth: run, attach, exec, logs, copy, events. Prints one line per step; exits with 1 at the first surprise.

The socket is in DOCKER_HOST; the image busybox is loaded already.
"""
import io
import os
import socket
import sys
import tarfile
import threading

import docker

client = docker.DockerClient(base_url=os.environ["DOCKER_HOST"], version="auto", timeout=30)


def same(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: got {got!r}, wanted {wanted!r}")
    print(f"ok {what}")


same("ping", client.ping(), True)
same("version", client.version()["Os"], "linux")
same("run", client.containers.run("busybox", ["echo", "hi"], remove=True), b"hi\n")

try:
    client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    sys.exit("a failing command raised nothing")
except docker.errors.ContainerError as error:
    same("failing run", (error.exit_status, error.stderr), (3, b"bad\n"))

seen = []
events = client.events(decode=True)


def listen():
    for event in events:
        seen.append((event["Type"], event["Action"]))


listener = threading.Thread(target=listen, daemon=True)
listener.start()

container = client.containers.create("busybox", ["cat"], stdin_open=True, name="py", labels={"of": "py"})
attached = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
container.start()
raw = attached._sock
raw.sendall(b"through attach\n")
raw.shutdown(socket.SHUT_WR)
data = b""
while True:
    piece = raw.recv(4096)
    if not piece:
        break
    data += piece
# Framed: eight bytes of header, then the payload.
same("attach", data[8:], b"through attach\n")
same("wait", container.wait(timeout=10)["StatusCode"], 0)
same("logs", container.logs(), b"through attach\n")
container.remove()

container = client.containers.run("busybox", ["sleep", "100"], detach=True, name="py2", environment={"A": "b"})
code, output = container.exec_run(["sh", "-c", "echo $A; exit 4"])
same("exec", (code, output), (4, b"b\n"))
code, (out, err) = container.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
same("exec demux", (out, err), (b"o\n", b"e\n"))
same("exec stream", b"".join(container.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True).output), b"1\n2\n")

buffer = io.BytesIO()
with tarfile.open(fileobj=buffer, mode="w") as archive:
    info = tarfile.TarInfo("copied")
    info.size = 5
    archive.addfile(info, io.BytesIO(b"bytes"))
same("put_archive", container.put_archive("/tmp", buffer.getvalue()), True)
chunks, stat = container.get_archive("/tmp/copied")
with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
    same("get_archive", archive.extractfile("copied").read(), b"bytes")

same("list", [one.name for one in client.containers.list(filters={"name": "py2"})], ["py2"])
same("top", container.top()["Processes"][0][-1], "sleep 100")
same("top with arguments", container.top(ps_args="-o pid,comm")["Titles"], ["PID", "COMMAND"])
sample = container.stats(stream=False)
same("stats", (sample["name"], sample["pids_stats"]["current"]), ("/py2", 1))
stream = container.stats(decode=True)
same("stats that follow", [next(stream)["id"] for _ in range(2)], [container.id] * 2)
stream.close()
same("diff", container.diff(), [{"Path": "/tmp", "Kind": 0}, {"Path": "/tmp/copied", "Kind": 1}])
with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as archive:
    same("export", archive.extractfile("tmp/copied").read(), b"bytes")
container.kill()
container.wait(timeout=10)
container.reload()
same("killed", (container.status, container.attrs["State"]["ExitCode"]), ("exited", 137))
container.remove(v=True)
try:
    client.containers.get("py2")
    sys.exit("a removed container was found")
except docker.errors.NotFound:
    print("ok not found")

client.containers.create("busybox", ["true"], name="py3", labels={"goes": "1"})
pruned = client.containers.prune(filters={"label": ["goes=1"], "until": "10m"})
same("prune spares what is new", pruned, {"ContainersDeleted": None, "SpaceReclaimed": 0})
same("prune", len(client.containers.prune(filters={"label": ["goes=1"]})["ContainersDeleted"]), 1)
volume = client.volumes.create("pyvolume", labels={"k": "v"})
same("volume", client.containers.run("busybox", ["sh", "-c", "echo x >/v/f; cat /v/f"], volumes={"pyvolume": {"bind": "/v", "mode": "rw"}}, remove=True), b"x\n")
volume.remove()
same("image", client.images.get("busybox").tags, ["busybox:latest"])
network = client.networks.create("pynet", driver="bridge")
same("network", client.networks.get("pynet").attrs["Driver"], "bridge")
network.remove()
events.close()
for wanted in [("container", "create"), ("container", "start"), ("container", "die"), ("container", "destroy"), ("volume", "create"), ("network", "create")]:
    if wanted not in seen:
        sys.exit(f"event {wanted} did not come: {seen}")
print("ok events")
