import { hostname, userInfo } from "node:os";
import { Call, StartOver } from "./call.js";
import { LockLostError } from "./errors.js";
import { follow, type FollowOptions } from "./events.js";
import { Link, type Incoming, type Outgoing } from "./link.js";
import { partitionOf } from "./partition.js";
import type { Ticket } from "./ticket.js";

export * from "./errors.js";
export type { Event, FollowOptions } from "./events.js";
export type { Ticket } from "./ticket.js";

export interface ClientOptions {
  /** The daemon's `broker.namespace`. */
  readonly namespace?: string;
  /** The daemon's `broker.partitions`. A wrong number is put right by the daemon's answer. */
  readonly partitions?: number;
  /** A name for operators. */
  readonly holder?: string;
  /** Hears of lost connections. */
  readonly log?: (text: string) => void;
}

export interface LockOptions {
  /** Seconds in line at the longest; 0: at once or not at all. */
  readonly wait?: number;
  /** Seconds of a lease. It is renewed while you work; this is how long others wait for you if you die. */
  readonly lifetime?: number;
  /** Aborts the waiting. */
  readonly signal?: AbortSignal;
}

const UNDELIVERED_MOST = 6; // times in a row, each after half a second, before we ask partition 0 for the number

/** Locks of conversations, in order, by lockstore's daemon. One client serves all locks of a process. */
export class LockClient {
  readonly #url: string;
  readonly #namespace: string;
  readonly #holder: string;
  readonly #log: (text: string) => void;
  readonly #calls = new Map<string, Call>();
  readonly #link: Link;
  #partitions: number;
  #undelivered = 0;

  constructor(url: string, options: ClientOptions = {}) {
    this.#url = url;
    this.#namespace = options.namespace ?? "lockstore";
    this.#partitions = options.partitions ?? 1;
    this.#holder = options.holder ?? `${userInfo().username}@${hostname()}:${process.pid}`;
    this.#log = options.log ?? console.warn;
    const listener = {
      connected: () => this.#calls.forEach((call) => call.sendAgain()),
      received: (content: Buffer, properties: { correlationId?: unknown }) => this.#received(content, properties.correlationId),
      undelivered: (content: Buffer) => this.#returned(content),
    };
    this.#link = new Link(url, `${this.#namespace}.replies.`, listener, this.#log);
  }

  /** Hold a lock while `work` runs, and throw LockLostError if it was lost meanwhile. */
  async withLock<T>(conversationId: string, work: (ticket: Ticket) => Promise<T>, options: LockOptions = {}): Promise<T> {
    const ticket = await this.acquire(conversationId, options);
    try {
      const result = await work(ticket);
      ticket.check();
      return result;
    } catch (error) {
      // What the abort made of the work is not worth telling.
      throw ticket.signal.aborted && !(error instanceof LockLostError) ? ticket.signal.reason : error;
    } finally {
      await ticket.release();
    }
  }

  /** Wait for the turn. The lock is held until `ticket.release()`. */
  async acquire(conversationId: string, options: LockOptions = {}): Promise<Ticket> {
    const { wait = 60, lifetime = 30, signal } = options;
    signal?.throwIfAborted();
    const deadline = performance.now() + wait * 1000;
    for (;;) {
      const left = Math.max(0, deadline - performance.now()) / 1000;
      const call = this.#call({ conversationId, lifetime, wait: left, holder: this.#holder });
      const cancel = () => call.abandon(signal?.reason);
      signal?.addEventListener("abort", cancel, { once: true });
      try {
        return await call.turn;
      } catch (error) {
        if (!(error instanceof StartOver) || performance.now() >= deadline) throw error;
      } finally {
        signal?.removeEventListener("abort", cancel);
      }
    }
  }

  /** The public events of all conversations, or of one. Ends when `signal` is aborted. */
  events(options: Omit<FollowOptions, "namespace" | "log"> = {}) {
    return follow(this.#url, { ...options, namespace: this.#namespace, log: this.#log });
  }

  /** Release what is held, stop waiting, and end the connection. */
  async close(): Promise<void> {
    await Promise.all([...this.#calls.values()].map((call) => call.close()));
    await this.#link.close();
  }

  #call(wanted: ConstructorParameters<typeof Call>[0]): Call {
    const call: Call = new Call(
      wanted,
      (body, correlationId) => this.#send(body, correlationId),
      () => this.#calls.delete(call.requestId),
    );
    this.#calls.set(call.requestId, call);
    return call;
  }

  #send(body: Incoming, correlationId?: string): boolean {
    const isLost = this.#undelivered > UNDELIVERED_MOST;
    const partition = isLost ? 0 : partitionOf(body.conversation_id, this.#partitions);
    return this.#link.publish(`${this.#namespace}.requests`, String(partition), body, correlationId);
  }

  #returned(content: Buffer): void {
    this.#undelivered++;
    const body = JSON.parse(content.toString()) as Incoming;
    this.#calls.get(body.request_id ?? "")?.undelivered();
  }

  #received(content: Buffer, correlationId: unknown): void {
    let message: Outgoing;
    try {
      message = JSON.parse(content.toString()) as Outgoing;
    } catch {
      return;
    }
    // Whoever knows the name of our queue can direct answers to it. An id that is refused is not repeated: null.
    const call = this.#calls.get(message.request_id ?? "");
    if (call === undefined || (message.conversation_id ?? call.wanted.conversationId) !== call.wanted.conversationId) return;
    this.#undelivered = 0;
    if (message.type === "rejected" && message.partitions !== undefined) this.#partitions = message.partitions;
    call.answered(message, typeof correlationId === "string" ? correlationId : undefined);
  }
}
