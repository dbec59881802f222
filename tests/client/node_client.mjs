// Plays one scene with the client of examples/node against real servers: node node_client.mjs SCENE URL NAMESPACE
// It prints a line where the test has to do its part, and goes on when it reads one.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { LockClient, LockLostError, RefusedError, WaitExpiredError } from "../../examples/node/dist/lockstore.js";

const [scene, url, namespace] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const client = (options = {}) => new LockClient(url, { namespace, partitions: 2, log: () => {}, ...options });

async function testDoes(what) {
  console.log(what);
  await lines.next();
}

function lost({ signal }) {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    signal.addEventListener("abort", () => resolve(signal.reason));
  });
}

const scenes = {
  async "a wait that is cancelled leaves the line"() {
    const locks = client();
    const first = await locks.acquire("cancel");
    const controller = new AbortController();
    let ready;
    const subscribed = new Promise((resolve) => (ready = resolve));
    const heard = [];
    const done = new AbortController();
    const queued = (async () => {
      for await (const event of locks.events({ conversationId: "cancel", subscribed: () => ready(), signal: done.signal })) heard.push(event);
    })();
    await subscribed;
    const second = locks.acquire("cancel", { signal: controller.signal });
    const third = locks.acquire("cancel");
    while (heard.length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    controller.abort(new Error("no longer wanted"));
    await assert.rejects(second, /no longer wanted/);
    await first.release();
    const ticket = await third;
    assert.equal(ticket.number, first.number + 2);
    await ticket.release();
    while (heard.length < 6) await new Promise((resolve) => setTimeout(resolve, 20));
    done.abort();
    await queued;
    const told = heard.map((event) => [event.type, event.ticket_number - first.number]);
    // How the end of the first and the grant of the third are told apart in time is the daemon's affair.
    assert.deepEqual(told.slice(0, 3), [["queued", 1], ["queued", 2], ["cancelled", 1]]);
    assert.deepEqual(told.slice(3).sort(), [["granted", 2], ["released", 0], ["released", 2]]);
    await locks.close();
  },

  async "what is refused has a reason, and a wait ends"() {
    const locks = client();
    const first = await locks.acquire("busy");
    await assert.rejects(locks.acquire("busy", { wait: 0 }), (error) => error instanceof RefusedError && error.reason === "busy");
    await assert.rejects(locks.acquire("busy", { wait: 0.2 }), WaitExpiredError);
    await assert.rejects(locks.acquire(""), (error) => error instanceof RefusedError && error.reason === "invalid");
    await first.release();
    assert.equal(await locks.withLock("busy", async (ticket) => ticket.number - first.number), 2);
    await locks.close();
  },

  async "a wrong number of partitions is put right"() {
    for (const partitions of [1, 7]) {
      const locks = client({ partitions });
      for (const name of ["a", "b", "c", "d"]) await locks.withLock(`${name}-${partitions}`, async (ticket) => ticket.check());
      await locks.close();
    }
  },

  async "a lease that another one ends is lost"() {
    const locks = client();
    const ticket = await locks.acquire("stolen", { lifetime: 600 });
    const reason = lost(ticket);
    await testDoes(String(ticket.number));
    assert(await reason instanceof LockLostError);
    assert.throws(() => ticket.check(), LockLostError);
    await ticket.release();
    await locks.close();
  },

  async "a lease that nobody renews is lost in time"() {
    const locks = client();
    await testDoes("warm");
    const work = locks.withLock("frozen", async (ticket) => {
      const reason = lost(ticket);
      await testDoes("freeze");
      throw await reason;
    }, { lifetime: 4 });
    await assert.rejects(work, LockLostError);
    await testDoes("lost");
    await locks.close();
  },
};

await scenes[scene]();
process.stdin.destroy();
