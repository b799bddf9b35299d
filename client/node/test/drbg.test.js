'use strict';

const assert = require('node:assert/strict');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');

const { Drbg } = require('../lib/drbg.js');

const ROOT = path.join(__dirname, '..', '..', '..');
const FILE = path.join(ROOT, 'conformance', 'drbg.json');

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
        check(step, drbg.childSeed(step.child, BigInt(step.generation)));
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

test('what was handed out, and the keys that made it, are overwritten', (t) => {
  const crypto = require('node:crypto');
  const file = require.resolve('../lib/drbg.js');
  const { createCipheriv } = crypto;
  const seen = [];
  t.after(() => {
    crypto.createCipheriv = createCipheriv;
    delete require.cache[file];
  });
  crypto.createCipheriv = (name, key, nonce) => {
    const cipher = createCipheriv(name, key, nonce);
    return {
      update(zeros) {
        const made = cipher.update(zeros);
        seen.push({ key, keyIsGone: key.every((byte) => byte === 0), made });
        return made;
      },
    };
  };
  delete require.cache[file];
  const watched = new (require('../lib/drbg.js').Drbg)('lease', BLOCK);
  watched.reseed([['parent', Buffer.alloc(32, 7)]]);
  const isZero = (data) => data.every((byte) => byte === 0);

  const given = [watched.read(20), watched.read(1000)];
  const [{ made: block }] = seen;
  assert.ok(!given.some(isZero));
  assert.ok(isZero(block.subarray(0, 32 + 20 + 1000))); // the next key, then the two
  assert.ok(!isZero(block.subarray(32 + 20 + 1000)));

  watched.fill(Buffer.alloc(70_000)); // copied from keystream made in steps
  assert.equal(seen.length, 4);
  assert.ok(seen.slice(1).every(({ made }) => isZero(made)));
  assert.ok(isZero(block.subarray(0, 32 + 20 + 1000 + 32))); // the one-time key too

  watched.reseed([['parent', Buffer.alloc(32, 8)]]);
  assert.ok(isZero(block));
  assert.ok(seen.every(({ keyIsGone }) => keyIsGone));
  assert.ok(isZero(seen[1].key));
});
