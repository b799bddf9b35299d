'use strict';

/*
 * Wrong arguments are refused as node:crypto refuses them: by having it do so.
 *
 * Here is only what decides whether they are right (Node's lib/internal/crypto/
 * random.js gives the rules).  When they are not, the same arguments go to Node's
 * function, which throws its own error with the words of the running version.
 */

const nodeCrypto = require('node:crypto');
const { isAnyArrayBuffer } = require('node:util').types;

/** 2^31 - 1: the most that node:crypto gives at once. */
const MAX_SIZE = 0x7fffffff;

/** Throw what Node's function of this name throws for these arguments. */
function refuse(name, args) {
  nodeCrypto[name](...args);
  // Node of this version takes them; this package does not.
  throw new RangeError(`hwentropy: ${name} does not take these arguments`);
}

function isSize(value, least, most) {
  return typeof value === 'number' && value >= least && value <= most;
}

function isCallback(value) {
  return value === undefined || typeof value === 'function';
}

/** The number of bytes that randomBytes(size[, callback]) asks for. */
function checkSize(size, callback) {
  if (!isSize(size, 0, MAX_SIZE) || !isCallback(callback)) refuse('randomBytes', [size, callback]);
  return size >>> 0;
}

/**
 * The memory that randomFillSync(buffer[, offset[, size]]) means, as a Buffer;
 * offset and size count elements where the buffer has any.
 */
function checkFill(name, args, buffer, offset, size) {
  if (!ArrayBuffer.isView(buffer) && !isAnyArrayBuffer(buffer)) refuse(name, args);
  const unit = buffer.BYTES_PER_ELEMENT ?? 1;
  const most = Math.min(buffer.byteLength, MAX_SIZE);
  if (offset !== undefined && !isSize(offset, 0, most / unit)) refuse(name, args);
  const start = ((offset ?? 0) * unit) >>> 0;
  const rest = buffer.byteLength - start;
  if (size === undefined ? rest > MAX_SIZE : !isSize(size, 0, Math.min(rest, MAX_SIZE) / unit)) {
    refuse(name, args);
  }
  const length = size === undefined ? rest : (size * unit) >>> 0;
  return ArrayBuffer.isView(buffer)
    ? Buffer.from(buffer.buffer, buffer.byteOffset + start, length)
    : Buffer.from(buffer, start, length);
}

/** `{min, range, callback}` of randomInt([min, ]max[, callback]). */
function checkRange(args) {
  let [min, max, callback] = args;
  if (max === undefined || typeof max === 'function') [min, max, callback] = [0, min, max];
  const right =
    isCallback(callback) &&
    Number.isSafeInteger(min) &&
    Number.isSafeInteger(max) &&
    max > min &&
    max - min < 2 ** 48;
  if (!right) refuse('randomInt', args);
  return { min, range: max - min, callback };
}

/** The options of randomUUID, of which there is nothing to use here. */
function checkUUIDOptions(options) {
  if (options === undefined) return;
  nodeCrypto.randomUUID(options);
}

const MODES = ['lease', 'direct', 'prediction_resistant'];

/** An error of configure(), with the code where Node's own errors have it. */
function coded(error, code) {
  return Object.assign(error, { code });
}

const wrongType = (message) => coded(new TypeError(message), 'ERR_INVALID_ARG_TYPE');
const wrongValue = (message) => coded(new TypeError(message), 'ERR_INVALID_ARG_VALUE');
const outOfRange = (message) => coded(new RangeError(message), 'ERR_OUT_OF_RANGE');

/**
 * The settings of configure(), complete.  Throws TypeError (ERR_INVALID_ARG_TYPE,
 * ERR_INVALID_ARG_VALUE) or RangeError (ERR_OUT_OF_RANGE).
 */
function checkSettings(options = {}) {
  if (options === null || typeof options !== 'object') {
    throw wrongType('the options of configure must be an object');
  }
  const known = ['mode', 'path', 'timeout', 'block', 'fallback'];
  const other = Object.keys(options).find((key) => !known.includes(key));
  if (other !== undefined) {
    throw wrongValue(`configure has no option ${other}: there are ${known.join(', ')}`);
  }
  const { mode = 'lease', path = null, timeout = null, block = true, fallback = null } = options;
  if (!MODES.includes(mode)) throw wrongValue(`mode must be one of ${MODES.join(', ')}`);
  if (path !== null && (typeof path !== 'string' || !path)) {
    const tell = path === '' ? wrongValue : wrongType;
    throw tell('path must be the path of a socket, a string');
  }
  // setTimeout takes at most 2^31 - 1 ms, and fires at once above it.
  if (timeout !== null && !(typeof timeout === 'number' && timeout > 0 && timeout <= MAX_SIZE)) {
    const tell = typeof timeout === 'number' ? outOfRange : wrongType;
    throw tell('timeout must be above 0 and at most 2147483647 ms, or null');
  }
  if (typeof block !== 'boolean') throw wrongType('block must be true or false');
  if (fallback !== null && fallback !== 'os') throw wrongValue("fallback must be 'os' or null");
  return { mode, path, timeout, block, fallback };
}

module.exports = { refuse, checkSize, checkFill, checkRange, checkUUIDOptions, checkSettings };
