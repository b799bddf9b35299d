'use strict';

const assert = require('node:assert/strict');
const test = require('node:test');

const { pick } = require('../lib/api.js');

const VALUES = 2 ** 48;

function picked(value, range) {
  const drawn = Buffer.alloc(6);
  drawn.writeUIntBE(value, 0, 6);
  return pick(drawn, range);
}

test('every integer has as many values as any other', () => {
  // The values below the limit are whole rounds of 0 to range - 1; the first and the
  // last of them, and what lies above, show where the rounds begin and end.
  for (const range of [1, 2, 3, 10, 1e6, 2 ** 32 + 1, 2 ** 47 + 1, VALUES - 1]) {
    const limit = range * Math.floor(VALUES / range);
    assert.equal(picked(0, range), 0);
    assert.equal(picked(range - 1, range), range - 1);
    assert.equal(picked(limit - range, range), 0);
    assert.equal(picked(limit - 1, range), range - 1);
    if (limit < VALUES) assert.equal(picked(limit, range), -1);
    assert.equal(picked(VALUES - 1, range), limit < VALUES ? -1 : range - 1);
  }
});

test('the bytes of a draw are overwritten', () => {
  const drawn = Buffer.alloc(6, 0x5a);
  pick(drawn, 10);
  assert.deepEqual(drawn, Buffer.alloc(6));
});
