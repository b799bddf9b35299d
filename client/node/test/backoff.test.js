'use strict';

const assert = require('node:assert/strict');
const test = require('node:test');

const { backOff } = require('../lib/backoff.js');
const { FailedClosed, OverQuota, Timeout } = require('../lib/errors.js');

/** A clock that goes forward by the pauses alone, which it keeps. */
function standing(now = 1000) {
  const clock = { pauses: [], now: () => now };
  clock.pause = async (wait) => {
    clock.pauses.push(wait);
    now += wait;
  };
  return clock;
}

/** Refuses so many times, then gives 7. */
function refusing(times, last = () => 7) {
  return async () => {
    if (times-- > 0) throw new OverQuota('over');
    return last();
  };
}

test('what is not refused is not waited for', async () => {
  const clock = standing();
  assert.equal(await backOff(null, refusing(0), clock), 7);
  assert.deepEqual(clock.pauses, []);
});

test('pauses double from 10 ms to a second, each between half and the whole', async () => {
  const clock = standing();
  assert.equal(await backOff(null, refusing(12), clock), 7);
  const whole = [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000, 1000];
  assert.equal(clock.pauses.length, whole.length);
  whole.forEach((most, i) => {
    assert.ok(clock.pauses[i] >= most / 2 && clock.pauses[i] <= most, `pause ${i}`);
  });
});

test('without a timeout it gives up within 30 s', async () => {
  const clock = standing();
  await assert.rejects(backOff(null, refusing(Infinity), clock), OverQuota);
  const waited = clock.now() - 1000;
  assert.ok(waited > 28_000 && waited < 30_000);
});

test('the timeout counts, and no pause goes beyond it', async () => {
  const clock = standing();
  await assert.rejects(backOff(100, refusing(Infinity), clock), OverQuota);
  assert.ok(clock.now() < 1100);
});

test('a timeout after a refusal is the refusal, another error is itself', async () => {
  const timeout = () => {
    throw new Timeout('late');
  };
  const failed = () => {
    throw new FailedClosed('failed');
  };
  await assert.rejects(backOff(100, refusing(0, timeout), standing()), Timeout);
  await assert.rejects(backOff(100, refusing(1, timeout), standing()), OverQuota);
  await assert.rejects(backOff(100, refusing(1, failed), standing()), FailedClosed);
});
