// How fast the Node.js client is beside node:crypto, in the same process.
//
//     HWENTROPY_RUNTIME_DIR=DIR node bench/node_bench.mjs [--json]
//
// Needs a running daemon.  Each figure is the median over ROUNDS rounds; within a
// round every call is measured right after its counterpart, so that a slow moment
// hits both, and the ratio is the median of the rounds' ratios (docs/bench.md).
import crypto from 'node:crypto';
import hwentropy from '../client/node/index.mjs';

const ROUNDS = 15;

/** Long beside the clock's resolution and a garbage collection, short beside a noisy minute. */
const MILLISECONDS = 60;

const BULK = Buffer.alloc(64 << 20);

const CALLS = [
  ['randomBytes(32)', (m) => m.randomBytes(32), 100],
  ['randomBytes(4096)', (m) => m.randomBytes(4096), 20],
  ['randomInt(10**6)', (m) => m.randomInt(1e6), 100],
  ['randomUUID()', (m) => m.randomUUID(), 100],
  ['randomFillSync(64 MiB)', (m) => m.randomFillSync(BULK), 1],
];

/** Nanoseconds a call; the clock is read once in `batch` calls. */
function measure(call, module, batch) {
  const began = process.hrtime.bigint();
  let calls = 0;
  let spent;
  do {
    for (let i = 0; i < batch; i++) call(module);
    calls += batch;
    spent = Number(process.hrtime.bigint() - began);
  } while (spent < MILLISECONDS * 1e6);
  return spent / calls;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

function compare(name, call, batch) {
  measure(call, hwentropy, batch);
  measure(call, crypto, batch);
  const rounds = Array.from({ length: ROUNDS }, (_, round) => {
    const pair = round % 2 ? [crypto, hwentropy] : [hwentropy, crypto];
    const times = pair.map((module) => measure(call, module, batch));
    return round % 2 ? times.reverse() : times;
  });
  return {
    name,
    hwentropy: median(rounds.map(([mine]) => mine)),
    crypto: median(rounds.map(([, theirs]) => theirs)),
    ratio: median(rounds.map(([mine, theirs]) => mine / theirs)),
  };
}

const results = CALLS.map(([name, call, batch]) => compare(name, call, batch));
hwentropy.configure({ mode: 'direct' });
results.push(compare('randomBytes(32), direct', CALLS[0][1], 20));

if (process.argv.includes('--json')) {
  console.log(JSON.stringify({ node: process.version, rounds: ROUNDS, results }, null, 1));
} else {
  console.log(`node ${process.version}, nanoseconds a call, medians of ${ROUNDS} rounds`);
  console.log('call'.padEnd(26), 'hwentropy'.padStart(12), 'node:crypto'.padStart(12), 'x');
  for (const { name, hwentropy: mine, crypto: theirs, ratio } of results) {
    const cells = [mine, theirs].map((value) => value.toFixed(0).padStart(12));
    console.log(name.padEnd(26), ...cells, ratio.toFixed(2));
  }
}
