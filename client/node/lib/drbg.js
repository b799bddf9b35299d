'use strict';

/*
 * The generator of docs/drbg.md: HKDF-SHA-512 in, ChaCha20 out, fast key erasure.
 *
 *   seed    key = HKDF-SHA-512(salt = key, ikm = materials, info = purpose || counter)
 *   refill  key || block = ChaCha20(key, nonce 0)
 *   small   the next bytes of the block, overwritten as they are copied out
 *   large   ChaCha20(one-time key = 32 bytes of the block, nonce 0)
 *
 * A key makes one keystream and is gone before a byte of it is handed out.
 *
 * What this does not protect against: who can read the process's memory foresees
 * the output up to the next reseed.  node:crypto keeps copies of keys (in cipher
 * contexts and in HKDF's key object) that it frees when they are collected; this
 * code overwrites what it can reach.  It does not know how good its seed is.
 */

const { createCipheriv, hkdfSync } = require('node:crypto');

const KEY = 32;

/** RFC 8439 2.3: block counter and nonce, both from 0: each key is used once. */
const NONCE = Buffer.alloc(16);

/** The longest keystream made at once, so that a caller's event loop is held 0.5 ms. */
const STEP = 1 << 20;
const ZEROS = Buffer.alloc(STEP);

/** Steps in which keystream is copied into a caller's memory: they stay in the cache. */
const COPY_STEP = 32 * 1024;

/** Up to here a loop in JavaScript is faster than the calls of copy and fill. */
const LOOP = 64;

/** A part of a larger ArrayBuffer, which the garbage collector does not move (and copy). */
function fixed(size) {
  return Buffer.from(new ArrayBuffer(256 + size), 0, size);
}

function u32(number) {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(number);
  return out;
}

function u64(number) {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(number));
  return out;
}

/** For each `[label, data]`: u32(len) || label || u32(len) || data. */
function encodeMaterials(materials) {
  const parts = materials.flatMap(([label, data]) => [
    u32(Buffer.byteLength(label)),
    Buffer.from(label),
    u32(data.byteLength),
    data,
  ]);
  const out = fixed(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.byteLength;
  }
  return out;
}

/** HKDF-SHA-512 of RFC 5869 with L = 32, into `out`. */
function hkdfInto(out, salt, ikm, info) {
  const made = Buffer.from(hkdfSync('sha512', ikm, salt, info, KEY));
  out.set(made);
  made.fill(0);
}

/** The keystream of one key; overwrites the key. */
function keystream(key) {
  const cipher = createCipheriv('chacha20', key, NONCE);
  key.fill(0);
  return cipher;
}

class Drbg {
  #purpose;
  #key = fixed(KEY);
  #block = null;
  #blockBytes;
  #next;
  #reseeds = 0;

  /** `blockBytes`: what one key makes; the daemon's generators have 4,096. */
  constructor(purpose, blockBytes = 64 * 1024) {
    this.#purpose = Buffer.from(purpose);
    this.#blockBytes = blockBytes;
    this.#next = blockBytes;
    /** The longest request that is answered from the block. */
    this.small = blockBytes / 4;
  }

  /** How often it was seeded; 0 means that it refuses to give a byte. */
  get reseeds() {
    return this.#reseeds;
  }

  /** Mix in a list of `[label, data]`; what the block still held is erased. */
  reseed(materials) {
    const ikm = encodeMaterials(materials);
    const info = Buffer.concat([
      Buffer.from('hwentropy/1 seed '),
      this.#purpose,
      u64(this.#reseeds),
    ]);
    try {
      hkdfInto(this.#key, this.#key, ikm, info);
    } finally {
      ikm.fill(0);
    }
    this.#dropBlock();
    this.#reseeds += 1;
  }

  /** Overwrite `out[start:end]`, at most `small` bytes, with fresh output. */
  takeInto(out, start, end) {
    const size = end - start;
    if (this.#next + size > this.#blockBytes) this.#refill();
    const block = this.#block;
    const from = this.#next;
    this.#next = from + size;
    if (size <= LOOP) {
      for (let i = 0; i < size; i++) {
        out[start + i] = block[from + i];
        block[from + i] = 0;
      }
    } else {
      block.copy(out, start, from, from + size);
      block.fill(0, from, from + size);
    }
  }

  /** Overwrite all of `out`, of any length, with fresh output. */
  fill(out) {
    if (out.length <= this.small) {
      this.takeInto(out, 0, out.length);
      return;
    }
    const cipher = this.#oneTime();
    for (let at = 0; at < out.length; at += COPY_STEP) {
      const made = cipher.update(ZEROS.subarray(0, Math.min(COPY_STEP, out.length - at)));
      out.set(made, at);
      made.fill(0);
    }
  }

  /** `size` fresh bytes in an ArrayBuffer of their own. */
  read(size) {
    if (size > this.small && size <= STEP) return this.#oneTime().update(ZEROS.subarray(0, size));
    const out = Buffer.allocUnsafeSlow(size);
    this.fill(out);
    return out;
  }

  /** Seed material for the child `label` in this generation, given out once. */
  childSeed(label, generation) {
    const parent = fixed(KEY);
    this.takeInto(parent, 0, KEY);
    const seed = fixed(KEY);
    const info = Buffer.concat([Buffer.from(`hwentropy/1 child ${label}`), u64(generation)]);
    hkdfInto(seed, Buffer.alloc(KEY), parent, info);
    parent.fill(0);
    return seed;
  }

  /** Forget everything; a reseed is needed before the next byte. */
  erase() {
    this.#reseeds = 0;
    this.#dropBlock();
    this.#key.fill(0);
  }

  #oneTime() {
    const key = fixed(KEY);
    this.takeInto(key, 0, KEY);
    return keystream(key);
  }

  #dropBlock() {
    this.#next = this.#blockBytes;
    this.#block?.fill(0);
    this.#block = null;
  }

  #refill() {
    if (!this.#reseeds) throw new Error('the generator is not seeded');
    this.#dropBlock();
    // The cipher allocates its output; the block is that memory, not a copy of it.
    // A failure in here leaves a key of zeros, and no seed: nothing is handed out.
    const reseeds = this.#reseeds;
    this.#reseeds = 0;
    const block = keystream(this.#key).update(ZEROS.subarray(0, this.#blockBytes));
    this.#key.set(block.subarray(0, KEY));
    block.fill(0, 0, KEY);
    this.#block = block;
    this.#next = KEY;
    this.#reseeds = reseeds;
  }
}

module.exports = { Drbg };
