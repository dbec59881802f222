import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import amqp, { type ChannelModel, type ConfirmChannel, type ConsumeMessage, type MessageProperties } from "amqplib";
import type * as messages from "./messages.js";

export type Incoming = messages.RequestMessage | messages.ReleaseMessage | messages.RenewMessage;
export type Outgoing = Exclude<messages.Message, Incoming>;

export interface Listener {
  /** There is a connection, with a new queue. Bind it or publish with it, nothing that was sent before is still under way. */
  connected(channel: ConfirmChannel, queue: string): Promise<void> | void;
  received(content: Buffer, properties: MessageProperties): void;
  /** RabbitMQ did not take this message, or had no queue for it. */
  undelivered(body: Buffer): void;
}

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 5000;

/** One connection with a channel and an exclusive queue, opened anew whenever it is lost. */
export class Link {
  readonly #url: string;
  readonly #prefix: string;
  readonly #listener: Listener;
  readonly #log: (text: string) => void;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #model: ChannelModel | undefined;
  #channel: ConfirmChannel | undefined;
  #queue = "";

  /** @param prefix of the queue's name, as `lockstore.replies.` */
  constructor(url: string, prefix: string, listener: Listener, log: (text: string) => void) {
    this.#url = url;
    this.#prefix = prefix;
    this.#listener = listener;
    this.#log = log;
    this.#running = this.#run();
  }

  /** Publish, persistent and mandatory. False: there is no connection, and `connected` will be called when there is one. */
  publish(exchange: string, routingKey: string, body: object, correlationId?: string): boolean {
    const channel = this.#channel;
    if (channel === undefined) return false;
    const content = Buffer.from(JSON.stringify(body));
    const properties = { persistent: true, mandatory: true, contentType: "application/json", replyTo: this.#queue };
    const options = correlationId === undefined ? properties : { ...properties, correlationId };
    try {
      channel.publish(exchange, routingKey, content, options, (refused) => {
        if (refused && channel === this.#channel) this.#listener.undelivered(content);
      });
    } catch {
      return false; // the channel is being closed
    }
    return true;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#model?.close().catch(() => undefined);
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    let delay = FIRST_DELAY_MS;
    while (!signal.aborted) {
      try {
        const { lost } = await this.#open();
        delay = FIRST_DELAY_MS;
        await lost;
      } catch (error) {
        if (!signal.aborted) this.#log(`no connection to RabbitMQ, trying again: ${error instanceof Error ? error.message : error}`);
      }
      this.#channel = undefined;
      await this.#model?.close().catch(() => undefined);
      this.#model = undefined;
      await sleep(delay * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
      delay = Math.min(2 * delay, LONGEST_DELAY_MS);
    }
  }

  async #open(): Promise<{ lost: Promise<never> }> {
    const model = (this.#model = await amqp.connect(this.#url, { timeout: 10_000 }));
    let fail!: (error: Error) => void;
    const lost = new Promise<never>((_, reject) => (fail = reject));
    lost.catch(() => undefined); // it may fail before anybody waits for it
    model.on("error", fail);
    model.on("close", () => fail(new Error("the connection was closed")));
    const channel = await model.createConfirmChannel();
    channel.on("error", fail);
    channel.on("close", () => fail(new Error("the channel was closed")));
    channel.on("return", (message) => this.#listener.undelivered(message.content));
    const { queue } = await channel.assertQueue(`${this.#prefix}${randomUUID()}`, { exclusive: true, durable: false });
    const consume = (message: ConsumeMessage | null) => {
      if (message === null) fail(new Error("the queue was deleted"));
      else if (channel === this.#channel) this.#listener.received(message.content, message.properties);
    };
    await channel.consume(queue, consume, { noAck: true });
    if (this.#closing.signal.aborted) throw new Error("closed");
    this.#channel = channel;
    this.#queue = queue;
    await this.#listener.connected(channel, queue);
    return { lost };
  }
}
