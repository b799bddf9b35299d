'use strict';

/* The known-answer tests: right here, and they find what computes wrongly. */

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { Drbg } = require('../lib/drbg.js');
const { HwentropyError } = require('../lib/errors.js');
const { check } = require('../lib/known-answers.js');

test('they pass here', () => {
  check();
  check();
});

test('a generator that is wrong by a bit is found', () => {
  class Wrong extends Drbg {
    takeInto(out, start, end) {
      super.takeInto(out, start, end);
      out[start] ^= 1;
    }
  }
  assert.throws(() => check(Wrong), HwentropyError);
});

test('a generator that throws is found', () => {
  class Broken extends Drbg {
    reseed() {
      throw new TypeError('no such cipher');
    }
  }
  assert.throws(() => check(Broken), /known-answer test of the DRBG failed/);
});
