import { randomUUID } from "node:crypto";
import { LockError, RefusedError, WaitExpiredError } from "./errors.js";
import type { Incoming, Outgoing } from "./link.js";
import { Ticket } from "./ticket.js";

const GRACE_MS = 5000; // the daemon decides when the wait is over, and its answer takes a moment
const PATIENCE_MS = 5000; // for an answer, before the message is sent again
const UNDELIVERED_PAUSE_MS = 500;

/** The request has ended without a turn of ours, as after a long loss of the connection. A new one may have more luck. */
export class StartOver extends LockError {}

export interface Wanted {
  readonly conversationId: string;
  readonly lifetime: number;
  readonly wait: number;
  readonly holder: string;
}

/** One request from sending it to the end of its ticket. Whatever is in doubt is sent again, under the same id. */
export class Call {
  readonly requestId = randomUUID();
  readonly turn: Promise<Ticket>;
  #state: "waiting" | "held" | "releasing" | "over" = "waiting";
  #grant!: (ticket: Ticket) => void;
  #fail!: (reason: unknown) => void;
  #ended!: () => void;
  readonly #end: Promise<void>;
  #ticket: Ticket | undefined;
  #firstSent = 0;
  #timesSent = 0;
  #isAnswered = false;
  readonly #renewals = new Map<string, number>(); // tag -> when it was sent
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(
    readonly wanted: Wanted,
    private readonly send: (body: Incoming, correlationId?: string) => boolean,
    private readonly over: () => void,
  ) {
    this.turn = new Promise((resolve, reject) => ([this.#grant, this.#fail] = [resolve, reject]));
    this.#end = new Promise((resolve) => (this.#ended = resolve));
    this.#timers.push(
      setTimeout(() => this.abandon(new WaitExpiredError("nobody answered in time; is a daemon running?")), wanted.wait * 1000 + GRACE_MS),
      setInterval(() => this.#tick(), PATIENCE_MS),
    );
    this.sendAgain();
  }

  /** There is a new connection, or a message did not get through: say again what we want. */
  sendAgain(): void {
    if (this.#state === "waiting" || this.#state === "held") this.#request(); // it moves the ticket to the new reply queue
    if (this.#state === "held") this.#renew();
    if (this.#state === "releasing") this.#sendRelease();
  }

  undelivered(): void {
    this.#timers.push(setTimeout(() => this.sendAgain(), UNDELIVERED_PAUSE_MS));
  }

  /** Stop waiting. A grant that is already under way is given back. */
  abandon(reason: unknown): void {
    if (this.#state !== "waiting") return;
    this.#fail(reason);
    void this.#release();
  }

  /** Give up everything: the client is being closed. */
  async close(): Promise<void> {
    this.#ticket?.lose("the client was closed");
    this.abandon(new LockError("the client was closed"));
    await this.#release();
    this.#finish(new LockError("the client was closed"));
  }

  answered(message: Outgoing, correlationId: string | undefined): void {
    this.#isAnswered = true;
    switch (message.type) {
      case "granted": {
        // The store's clock is not ours: only differences count, from a moment that was certainly not later than the store's.
        const lease = (message.expires_at - message.at) * 1000;
        const waited = this.#timesSent === 1 ? message.waited * 1000 : 0;
        this.#ticket ??= new Ticket(this.wanted.conversationId, message.ticket_number, () => this.#release());
        return this.#lastsUntil(this.#firstSent + waited + lease);
      }
      case "renewed": {
        const sent = this.#renewals.get(correlationId ?? "");
        if (sent !== undefined) this.#lastsUntil(sent + (message.expires_at - message.at) * 1000);
        return;
      }
      case "released":
      case "cancelled":
        if (message.reason === "forced") return this.#finish(new RefusedError("forced", `ended by ${message.by ?? "an operator"}`));
        return this.#finish(new StartOver(message.reason));
      case "expired":
        return this.#finish(message.phase === "waiting" ? new WaitExpiredError("the wait is over") : new StartOver("expired"));
      case "rejected":
        // The client has noted the number of partitions.
        if (message.reason === "wrong_partition") return this.sendAgain();
        // Of a lease, only these say that it is over.
        if (this.#state === "held" && !["finished", "unknown_ticket", "forbidden"].includes(message.reason)) return;
        if (message.reason === "finished") return this.#finish(new StartOver(`it has ended: ${message.ended ?? "long ago"}`));
        return this.#finish(new RefusedError(message.reason, message.detail));
    }
  }

  #lastsUntil(end: number): void {
    if (this.#state === "held") return this.#ticket?.lastsUntil(end);
    if (this.#state !== "waiting" || this.#ticket === undefined) return;
    // A request that was sent again may have been granted long ago. The answer to a renewal says how long the lease lasts.
    if (end - performance.now() < (this.wanted.lifetime * 1000) / 10) return this.#renew();
    this.#state = "held";
    this.#ticket.lastsUntil(end);
    this.#timers.push(setInterval(() => this.#renew(), (this.wanted.lifetime * 1000) / 3));
    this.#grant(this.#ticket);
  }

  #request(): void {
    const { conversationId, lifetime, wait, holder } = this.wanted;
    const now = performance.now();
    const body = { type: "request", conversation_id: conversationId, request_id: this.requestId, lifetime, wait, holder } as const;
    if (!this.send(body)) return;
    if (this.#timesSent++ === 0) this.#firstSent = now;
  }

  #renew(): void {
    if (this.#ticket?.signal.aborted) return;
    const tag = randomUUID();
    const now = performance.now();
    const body = { type: "renew", conversation_id: this.wanted.conversationId, request_id: this.requestId } as const;
    if (!this.send(body, tag)) return; // never queued: `sendAgain` sends one
    this.#renewals.set(tag, now);
    for (const [old, sent] of this.#renewals) if (now - sent > this.wanted.lifetime * 1000) this.#renewals.delete(old);
  }

  #sendRelease(): void {
    this.send({ type: "release", conversation_id: this.wanted.conversationId, request_id: this.requestId });
  }

  async #release(): Promise<void> {
    if (this.#state === "waiting" || this.#state === "held") {
      this.#stopTimers();
      this.#state = "releasing";
      this.#sendRelease();
      // After that time there is nothing left to be released.
      const limit = this.wanted.lifetime * 1000 + GRACE_MS;
      this.#timers.push(setInterval(() => this.#tick(), PATIENCE_MS), setTimeout(() => this.#finish(new StartOver("given up")), limit));
    }
    await Promise.race([this.#end, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS).unref())]);
  }

  #tick(): void {
    if (this.#state === "releasing" || (this.#state === "waiting" && !this.#isAnswered)) this.sendAgain();
  }

  #finish(reason: LockError): void {
    if (this.#state === "over") return;
    this.#stopTimers();
    if (this.#state === "waiting") this.#fail(reason);
    if (this.#state === "held") this.#ticket?.lose(reason.message);
    this.#state = "over";
    this.#ended();
    this.over();
  }

  #stopTimers(): void {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
  }
}
