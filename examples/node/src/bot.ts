// Answers messages of one conversation, one after the other, however many replicas of this program run.
//
// node dist/bot.js --url amqp://guest:guest@localhost/ --conversation user-42 --times 3
import { appendFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { LockClient } from "./lockstore.js";

const { values } = parseArgs({
  options: {
    url: { type: "string", default: "amqp://guest:guest@localhost/" },
    namespace: { type: "string", default: "lockstore" },
    conversation: { type: "string", default: "user-42" },
    times: { type: "string", default: "1" },
    lifetime: { type: "string", default: "30" },
    work: { type: "string", default: "0.1" }, // seconds
    log: { type: "string", default: "/dev/stdout" },
    name: { type: "string", default: `node-${process.pid}` },
  },
});
const write = (text: string) => appendFile(values.log, `${text}\n`);

const locks = new LockClient(values.url, { namespace: values.namespace, holder: values.name });
for (let time = 0; time < Number(values.times); time++) {
  await locks.withLock(
    values.conversation,
    async (ticket) => {
      await write(`begin ${ticket.number} ${values.name}`);
      await sleep(Number(values.work) * 1000, undefined, { signal: ticket.signal });
      ticket.check(); // before whatever must not happen twice
      await write(`end ${ticket.number} ${values.name}`);
    },
    { wait: 600, lifetime: Number(values.lifetime) },
  );
}
await locks.close();
