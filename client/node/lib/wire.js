'use strict';

/*
 * The native protocol, version 1, as bytes in and values out (docs/protocol.md).
 *
 *   request  u8 op      u8 flags  u16 tag  u32 length
 *   reply    u8 status  u8 flags  u16 tag  u32 length   and `length` bytes
 *
 * No sockets here.  The daemon's bytes raise ProtocolError and nothing else.
 */

const { ProtocolError } = require('./errors.js');

const HEADER = 8;
const MAX_READ = 1 << 20;
const OP = { READ: 1, INFO: 2, LEASE: 3 };
const REQUEST = { DONT_BLOCK: 1, PREDICTION_RESISTANCE: 2 };
const REPLY = { DEGRADED: 1, PAGE: 2, NOT_LIVE: 4 };
const STATUS = { OK: 0, NOT_PERMITTED: 3, OVER_QUOTA: 4, BAD_REQUEST: 6 };

/** Bytes of the payload of a reply to a LEASE: u64, u64, u32, 4 zeros, the seed. */
const LEASE_BYTES = 56;
const SEED_AT = 24;

/** Largest payload of a reply to an INFO. */
const MAX_INFO = 16384;

const STATES = new Set(['starting', 'ok', 'degraded', 'failed']);

/** Write the eight bytes of a request into `out` at `at`. */
function putRequest(out, at, op, flags, tag, length) {
  out[at] = op;
  out[at + 1] = flags;
  out.writeUInt16BE(tag, at + 2);
  out.writeUInt32BE(length, at + 4);
}

/** Read a reply's header.  Tag and length are the caller's to compare. */
function decodeHeader(header) {
  const status = header[0];
  const flags = header[1];
  const tag = header.readUInt16BE(2);
  const length = header.readUInt32BE(4);
  if (status > STATUS.BAD_REQUEST) {
    throw new ProtocolError(`the daemon sent a reply with unknown status ${status}; update it`);
  }
  if (flags & ~(REPLY.DEGRADED | REPLY.PAGE | REPLY.NOT_LIVE)) {
    throw new ProtocolError(`the daemon sent a reply with unknown flags ${flags}; update it`);
  }
  if (length > MAX_READ || (status !== STATUS.OK && (length || flags))) {
    throw new ProtocolError(
      `the daemon sent a reply of status ${status} with flags ${flags} and ${length} bytes`,
    );
  }
  return { status, flags, tag, length };
}

/**
 * Whether an OK reply to `op` of `size` bytes may have this length and these flags;
 * `paged` is whether the generation page was announced on the connection before, `fresh`
 * whether prediction resistance was asked for.
 */
function suits(op, size, length, flags, paged, fresh) {
  const page = (flags & REPLY.PAGE) !== 0;
  if (flags & REPLY.NOT_LIVE && !fresh) return false;
  if (op === OP.READ) return length === size && !page;
  if (op === OP.LEASE) return length === LEASE_BYTES && page !== paged;
  return length >= 1 && length <= MAX_INFO && flags === 0;
}

/** Whether a connection's first reply, of another tag than its request, refuses it. */
function refusesConnection({ tag, status }) {
  return tag === 0 && (status === STATUS.NOT_PERMITTED || status === STATUS.OVER_QUOTA);
}

/** Whether it is a number of an INFO: 0 to 2^53 - 1. */
function isNumber(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

/** What the daemon says of itself: `{ generation, state }`; the rest is checked, not used. */
function decodeInfo(payload) {
  let info;
  try {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    info = JSON.parse(decoder.decode(payload));
  } catch {
    // Not chained: the cause quotes the peer's bytes.
    throw new ProtocolError('the daemon sent an INFO that cannot be read; update it');
  }
  const { protocol, version, generation, state, limits } = Object(info);
  if (
    !(Array.isArray(protocol) && protocol.every(isNumber)) ||
    typeof version !== 'string' ||
    !(isNumber(generation) && isNumber(Object(limits).max_read)) ||
    !STATES.has(state)
  ) {
    throw new ProtocolError('the daemon sent an INFO without what has to be in it; update it');
  }
  return { generation, state };
}

/** `{ generation, maxBytes, maxSeconds, seed }`; `payload` is overwritten. */
function decodeLease(payload) {
  const generation = Number(payload.readBigUInt64BE(0));
  const maxBytes = Number(payload.readBigUInt64BE(8));
  const maxSeconds = payload.readUInt32BE(16);
  // An ArrayBuffer of its own: it moves to the other thread and leaves no copy.
  const seed = new Uint8Array(new ArrayBuffer(LEASE_BYTES - SEED_AT));
  seed.set(payload.subarray(SEED_AT));
  payload.fill(0);
  if (!maxBytes || !maxSeconds) {
    seed.fill(0);
    throw new ProtocolError('the daemon sent a lease that is over before it begins');
  }
  return { generation, maxBytes, maxSeconds, seed };
}

/** What an OK reply to `op` gives: a READ its bytes, a LEASE and an INFO what they say. */
function decodePayload(op, payload) {
  if (op === OP.LEASE) return decodeLease(payload);
  return op === OP.INFO ? decodeInfo(payload) : payload;
}

module.exports = {
  HEADER,
  MAX_READ,
  OP,
  REQUEST,
  REPLY,
  STATUS,
  LEASE_BYTES,
  putRequest,
  decodeHeader,
  suits,
  refusesConnection,
  decodePayload,
};
