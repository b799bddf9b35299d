// A Node process that does what a test in another language tells it to: a line of
// JSON in, {js: "..."}, the body of an async function with the package as `h`;
// a line out, {value} or {error}.  Bytes are written as hexadecimal.  It ends at
// the end of its input.
import { createInterface } from 'node:readline';
import * as h from '../../client/node/index.mjs';

const AsyncFunction = (async () => {}).constructor;
const shared = {};

function plain(value) {
  if (ArrayBuffer.isView(value)) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex');
  }
  return Array.isArray(value) ? value.map(plain) : value;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const run = new AsyncFunction('h', 'shared', JSON.parse(line).js);
    answer = { value: plain(await run(h, shared)) ?? null };
  } catch (error) {
    const { name, code, message } = error;
    const ours = error instanceof h.HwentropyError;
    answer = { error: { name, code: code ?? null, message, ours, shown: { ...shared } } };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
