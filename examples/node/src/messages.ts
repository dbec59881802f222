// Made from docs/schemas/messages.schema.json by json-schema-to-typescript; a test compares.

/**
 * Any message of lockstore's wire protocol, version 1.
 */
export type Message =
  | RequestMessage
  | ReleaseMessage
  | RenewMessage
  | QueuedMessage
  | GrantedMessage
  | RenewedMessage
  | ReleasedMessage
  | ExpiredMessage
  | CancelledMessage
  | RejectedMessage;
export type ReleasedReason = "holder" | "forced";
export type ExpiredPhase = "held" | "waiting";
export type CancelledReason = "requester" | "unreachable" | "forced";
export type RejectedReason =
  | "invalid"
  | "too_large"
  | "wrong_partition"
  | "busy"
  | "line_full"
  | "store_full"
  | "finished"
  | "unknown_ticket"
  | "forbidden";
/**
 * only if reason is finished; null if that is no longer remembered
 */
export type TicketEndIfKnown = TicketEnd | null;
export type TicketEnd = "released" | "expired" | "cancelled";

/**
 * Request a ticket.
 */
export interface RequestMessage {
  /**
   * at most 200 bytes of UTF-8
   */
  conversation_id: string;
  type: "request";
  /**
   * at most 255 bytes of UTF-8
   */
  request_id?: string | null;
  /**
   * duration of the lease in seconds, from the grant or the renewal
   */
  lifetime?: number | null;
  /**
   * maximum time in line in seconds; 0: granted immediately or rejected
   */
  wait?: number | null;
  holder?: string | null;
}
/**
 * Release a lease, or cancel a waiting ticket.
 */
export interface ReleaseMessage {
  /**
   * at most 200 bytes of UTF-8
   */
  conversation_id: string;
  type: "release";
  ticket_number?: number | null;
  /**
   * at most 255 bytes of UTF-8
   */
  request_id?: string | null;
}
/**
 * Restart the lease from now.
 */
export interface RenewMessage {
  /**
   * at most 200 bytes of UTF-8
   */
  conversation_id: string;
  type: "renew";
  ticket_number?: number | null;
  /**
   * at most 255 bytes of UTF-8
   */
  request_id?: string | null;
  /**
   * duration of the lease in seconds, from the grant or the renewal
   */
  lifetime?: number | null;
}
/**
 * The ticket is waiting behind others.
 */
export interface QueuedMessage {
  conversation_id: string;
  ticket_number: number;
  request_id: string;
  /**
   * as given in the request, or null
   */
  holder: string | null;
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  at: number;
  type: "queued";
  /**
   * tickets ahead
   */
  position: number;
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  wait_until: number;
  [k: string]: unknown;
}
/**
 * The ticket was granted; `ticket_number` is the fencing token.
 */
export interface GrantedMessage {
  conversation_id: string;
  ticket_number: number;
  request_id: string;
  /**
   * as given in the request, or null
   */
  holder: string | null;
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  at: number;
  type: "granted";
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  expires_at: number;
  /**
   * seconds
   */
  waited: number;
  /**
   * tickets waiting behind
   */
  behind: number;
  [k: string]: unknown;
}
/**
 * The lease was renewed.
 */
export interface RenewedMessage {
  conversation_id: string;
  ticket_number: number;
  request_id: string;
  /**
   * as given in the request, or null
   */
  holder: string | null;
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  at: number;
  type: "renewed";
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  expires_at: number;
  [k: string]: unknown;
}
/**
 * The lease was released by its holder or by an operator.
 */
export interface ReleasedMessage {
  conversation_id: string;
  ticket_number: number;
  request_id: string;
  /**
   * as given in the request, or null
   */
  holder: string | null;
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  at: number;
  type: "released";
  /**
   * seconds
   */
  held: number;
  reason: ReleasedReason;
  /**
   * the operator, if reason is forced; otherwise absent, never null
   */
  by?: string;
  [k: string]: unknown;
}
/**
 * The lease or the wait expired.
 */
export interface ExpiredMessage {
  conversation_id: string;
  ticket_number: number;
  request_id: string;
  /**
   * as given in the request, or null
   */
  holder: string | null;
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  at: number;
  type: "expired";
  phase: ExpiredPhase;
  [k: string]: unknown;
}
/**
 * A waiting ticket left the line, or a grant could not be delivered.
 */
export interface CancelledMessage {
  conversation_id: string;
  ticket_number: number;
  /**
   * of the request for which the ticket was issued
   */
  request_id: string | null;
  /**
   * as given in the request, or null
   */
  holder: string | null;
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  at: number;
  type: "cancelled";
  reason: CancelledReason;
  /**
   * the operator, if reason is forced; otherwise absent, never null
   */
  by?: string;
  [k: string]: unknown;
}
/**
 * The message was refused.
 */
export interface RejectedMessage {
  conversation_id: string | null;
  ticket_number: number | null;
  /**
   * of the request for which the ticket was issued
   */
  request_id: string | null;
  /**
   * as given in the request, or null
   */
  holder: string | null;
  /**
   * seconds since the Unix epoch on the lock store's clock
   */
  at: number;
  type: "rejected";
  reason: RejectedReason;
  /**
   * for people; it may change
   */
  detail: string;
  ended?: TicketEndIfKnown;
  /**
   * only if reason is wrong_partition: how many there are
   */
  partitions?: number;
  [k: string]: unknown;
}
