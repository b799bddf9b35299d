'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const test = require('node:test');

const hwentropy = require('../index.js');

hwentropy.configure({ path: '/nowhere/entropy.sock' });

const none = () => {};
const buffer = Buffer.alloc(8);
const wide = new Float64Array(4);

/** Calls that node:crypto refuses: the same name, code and words are expected. */
const REFUSED = {
  randomBytes: [
    [], [null], ['8'], [-1], [NaN], [Infinity], [2 ** 31], [2 ** 40], [8n], [8, null], [8, 'cb'],
    [-1, none],
  ],
  randomFillSync: [
    [], [null], ['text'], [[1, 2]], [buffer, -1], [buffer, 9], [buffer, '1'], [buffer, null],
    [buffer, NaN], [buffer, 0, 9], [buffer, 0, -1], [buffer, 4, 5], [buffer, 0, null],
    [buffer, 0, NaN], [wide, 5], [wide, 0, 5], [wide, 3, 2], [new ArrayBuffer(4), 5],
    [new DataView(new ArrayBuffer(4)), 0, 5],
  ],
  randomFill: [
    [], [null, none], [buffer], [buffer, 0], [buffer, 0, 8], [buffer, 9, none],
    [buffer, 0, 9, none], [buffer, 0, 8, 'cb'], [wide, 5, none],
  ],
  randomInt: [
    [], [null], ['5'], [0], [-1], [1.5], [5, 5], [5, 4], [0, 2 ** 48], [2 ** 48], [NaN],
    [Number.MAX_SAFE_INTEGER + 1], [0, 10, 'cb'], [0, null], [-1, 2 ** 48 - 1], [0, none],
  ],
  randomUUID: [[null], ['x'], [{ disableEntropyCache: 1 }]],
};

for (const [name, calls] of Object.entries(REFUSED)) {
  test(`${name} refuses what node:crypto refuses, in the same words`, () => {
    for (const args of calls) {
      let expected = null;
      try {
        crypto[name](...args);
      } catch (error) {
        expected = error;
      }
      assert.notEqual(expected, null, `node takes ${name}(${args.map(String)})`);
      const { code, message } = expected;
      assert.throws(
        () => hwentropy[name](...args),
        { name: expected.name, code, message },
        `${name}(${args.map(String)})`,
      );
    }
  });
}

test('the promises reject where the others throw', async () => {
  await assert.rejects(hwentropy.randomBytesAsync(-1), { code: 'ERR_OUT_OF_RANGE' });
  await assert.rejects(hwentropy.promises.randomBytes('1'), { code: 'ERR_INVALID_ARG_TYPE' });
  await assert.rejects(hwentropy.promises.randomInt(5, 5), { code: 'ERR_OUT_OF_RANGE' });
  await assert.rejects(hwentropy.promises.randomFill(null), { code: 'ERR_INVALID_ARG_TYPE' });
});

test('configure refuses what it does not know', () => {
  const VALUE = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
  const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
  const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
  for (const [options, kind] of [
    [{ mode: 'fast' }, VALUE], [{ path: '' }, VALUE], [{ path: 5 }, TYPE],
    [{ timeout: 0 }, RANGE], [{ timeout: NaN }, RANGE], [{ timeout: 2 ** 31 }, RANGE],
    [{ timeout: '1' }, TYPE], [{ block: 1 }, TYPE], [{ fallback: 'urandom' }, VALUE],
    [{ tiemout: 5 }, VALUE], [null, TYPE], ['direct', TYPE],
  ]) {
    const message = /must be|no option/;
    assert.throws(() => hwentropy.configure(options), { ...kind, message });
  }
});

test('nothing asked needs no daemon', async () => {
  assert.equal(hwentropy.randomBytes(0).length, 0);
  assert.equal((await hwentropy.randomBytesAsync(0)).length, 0);
  assert.equal(hwentropy.randomFillSync(buffer, 8), buffer);
});

test('the errors are a tree with names and codes', () => {
  const kinds = Object.entries(hwentropy).filter(([name]) => /^[A-Z]/.test(name));
  assert.equal(kinds.length, 9);
  for (const [name, Kind] of kinds) {
    const error = new Kind('words');
    assert.ok(error instanceof hwentropy.HwentropyError && error instanceof Error);
    assert.equal(error.name, name);
    assert.match(error.code, /^ERR_HWENTROPY/);
    assert.equal(String(error), `${name}: words`);
  }
  assert.equal(new hwentropy.DaemonUnavailable().code, 'ERR_HWENTROPY_DAEMON_UNAVAILABLE');
});

test('import and require give the same functions, and all of them', async () => {
  const imported = await import('../index.mjs');
  assert.equal(imported.default, hwentropy);
  for (const name of Object.keys(hwentropy)) assert.equal(imported[name], hwentropy[name], name);
  assert.equal(Object.keys(imported).length, Object.keys(hwentropy).length + 1);
});
