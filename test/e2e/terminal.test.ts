// A real terminal: the docker CLI in tmux. Job control, the window's size, detaching and attaching again.
import { afterAll, beforeAll, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
let tmux: (...args: string[]) => Promise<string>;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  tmux = async (...args) =>
    (await run(["tmux", "-S", `${berth.directory}/tmux`, ...args], { env: { ...berth.clientEnv, TERM: "xterm" } }))
      .stdout;
  await tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", "90", "-y", "30", "sh");
});
afterAll(async () => {
  await tmux("kill-server");
  await berth[Symbol.asyncDispose]();
});

const type = (text: string): Promise<string> => tmux("send-keys", "-t", "t", "-l", text);
const press = (key: string): Promise<string> => tmux("send-keys", "-t", "t", key);
const screen = (): Promise<string> => tmux("capture-pane", "-p", "-t", "t");
async function enter(line: string): Promise<void> {
  await type(line);
  await press("Enter");
}
/** Waits for the screen to show something; a failure tells what it shows instead. */
async function shows(what: string, isThere: (text: string) => boolean): Promise<void> {
  await until(`the screen shows ${what}`, async () => isThere(await screen())).catch(async (error: unknown) => {
    throw new Error(`${String(error)}\n${await screen()}`);
  });
}
const sees = (wanted: string): Promise<void> => shows(JSON.stringify(wanted), (text) => text.includes(wanted));

/** What is typed before the CLI has let go of the terminal is lost: its own shell must be back first. */
const ownPrompt = (): Promise<void> => shows("the shell's own prompt", (text) => /(\n|# )#$/.test(text.trimEnd()));

async function detach(): Promise<void> {
  await press("C-p");
  await press("C-q");
  await ownPrompt();
}

test("docker run -it: job control, resize, detach, attach, exec -it", async () => {
  await enter("docker run -it --name term busybox sh");
  await sees("/ #");
  await enter("stty size; tty");
  await sees("30 90");
  await sees("/dev/pts/0");
  await tmux("resize-window", "-t", "t", "-x", "100", "-y", "40");
  await until("the new size arrives", async () => {
    await enter("stty size");
    return (await screen()).includes("40 100");
  });
  await enter("clear; sleep 1000");
  await until("it sleeps", async () => (await berth.dockerOK("top", "term")).includes("sleep 1000"));
  await press("C-z");
  await sees("Stopped");
  await enter("jobs; kill -9 %1; echo job control: $((6*7))");
  await sees("job control: 42");
  await detach();
  await enter("clear; echo detached from $(docker ps -q --filter name=term | wc -l)");
  await sees("detached from 1");
  await enter("docker attach term");
  await enter("echo attached again: $((40+2))");
  await sees("attached again: 42");
  await detach();
  await enter("clear; docker exec -it term sh -c 'tty; stty size'");
  await sees("/dev/pts/1");
  await sees("40 100");
  await enter("clear; docker attach term");
  await enter("echo third: $((40+3))");
  await sees("third: 43");
  await enter("exit 7");
  const state = ["inspect", "term", "--format", "{{.State.Status}}"];
  await until("it has ended", async () => (await berth.dockerOK(...state)) === "exited");
  await ownPrompt();
  await enter("clear; echo code=$(docker wait term)");
  await sees("code=7");
  await berth.dockerOK("rm", "term");
}, 60_000);
