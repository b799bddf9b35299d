/// <reference types="node" />

/**
 * Random bytes from the hwentropy daemon, with the names of node:crypto.
 *
 * In the mode `lease` (the default) bytes come from a generator in this thread that
 * the daemon seeds.  A draw is given only when the daemon's generation was asked for
 * at most 50 ms before the draw began, or since, and has not moved; and when the
 * lease's bytes and seconds are not used up.  Where no daemon answers, draws go on
 * within the lease's limits and then throw `DaemonUnavailable`.  docs/node.md says
 * exactly what that promises, and what it does not.
 *
 * Wrong arguments throw what node:crypto throws.  Every function may otherwise throw
 * (or pass to its callback, or reject with) a `HwentropyError`.
 */

type Fillable = ArrayBufferLike | NodeJS.ArrayBufferView;

/**
 * `size` random bytes, from 0 to 2^31 - 1.  Without a callback the thread waits
 * where the daemon has to be asked.
 */
export function randomBytes(size: number): Buffer;
export function randomBytes(
  size: number,
  callback: (error: Error | null, bytes: Buffer) => void,
): void;

/** `randomBytes` as a promise; the same as `promises.randomBytes`. */
export function randomBytesAsync(size: number): Promise<Buffer>;

/**
 * Overwrite `size` elements (bytes of an ArrayBuffer or DataView) from `offset` on.
 * After an error that part of the buffer holds zeros.
 */
export function randomFillSync<T extends Fillable>(buffer: T, offset?: number, size?: number): T;

/** `randomFillSync` without holding up the event loop. */
export function randomFill<T extends Fillable>(
  buffer: T,
  callback: (error: Error | null, buffer: T) => void,
): void;
export function randomFill<T extends Fillable>(
  buffer: T,
  offset: number,
  callback: (error: Error | null, buffer: T) => void,
): void;
export function randomFill<T extends Fillable>(
  buffer: T,
  offset: number,
  size: number,
  callback: (error: Error | null, buffer: T) => void,
): void;

/**
 * A uniform integer from `min` (0) up to, not including, `max`; both safe integers
 * less than 2^48 apart.  By rejection: no integer is likelier than another.
 */
export function randomInt(max: number): number;
export function randomInt(min: number, max: number): number;
export function randomInt(
  max: number,
  callback: (error: Error | undefined, value: number) => void,
): void;
export function randomInt(
  min: number,
  max: number,
  callback: (error: Error | undefined, value: number) => void,
): void;

/**
 * A UUID of version 4 (RFC 9562 section 5.4).  The option is node:crypto's and
 * changes nothing: no UUID is prepared ahead.
 */
export function randomUUID(options?: {
  disableEntropyCache?: boolean | undefined;
}): `${string}-${string}-${string}-${string}-${string}`;

/** The same as promises. */
export const promises: {
  randomBytes(size: number): Promise<Buffer>;
  randomFill<T extends Fillable>(buffer: T, offset?: number, size?: number): Promise<T>;
  randomInt(max: number): Promise<number>;
  randomInt(min: number, max: number): Promise<number>;
};

export interface Settings {
  /**
   * `lease`: a generator in this thread.  `direct`: each call asks the daemon.
   * `prediction_resistant`: each call has it collect fresh entropy first.
   */
  mode?: 'lease' | 'direct' | 'prediction_resistant' | undefined;
  /** The native socket; by default `entropy.sock` where docs/protocol.md looks for it. */
  path?: string | null | undefined;
  /** Milliseconds for an answer of the daemon's; null waits for its first seed. */
  timeout?: number | null | undefined;
  /** False throws `NotSeeded` where a call would wait for the first seed. */
  block?: boolean | undefined;
  /** `os`: draw from node:crypto while no daemon answers, with a process warning. */
  fallback?: 'os' | null | undefined;
}

/**
 * Draw in this way from now on, in this thread.  What is not given is set to its
 * default; what was leased is forgotten; calls under way fail.
 */
export function configure(settings?: Settings): void;

/**
 * Whether the daemon is degraded: short of healthy sources, or of a new seed for too
 * long.  Its bytes go on for a limited time and amount.
 *
 * With a lease it is what the daemon says now, or said when it granted the lease:
 * where it was last asked more than 50 ms ago it is asked first, and the thread waits
 * for that, 250 ms at most.  In the other modes it is what the daemon said with the
 * last draw.  False before the first one.  While no daemon answers, or none in a way
 * that can be understood, it is what was said last; the next draw throws what is wrong.
 */
export function isDegraded(): boolean;

/**
 * Whether the last draw in the mode `prediction_resistant` was met by generators alone,
 * since no live source was healthy.  False in the other modes, and before the first draw.
 */
export function isNotLive(): boolean;

/**
 * Forget the lease and end the helper thread; calls under way fail, and the next
 * draw begins anew.  Not needed for the process to end.
 */
export function close(): Promise<void>;

/** What all errors of this package are. */
export class HwentropyError extends Error {
  /** `ERR_HWENTROPY_DAEMON_UNAVAILABLE` and the like. */
  code: string;
}
/** The daemon sent what the protocol does not allow. */
export class ProtocolError extends HwentropyError {}
/** Nobody answers at the socket, or no longer. */
export class DaemonUnavailable extends HwentropyError {}
/** This user may not ask, or may not open the socket. */
export class NotPermitted extends HwentropyError {}
/** No seed yet, and `block` is false. */
export class NotSeeded extends HwentropyError {}
/** This user has had its share for now. */
export class OverQuota extends HwentropyError {}
/** No source can be trusted now: no bytes rather than bad ones. */
export class FailedClosed extends HwentropyError {}
/** The daemon does not take the request: one of the two is too old. */
export class RequestRefused extends HwentropyError {}
/** Longer than `timeout`. */
export class Timeout extends HwentropyError {}
