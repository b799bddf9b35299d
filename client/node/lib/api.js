'use strict';

/*
 * The names of node:crypto over this thread's generator.  index.d.ts documents them.
 */

const {
  checkFill,
  checkRange,
  checkSettings,
  checkSize,
  checkUUIDOptions,
  refuse,
} = require('./arguments.js');
const { Generator } = require('./generator.js');

const generator = new Generator();

/** Call back with a promise's outcome, outside of it: what a callback throws is its own. */
function callBack(promise, callback, none) {
  promise.then(
    (value) => process.nextTick(callback, none, value),
    (error) => process.nextTick(callback, error),
  );
}

async function bytes(size) {
  const out = Buffer.allocUnsafeSlow(size);
  await generator.fill(out);
  return out;
}

function randomBytes(size, callback) {
  const count = checkSize(size, callback);
  if (callback === undefined) return generator.bytesSync(count);
  callBack(bytes(count), callback, null);
  return undefined;
}

async function randomBytesAsync(size) {
  return bytes(checkSize(size));
}

function randomFillSync(buffer, offset, size) {
  generator.fillSync(checkFill('randomFillSync', [buffer, offset, size], buffer, offset, size));
  return buffer;
}

function randomFill(buffer, offset, size, callback) {
  const args = [buffer, offset, size, callback];
  if (typeof offset === 'function') [offset, size, callback] = [undefined, undefined, offset];
  else if (typeof size === 'function') [size, callback] = [undefined, size];
  if (typeof callback !== 'function') refuse('randomFill', args);
  const out = checkFill('randomFill', args, buffer, offset, size);
  callBack(generator.fill(out).then(() => buffer), callback, null);
}

async function randomFillAsync(buffer, offset, size) {
  await generator.fill(
    checkFill('randomFillSync', [buffer, offset, size], buffer, offset, size),
  );
  return buffer;
}

/** Bytes of a draw for an integer: 2^48 values, as many as node:crypto's range has. */
const WIDTH = 6;
const VALUES = 2 ** (8 * WIDTH);

const scratch = Buffer.from(new ArrayBuffer(256), 0, 16);

/**
 * The integer below `range` that six bytes stand for, or -1 when they stand for
 * none: those from the largest multiple of `range` up are thrown away, so that
 * each integer has equally many values.
 */
function pick(drawn, range) {
  const value = drawn.readUIntBE(0, WIDTH);
  drawn.fill(0, 0, WIDTH);
  return value < VALUES - (VALUES % range) ? value % range : -1;
}

const six = scratch.subarray(0, WIDTH);

function integer(range) {
  for (;;) {
    generator.fillSync(six);
    const picked = pick(six, range);
    if (picked >= 0) return picked;
  }
}

async function integerAsync(range) {
  const drawn = Buffer.from(new ArrayBuffer(256), 0, WIDTH);
  for (;;) {
    await generator.fill(drawn);
    const picked = pick(drawn, range);
    if (picked >= 0) return picked;
  }
}

function randomInt(...args) {
  const { min, range, callback } = checkRange(args);
  if (callback === undefined) return min + integer(range);
  callBack(integerAsync(range).then((picked) => min + picked), callback, undefined);
  return undefined;
}

async function randomIntAsync(...args) {
  const { min, range } = checkRange(args.slice(0, 2));
  return min + (await integerAsync(range));
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** RFC 9562 section 5.4: version 4 in the high half of byte 6, variant 10 in byte 8. */
function randomUUID(options) {
  checkUUIDOptions(options);
  generator.fillSync(scratch);
  const b = scratch;
  b[6] = (b[6] & 0x0f) | 0x40;
  b[8] = (b[8] & 0x3f) | 0x80;
  const uuid =
    HEX[b[0]] + HEX[b[1]] + HEX[b[2]] + HEX[b[3]] + '-' + HEX[b[4]] + HEX[b[5]] + '-' +
    HEX[b[6]] + HEX[b[7]] + '-' + HEX[b[8]] + HEX[b[9]] + '-' + HEX[b[10]] + HEX[b[11]] +
    HEX[b[12]] + HEX[b[13]] + HEX[b[14]] + HEX[b[15]];
  b.fill(0);
  return uuid;
}

function configure(options) {
  generator.configure(checkSettings(options));
}

function isDegraded() {
  return generator.isDegraded();
}

function isNotLive() {
  return generator.isNotLive();
}

function close() {
  return generator.close();
}

module.exports = {
  randomBytes,
  randomBytesAsync,
  randomFill,
  randomFillSync,
  randomInt,
  randomUUID,
  promises: {
    randomBytes: randomBytesAsync,
    randomFill: randomFillAsync,
    randomInt: randomIntAsync,
  },
  configure,
  isDegraded,
  isNotLive,
  close,
  pick,
};
