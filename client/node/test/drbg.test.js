'use strict';

const assert = require('node:assert/strict');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');

const { Drbg } = require('../lib/drbg.js');

const ROOT = path.join(__dirname, '..', '..', '..');
const FILE = path.join(ROOT, 'tests', 'core', 'vectors', 'drbg.json');

/** The block of the daemon's generators, for which the known answers were computed. */
const BLOCK = 4096;

const seeded = (blockBytes) => {
  const drbg = new Drbg('lease', blockBytes);
  drbg.reseed([['parent', Buffer.alloc(32, 7)]]);
  return drbg;
};

function check(step, output) {
  if ('output' in step) {
    assert.equal(output.toString('hex'), step.output);
  } else {
    assert.equal(output.subarray(0, 32).toString('hex'), step.starts);
    assert.equal(createHash('sha256').update(output).digest('hex'), step.sha256);
  }
}

for (const { name, purpose, steps } of JSON.parse(fs.readFileSync(FILE, 'utf8')).cases) {
  test(`known answers: ${name}`, () => {
    const drbg = new Drbg(purpose, BLOCK);
    for (const step of steps) {
      if ('reseed' in step) {
        drbg.reseed(step.reseed.map(([label, hex]) => [label, Buffer.from(hex, 'hex')]));
      } else if ('child' in step) {
        // The file's largest number is 2^64 - 1, which JSON.parse rounds up.
        const generation = step.generation > 2 ** 63 ? 2n ** 64n - 1n : step.generation;
        check(step, drbg.childSeed(step.child, generation));
      } else {
        check(step, drbg.read(step.read));
      }
    }
  });
}

test('read and fill give the same bytes, at every size where the way changes', () => {
  for (const size of [0, 1, 64, 65, 16384, 16385, 32768, 32769, 1 << 20, (1 << 20) + 1]) {
    const filled = Buffer.alloc(size, 0xaa);
    seeded().fill(filled);
    assert.deepEqual(seeded().read(size), filled, `${size} bytes`);
  }
});

test('nothing is given before the first seed, nor after erase', () => {
  const drbg = new Drbg('lease');
  assert.throws(() => drbg.read(1), /not seeded/);
  drbg.reseed([['parent', Buffer.alloc(32)]]);
  drbg.read(1);
  drbg.erase();
  assert.throws(() => drbg.read(1), /not seeded/);
});

test('a result has its memory to itself', () => {
  for (const size of [32, 100, 5000, 20000]) {
    assert.equal(seeded().read(size).buffer.byteLength, size);
  }
});

test('the block forgets what it gave: no draw repeats within two blocks', () => {
  const drbg = seeded(BLOCK);
  const drawn = Array.from({ length: 512 }, () => drbg.read(16).toString('hex'));
  assert.equal(new Set(drawn).size, 512);
});
