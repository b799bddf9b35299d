'use strict';

/*
 * The helper thread: it owns the sockets, so that the thread that draws can wait
 * for them (Atomics.wait), which Node offers for no socket of a thread's own.
 *
 *   {id, op: 'check', timeout}                look at the generation now
 *   {id, op: 'lease', flags, timeout}         a lease that suits EPOCH
 *   {id, op: 'read', size, flags, timeout}    bytes straight from the daemon
 *
 * Each is answered by {id, value} or {id, error}; seeds and bytes are moved to the
 * other thread, not copied.  Loaded by bridge.js as a worker, not by `require`.
 */

const { workerData } = require('node:worker_threads');

const { backOff } = require('./backoff.js');
const { Call } = require('./connection.js');
const { ProtocolError, lost, toPlain } = require('./errors.js');
const { Limit, Pool } = require('./pool.js');
const { WORDS, clock } = require('./shared.js');
const { Watch } = require('./watch.js');
const { OP } = require('./wire.js');

/**
 * A lease is asked for again when the daemon reseeded in between.  It does so once
 * in many seconds; four times in a row means that its numbers do not agree.
 */
const ATTEMPTS = 4;

const { path, port, words, origin } = workerData;
const now = clock(origin);
const pool = new Pool(path);
const watch = new Watch(path, words, now);

async function lease(flags, limit) {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const asked = now();
    const call = new Call(OP.LEASE, flags, 0);
    const { result: granted, degraded } = await pool.ask(call, limit);
    let kept = false;
    try {
      // EPOCH stands for the generation that INFO said last: a lease of that one is
      // good until EPOCH moves, whichever of the two was answered first.
      await limit.race(watch.answer());
      if (watch.info === null) throw lost(path);
      const { generation, state } = watch.info;
      kept = generation === granted.generation && state !== 'failed';
      const epoch = Atomics.load(words, WORDS.EPOCH);
      if (kept) return { ...granted, degraded, asked, epoch };
    } finally {
      if (!kept) granted.seed.fill(0);
    }
  }
  throw new ProtocolError(
    `the daemon at ${path} gives leases of another generation than its INFO says; restart it`,
  );
}

async function answer({ op, size, flags, timeout }) {
  if (op === 'check') {
    await backOff(timeout, () => watch.check());
    return [null, []];
  }
  const limit = new Limit(path, timeout);
  try {
    if (op === 'lease') {
      const granted = await backOff(timeout, () => lease(flags, limit));
      watch.keepChecking();
      return [granted, [granted.seed.buffer]];
    }
    const call = new Call(OP.READ, flags, size);
    try {
      const read = await backOff(timeout, () => pool.ask(call, limit));
      return [read, [read.result.buffer]];
    } catch (error) {
      call.abandon();
      throw error;
    }
  } finally {
    limit.clear();
  }
}

function reply(message, transfer = []) {
  port.postMessage(message, transfer);
  Atomics.add(words, WORDS.WAKE, 1);
  Atomics.notify(words, WORDS.WAKE);
}

port.on('message', (request) => {
  answer(request).then(
    ([value, transfer]) => reply({ id: request.id, value }, transfer),
    (error) => reply({ id: request.id, error: toPlain(error) }),
  );
});

process.on('exit', () => {
  Atomics.store(words, WORDS.DEAD, 1);
  Atomics.add(words, WORDS.WAKE, 1);
  Atomics.notify(words, WORDS.WAKE);
});

Atomics.store(words, WORDS.READY, 1);
Atomics.notify(words, WORDS.READY);
